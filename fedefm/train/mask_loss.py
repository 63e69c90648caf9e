"""Cross-entropy and Dice for thin devices, as one loss per image.

The two are added half and half, as the paper's downstream code does. Both are computed within one
image: the usual Dice over a whole batch would couple patients, and a private trainer could not clip
it.

UltraFedFM marks one kind of lesion by a single logit, with binary cross-entropy and Dice. Of two
classes ours is just that: their softmax is the sigmoid of the difference of the logits. What
differs is the weight of a lesion's pixels, ``pos_weight=DEVICE_WEIGHT``, and that a Dice is of one
image. Its several classes have Dice alone, ours cross-entropy as well.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from fedefm.data.dataset import Batch

# Devices cover about one pixel in a hundred. These are fixed numbers, not measured from the data at
# hand: weights counted at a hospital would be a statistic of its patients, and would differ between
# hospitals.
BACKGROUND_WEIGHT = 1.0
DEVICE_WEIGHT = 5.0
_SMOOTH = 1.0  # pixels; an image without a device and without a prediction then has Dice loss 0


def segmentation_objective(model: nn.Module, batch: Batch) -> Tensor:
    """The ``Objective`` of segmentation: ``(B,)`` losses of ``batch`` under ``model``."""
    logits: Tensor = model(batch.images)
    return segmentation_loss(logits, batch.labels)


def segmentation_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """``0.5 CE + 0.5 Dice`` of each image.

    Args:
        logits: ``(B, K, H, W)``.
        masks: ``(B, H, W)`` int64 classes, 0 is the background.
    Returns:
        ``(B,)``, at least 0; each entry depends on its own image only.
    """
    return 0.5 * cross_entropy(logits, masks) + 0.5 * dice_loss(logits, masks)


def cross_entropy(logits: Tensor, masks: Tensor) -> Tensor:
    """Mean over pixels of the class-weighted cross-entropy, ``(B,)``.

    It is divided by the number of pixels, not by the sum of weights, so that an image with more
    device pixels also counts more.
    """
    weight = logits.new_full((logits.shape[1],), DEVICE_WEIGHT)
    weight[0] = BACKGROUND_WEIGHT
    losses = functional.cross_entropy(logits, masks, weight=weight, reduction="none")
    return losses.flatten(1).mean(dim=1)


def dice_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """One minus the soft Dice of each image, mean over the device classes, ``(B,)`` in [0, 1]."""
    probabilities = logits.softmax(dim=1)[:, 1:].flatten(2)  # (B, K-1, H*W)
    truth = functional.one_hot(masks.flatten(1), logits.shape[1]).transpose(1, 2)[:, 1:]
    truth = truth.to(probabilities.dtype)
    both = torch.einsum("bkp,bkp->bk", probabilities, truth)
    sizes = probabilities.sum(dim=2) + truth.sum(dim=2)
    return (1 - (2 * both + _SMOOTH) / (sizes + _SMOOTH)).mean(dim=1)

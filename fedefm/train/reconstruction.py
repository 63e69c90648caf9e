"""What a masked autoencoder minimizes: how wrong it paints the patches that it did not see.

He et al., CVPR 2022: the mean squared error on masked patches only, against targets that are
normalized patch by patch. One loss per image, made of that image alone.
"""

from math import isqrt

import torch
from torch import Tensor, nn

from fedefm.data.batch import Batch
from fedefm.data.masked import MaskedBatch
from fedefm.data.masking import hidden_patches
from fedefm.data.patches import cut, normalized

CONSTANT = 0.5  # a normalized patch has variance 1, and 0 if it was constant


def reconstruction(model: nn.Module, batch: Batch) -> Tensor:
    """``(B,)`` losses of a ``MaskedAutoencoder``, or of what wraps it, on a ``MaskedBatch``."""
    masked = masked_batch(batch)
    errors, _ = _painted(model, masked)
    return _hidden(errors, masked).mean(dim=1)


@torch.no_grad()
def explained(model: nn.Module, batch: Batch) -> Tensor:
    """``(B,)``: the share of the variance within masked patches that the model paints.

    1 is perfect, 0 what plain gray patches have, and below 0 is worse than those. Constant patches,
    as around a sector of ultrasound, have no variance and do not count: painting them gray would
    seem to explain them. An image that has no others among its masked ones gets 0.
    """
    masked = masked_batch(batch)
    errors, targets = _painted(model, masked)
    variance = _hidden(targets.square().mean(dim=2), masked)
    varies = variance > CONSTANT
    shares = (1 - _hidden(errors, masked) / variance.clamp_min(CONSTANT)) * varies
    return shares.sum(dim=1) / varies.sum(dim=1).clamp_min(1)


def _painted(model: nn.Module, batch: MaskedBatch) -> tuple[Tensor, Tensor]:
    """Of all patches: ``(B, L)`` mean squared errors, and ``(B, L, P)`` what was to be painted."""
    painted: Tensor = model(batch.images, batch.kept)  # (B, L, P)
    targets = normalized(cut(batch.clean, isqrt(painted.shape[2])))
    return (painted - targets).square().mean(dim=2), targets


def _hidden(values: Tensor, batch: MaskedBatch) -> Tensor:
    """Those of masked patches ``(B, L - K)``, of one value for each patch ``(B, L)``."""
    return values.take_along_dim(hidden_patches(batch.kept, values.shape[1]), dim=1)


def masked_batch(batch: Batch) -> MaskedBatch:
    """``batch``, if it is of masked images. Raises TypeError."""
    if not isinstance(batch, MaskedBatch):
        raise TypeError(f"reconstruction needs a MaskedBatch, not {type(batch).__name__}")
    return batch

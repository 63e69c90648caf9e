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


def reconstruction(model: nn.Module, batch: Batch) -> Tensor:
    """``(B,)`` losses of a ``MaskedAutoencoder``, or of what wraps it, on a ``MaskedBatch``."""
    masked = masked_batch(batch)
    painted: Tensor = model(masked.images, masked.kept)  # (B, L, P)
    targets = normalized(cut(masked.clean, isqrt(painted.shape[2])))
    errors = (painted - targets).square().mean(dim=2)
    hidden = hidden_patches(masked.kept, errors.shape[1])
    return errors.take_along_dim(hidden, dim=1).mean(dim=1)


@torch.no_grad()
def explained(model: nn.Module, batch: Batch) -> Tensor:
    """``(B,)``: the share of the variance within masked patches that the model paints.

    1 is perfect, 0 what plain gray patches would have, and below 0 is worse than those.
    """
    return 1 - reconstruction(model, batch)


def masked_batch(batch: Batch) -> MaskedBatch:
    """``batch``, if it is of masked images. Raises TypeError."""
    if not isinstance(batch, MaskedBatch):
        raise TypeError(f"reconstruction needs a MaskedBatch, not {type(batch).__name__}")
    return batch

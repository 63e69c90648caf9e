"""Images cut into square patches, put together again, and as what an autoencoder should paint.

Patches lie row by row, and so do the pixels of each: the order in which a ViT embeds them.
"""

from math import isqrt

import torch.nn.functional as F
from torch import Tensor

from fedefm.errors import DataError

EPSILON = 1e-6  # added to a patch's variance, as in the masked autoencoder's own code


def cut(images: Tensor, patch: int) -> Tensor:
    """``(B, 1, S, S)`` to ``(B, L, patch * patch)``, L = (S / patch) squared.

    Raises:
        DataError: if ``patch`` does not divide the images' side.
    """
    batch, _, side, _ = images.shape
    if side % patch:
        raise DataError(
            f"images of {side} pixels cannot be cut into patches of {patch}; "
            f"use {max(1, round(side / patch)) * patch}, for example"
        )
    grid = side // patch
    tiles = images.reshape(batch, grid, patch, grid, patch).transpose(2, 3)
    return tiles.reshape(batch, grid**2, patch**2)


def put_together(patches: Tensor) -> Tensor:
    """The inverse of ``cut``: ``(B, L, patch * patch)`` to ``(B, 1, S, S)``."""
    batch, count, pixels = patches.shape
    grid, patch = isqrt(count), isqrt(pixels)
    tiles = patches.reshape(batch, grid, grid, patch, patch).transpose(2, 3)
    return tiles.reshape(batch, 1, grid * patch, grid * patch)


def normalized(patches: Tensor) -> Tensor:
    """Each patch of ``(B, L, P)`` with zero mean and unit variance; a constant one becomes zeros.

    The variance is the mean square, so that a target's own is 1 and a loss is a share of it; the
    paper's code divides by P - 1 instead of P, which changes a loss by one part in P.
    """
    return F.layer_norm(patches, patches.shape[-1:], eps=EPSILON)

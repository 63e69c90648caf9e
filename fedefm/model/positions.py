"""Where a patch lies, told by sines and cosines: fixed numbers that are the same at every site.

Vaswani et al., "Attention is all you need", NeurIPS 2017, in two dimensions as in He et al.,
"Masked autoencoders are scalable vision learners", CVPR 2022.
"""

import torch
from torch import Tensor, nn

from fedefm.errors import ModelError

LONGEST = 10_000.0  # wavelengths go from 2 pi to 2 pi times this, in patches


class Positions(nn.Module):
    """Adds the positions to a class token and the ``grid`` squared patches behind it.

    A buffer that no checkpoint holds: it follows from the size.
    """

    table: Tensor

    def __init__(self, grid: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("table", sine_positions(grid, dim), persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens + self.table


def sine_positions(grid: int, dim: int) -> Tensor:
    """``(1, 1 + grid * grid, dim)`` positions of a class token (zeros) and patches, row by row.

    The first half of ``dim`` tells the column, the second one the row; each is sines, then cosines.

    Raises:
        ModelError: if ``dim`` is not a multiple of 4.
    """
    if dim % 4:
        raise ModelError(f"positions of {dim} numbers cannot be halved twice; use a multiple of 4")
    places = _waves(torch.arange(grid), dim // 2)  # (grid, dim / 2)
    columns = places[None, :].expand(grid, -1, -1)
    rows = places[:, None].expand(-1, grid, -1)
    patches = torch.cat([columns, rows], dim=2).flatten(0, 1)
    return torch.cat([torch.zeros(1, dim), patches.float()])[None]


def _waves(places: Tensor, dim: int) -> Tensor:
    """``(n, dim)`` in double precision: with large grids, float32 loses digits of the angles."""
    frequencies = LONGEST ** -(torch.arange(dim // 2, dtype=torch.float64) / (dim // 2))
    angles = places[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)

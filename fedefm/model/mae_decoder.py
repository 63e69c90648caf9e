"""The light half of a masked autoencoder: from the patches that were seen to pixels of all.

It is thrown away after pre-training. He et al., CVPR 2022, section 3.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedefm.data.masking import at_places, hidden_patches
from fedefm.model.positions import Positions
from fedefm.model.vit import EPSILON, Block


@dataclass(frozen=True)
class DecoderSize:
    """The numbers that tell one decoder from another."""

    dim: int
    depth: int
    heads: int


DECODER_SIZES = {  # by backbone, as ``VIT_SIZES``
    "vit_micro": DecoderSize(dim=64, depth=2, heads=4),
    "vit_tiny": DecoderSize(dim=256, depth=4, heads=8),
    "vit_small": DecoderSize(dim=256, depth=4, heads=8),
    "vit_base": DecoderSize(dim=512, depth=8, heads=16),
    "vit_large": DecoderSize(dim=512, depth=8, heads=16),
}


class Decoder(nn.Module):
    """A few narrow blocks over what the encoder gave and mask tokens where it saw nothing.

    Args:
        encoder_dim: width of the encoder's tokens.
        grid: patches in a row of the image.
        pixels: of one patch.
    """

    def __init__(self, size: DecoderSize, encoder_dim: int, grid: int, pixels: int) -> None:
        super().__init__()
        self.embed = nn.Linear(encoder_dim, size.dim)
        self.mask_token = MaskToken(grid**2, size.dim)
        self.positions = Positions(grid, size.dim)
        self.blocks = nn.ModuleList(Block(size.dim, size.heads) for _ in range(size.depth))
        self.norm = nn.LayerNorm(size.dim, eps=EPSILON)
        self.head = nn.Linear(size.dim, pixels)

    def forward(self, tokens: Tensor, kept: Tensor) -> Tensor:
        """Class token and kept patches ``(B, 1 + K, C)`` to pixels ``(B, L, P)`` of all patches."""
        filled = self.mask_token(self.embed(tokens))  # (B, 1 + L, D)
        tokens = self.positions(in_their_places(filled, kept))
        for block in self.blocks:
            tokens = block(tokens)
        pixels: Tensor = self.head(self.norm(tokens[:, 1:]))
        return pixels


class MaskToken(nn.Module):
    """One learned vector that stands for each patch that was not seen.

    In a module of its own: as a parameter of the root it pushes Opacus into a path that is four
    times slower.
    """

    def __init__(self, patches: int, dim: int) -> None:
        super().__init__()
        self.patches = patches
        self.token = nn.Parameter(torch.zeros(1, 1, dim))

    def forward(self, tokens: Tensor) -> Tensor:
        """Class token and kept patches ``(B, 1 + K, D)``, filled up to ``(B, 1 + L, D)``."""
        missing = 1 + self.patches - tokens.shape[1]
        return torch.cat([tokens, self.token.expand(tokens.shape[0], missing, -1)], dim=1)


def in_their_places(tokens: Tensor, kept: Tensor) -> Tensor:
    """Reorder a class token and patches ``(B, 1 + L, D)``, of which ``kept`` ``(B, K)`` come first.

    Afterwards patches lie by place.
    """
    order = torch.cat([kept, hidden_patches(kept, tokens.shape[1] - 1)], dim=1)
    return at_places(tokens, behind_class_token(order.argsort(dim=1)))


def behind_class_token(patches: Tensor) -> Tensor:
    """Where the class token and these patches ``(B, K)`` are among all tokens: ``(B, 1 + K)``."""
    return F.pad(patches + 1, (1, 0))

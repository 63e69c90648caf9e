"""Vision transformers whose weights are those of timm's ``vit_*_patch16``, name by name.

Written out rather than taken from timm for two reasons: the tokens must live in a module of their
own (as parameters of the root they push Opacus into a path that is four times slower), and
importing timm costs three seconds in every process of a federation. A test holds the numbers equal
to timm's.

Dosovitskiy et al., "An image is worth 16x16 words", ICLR 2021.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedefm.errors import ModelError
from fedefm.model.backbone import Backbone, plain_images

EPSILON = 1e-6  # of timm's LayerNorms
PYRAMID_MAPS = 4  # a DPT decoder reads four depths


@dataclass(frozen=True)
class VitSize:
    """The numbers that tell one ViT from another."""

    patch: int  # pixels
    dim: int
    depth: int
    heads: int


VIT_SIZES = {
    "vit_micro": VitSize(patch=8, dim=96, depth=4, heads=3),  # 32 to 64 px, for tests and laptops
    "vit_tiny": VitSize(patch=16, dim=192, depth=12, heads=3),
    "vit_small": VitSize(patch=16, dim=384, depth=12, heads=6),
    "vit_base": VitSize(patch=16, dim=768, depth=12, heads=12),
    "vit_large": VitSize(patch=16, dim=1024, depth=24, heads=16),
}


class VisionTransformer(Backbone):
    """Patch tokens and one class token through pre-norm transformer blocks.

    Raises:
        ModelError: if ``image_size`` is not a multiple of the patch.
    """

    def __init__(self, size: VitSize, image_size: int) -> None:
        super().__init__()
        if image_size <= 0 or image_size % size.patch:
            fitting = max(1, round(image_size / size.patch)) * size.patch
            raise ModelError(
                f"image size {image_size} is not a multiple of the patch of {size.patch} pixels; "
                f"use {fitting}, for example"
            )
        self.image_size = image_size
        self.grid = image_size // size.patch
        self.feature_dim = size.dim
        self.channels = (size.dim,) * PYRAMID_MAPS
        self.strides = (size.patch,) * PYRAMID_MAPS
        self.patch_embed = PatchEmbedding(size.patch, size.dim)
        self.tokens = Tokens(self.grid**2, size.dim)
        self.blocks = nn.ModuleList(Block(size.dim, size.heads) for _ in range(size.depth))
        self.norm = nn.LayerNorm(size.dim, eps=EPSILON)
        self.apply(_initialize)

    def dense_features(self, x: Tensor) -> Tensor:
        """Normalized patch tokens ``(B, h, w, C)``; the class token is left out."""
        return self._as_grid(self.transformed(self.embed(x)))

    def pyramid(self, x: Tensor) -> list[Tensor]:
        """Patch tokens after four depths, the last normalized: four maps ``(B, C, h, w)``."""
        tokens, maps = self.embed(x), []
        for depth, block in enumerate(self.blocks, start=1):
            tokens = block(tokens)
            if depth == len(self.blocks):
                tokens = self.norm(tokens)
            if depth * PYRAMID_MAPS % len(self.blocks) == 0:
                maps.append(self._as_grid(tokens).permute(0, 3, 1, 2).contiguous())
        return maps

    def transformed(self, tokens: Tensor) -> Tensor:
        """``tokens`` (B, N, C), all of ``embed`` or some, through all blocks, normalized."""
        for block in self.blocks:
            tokens = block(tokens)
        normalized: Tensor = self.norm(tokens)
        return normalized

    def blocks_in_order(self) -> list[nn.ModuleList]:
        """The transformer's blocks; the last normalization goes with the last one."""
        *first, last = self.blocks
        return [*(nn.ModuleList([block]) for block in first), nn.ModuleList([last, self.norm])]

    def embed(self, x: Tensor) -> Tensor:
        """Class and patch tokens ``(B, 1 + h * w, C)`` with their positions."""
        if x.shape[-2:] != (self.image_size, self.image_size):
            raise ModelError(
                f"images of {x.shape[-2]} x {x.shape[-1]} pixels do not fit a ViT built for "
                f"{self.image_size} x {self.image_size}; resize them or build it for their size"
            )
        embedded: Tensor = self.tokens(self.patch_embed(plain_images(x)))
        return embedded

    def _as_grid(self, tokens: Tensor) -> Tensor:
        batch, _, dim = tokens.shape
        return tokens[:, 1:].reshape(batch, self.grid, self.grid, dim)


class PatchEmbedding(nn.Module):
    """One vector per square patch."""

    def __init__(self, patch: int, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(1, dim, kernel_size=patch, stride=patch)

    def forward(self, x: Tensor) -> Tensor:
        patches: Tensor = self.proj(x)  # (B, C, h, w)
        return patches.flatten(2).transpose(1, 2)


class Tokens(nn.Module):
    """Puts the class token in front and adds the positions."""

    def __init__(self, patches: int, dim: int) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + patches, dim))

    def forward(self, patches: Tensor) -> Tensor:
        cls = self.cls_token.expand(patches.shape[0], -1, -1)
        return torch.cat([cls, patches], dim=1) + self.pos_embed


class Block(nn.Module):
    """Attention and a two-layer perceptron, each on normalized input and added to it."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=EPSILON)
        self.attn = Attention(dim, heads)
        self.norm2 = nn.LayerNorm(dim, eps=EPSILON)
        self.mlp = Mlp(dim)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class Attention(nn.Module):
    """Multi-head self-attention; plain linear layers, so that Opacus' fast path knows them."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        batch, count, dim = x.shape
        qkv = self.qkv(x).reshape(batch, count, 3, self.heads, dim // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)  # (B, heads, N, dim / heads) each
        mixed = F.scaled_dot_product_attention(query, key, value)
        projected: Tensor = self.proj(mixed.transpose(1, 2).reshape(batch, count, dim))
        return projected


class Mlp(nn.Module):
    """Four times wider inside."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, 4 * dim)
        self.fc2 = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(F.gelu(self.fc1(x)))
        return out


def _initialize(module: nn.Module) -> None:
    """timm's initialization: truncated normals, zero biases."""
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
    elif isinstance(module, Tokens):
        nn.init.normal_(module.cls_token, std=1e-6)
        nn.init.trunc_normal_(module.pos_embed, std=0.02)

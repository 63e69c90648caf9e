"""The masked autoencoder as its paper tells it, on timm's blocks: what ours is timed against.

He et al., "Masked autoencoders are scalable vision learners", CVPR 2022. All patches are embedded,
and noise is sorted to choose those that the encoder sees; mask tokens fill up what it gave, are
sorted back into place, and the error of every patch is taken, of which the masked ones count.
"""

from functools import partial

import torch
from torch import Tensor, nn

from fedefm.model.mae import MaskedAutoencoder  # first: it mends torchvision, which timm imports
from fedefm.model.mae_decoder import DecoderSize
from fedefm.model.positions import sine_positions
from fedefm.model.vit import VitSize

# isort: split
from timm.layers import PatchEmbed
from timm.models.vision_transformer import Block

RATIO = 0.75
NORM = partial(nn.LayerNorm, eps=1e-6)


class Reference(nn.Module):
    """``forward`` gives the loss of a batch, a mean over all of its masked patches."""

    def __init__(self, size: VitSize, decoder: DecoderSize, image_size: int) -> None:
        super().__init__()
        self.patch, self.grid = size.patch, image_size // size.patch
        self.patch_embed = PatchEmbed(image_size, size.patch, 1, size.dim)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, size.dim))
        self.pos_embed = _fixed(self.grid, size.dim)
        self.blocks = nn.ModuleList(_block(size.dim, size.heads) for _ in range(size.depth))
        self.norm = NORM(size.dim)
        self.decoder_embed = nn.Linear(size.dim, decoder.dim)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, decoder.dim))
        self.decoder_pos_embed = _fixed(self.grid, decoder.dim)
        self.decoder_blocks = nn.ModuleList(
            _block(decoder.dim, decoder.heads) for _ in range(decoder.depth)
        )
        self.decoder_norm = NORM(decoder.dim)
        self.decoder_pred = nn.Linear(decoder.dim, size.patch**2)

    def forward(self, images: Tensor, noise: Tensor) -> Tensor:
        """``images`` (B, 1, S, S); of ``noise`` (B, L) the smallest numbers are patches kept."""
        tokens = self.patch_embed(images) + self.pos_embed[:, 1:]
        seen, mask, restore = _masked(tokens, noise)
        first = (self.cls_token + self.pos_embed[:, :1]).expand(len(seen), -1, -1)
        tokens = torch.cat([first, seen], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        painted = self._decode(self.norm(tokens), restore)
        errors = (painted - self._targets(images)).square().mean(dim=-1)
        return (errors * mask).sum() / mask.sum()

    def _decode(self, tokens: Tensor, restore: Tensor) -> Tensor:
        tokens = self.decoder_embed(tokens)
        missing = restore.shape[1] + 1 - tokens.shape[1]
        filled = torch.cat([tokens[:, 1:], self.mask_token.expand(len(tokens), missing, -1)], dim=1)
        patches = filled.gather(1, restore[..., None].expand(-1, -1, tokens.shape[2]))
        tokens = torch.cat([tokens[:, :1], patches], dim=1) + self.decoder_pos_embed
        for block in self.decoder_blocks:
            tokens = block(tokens)
        return self.decoder_pred(self.decoder_norm(tokens))[:, 1:]

    def _targets(self, images: Tensor) -> Tensor:
        batch, patch, grid = len(images), self.patch, self.grid
        tiles = images.reshape(batch, grid, patch, grid, patch).permute(0, 1, 3, 2, 4)
        patches = tiles.reshape(batch, grid**2, patch**2)
        mean = patches.mean(-1, keepdim=True)
        variance = patches.var(-1, correction=0, keepdim=True)
        return (patches - mean) / (variance + 1e-6).sqrt()


def like(ours: MaskedAutoencoder, size: VitSize, decoder: DecoderSize) -> Reference:
    """The reference with the weights of ``ours``."""
    reference = Reference(size, decoder, int(ours.info["image_size"]))
    reference.load_state_dict(
        {_their_name(name): tensor for name, tensor in ours.state_dict().items()}, strict=False
    )
    return reference


def kept_by(noise: Tensor) -> Tensor:
    """``(B, K)``: the patches that the reference keeps, ascending, as ours wants them."""
    return noise.argsort(dim=1)[:, : round(noise.shape[1] * (1 - RATIO))].sort(dim=1).values


def _their_name(name: str) -> str:
    head, _, rest = name.partition(".")
    if head == "backbone":
        return rest.removeprefix("tokens.")
    names = {"embed": "embed", "blocks": "blocks", "norm": "norm", "head": "pred"}
    for own, their in names.items():
        if rest.startswith(f"{own}."):
            return f"decoder_{their}{rest.removeprefix(own)}"
    return rest.replace("mask_token.token", "mask_token")


def _masked(tokens: Tensor, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Kept tokens (B, K, C), ones where a patch is masked (B, L), and the way back (B, L)."""
    order = noise.argsort(dim=1)
    restore = order.argsort(dim=1)
    count = round(tokens.shape[1] * (1 - RATIO))
    kept = order[:, :count]
    seen = tokens.gather(1, kept[..., None].expand(-1, -1, tokens.shape[2]))
    mask = torch.ones(noise.shape)
    mask[:, :count] = 0
    return seen, mask.gather(1, restore), restore


def _block(dim: int, heads: int) -> Block:
    return Block(dim, heads, qkv_bias=True, norm_layer=NORM)


def _fixed(grid: int, dim: int) -> nn.Parameter:
    return nn.Parameter(sine_positions(grid, dim), requires_grad=False)

"""Seeded augmentation on whole batches, in plain tensor operations.

A transform takes images (B, 1, H, W) in [0, 1], masks (B, H, W) or None and a generator, and gives
the same back. Every image has its own draw, every draw comes from the generator that is passed, and
there is no loop over images: a batch of sixteen 32 px images takes well under a millisecond.

Crop, flip and rotation are one affine map each; ``random_view`` does all with one resampling.
Images are resampled bilinearly; beyond the border they and their masks are mirrored. A pixel of a
mask is a device's where its neighbors give the devices a share of ``DEVICE_SHARE``: to take the
nearest value would tear every second wire of one pixel to pieces.
"""

import math
from collections.abc import Callable
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

Transform = Callable[[Tensor, Tensor | None, torch.Generator], tuple[Tensor, Tensor | None]]
Range = tuple[float, float]

# Of a pixel, for it to be a device's. At a half, diagonal wires of one pixel still fall apart; at
# 0.4 one in a hundred does, and devices of three pixels become a fifteenth wider.
DEVICE_SHARE = 0.4


def light() -> Transform:
    """The preset ``light``: crops of 0.6 to 1 of the side, left-right flips, noise 0.05 to 0.1."""
    return compose(light_views(), gaussian_noise((0.05, 0.1)))


def light_views() -> Transform:
    """The preset ``light`` without its noise."""
    return random_view(scale=(0.6, 1.0), horizontal=True)


def compose(*transforms: Transform) -> Transform:
    """One after the other."""

    def apply(
        images: Tensor, masks: Tensor | None, rng: torch.Generator
    ) -> tuple[Tensor, Tensor | None]:
        for transform in transforms:
            images, masks = transform(images, masks, rng)
        return images, masks

    return apply


def random_view(
    scale: Range = (1.0, 1.0),
    horizontal: bool = False,
    vertical: bool = False,
    degrees: float = 0.0,
) -> Transform:
    """Crop, flip and rotation with one resampling.

    Args:
        scale: side of the crop as a share of the image's side, within (0, 1].
        horizontal: mirror half of the images left to right.
        vertical: mirror half of the images top to bottom.
        degrees: largest rotation in either direction.
    """
    low, high = scale
    if not 0 < low <= high <= 1:
        raise ValueError(f"scale {scale} is not within (0, 1]")

    def apply(
        images: Tensor, masks: Tensor | None, rng: torch.Generator
    ) -> tuple[Tensor, Tensor | None]:
        draws = torch.rand(len(images), 6, generator=rng)
        maps = _affine_maps(draws, low, high, horizontal, vertical, math.radians(degrees))
        return _resample(images, masks, maps)

    return apply


def random_crop(scale: Range = (0.5, 1.0)) -> Transform:
    """A square part of each image, its side ``scale`` of the image's, enlarged to the full size."""
    return random_view(scale=scale)


def random_flip(horizontal: bool = True, vertical: bool = False) -> Transform:
    """Mirror half of the images in each direction asked for."""
    return random_view(horizontal=horizontal, vertical=vertical)


def random_rotation(degrees: float = 10.0) -> Transform:
    """Turn each image by up to ``degrees`` either way; corners are filled by mirroring."""
    return random_view(degrees=degrees)


def random_intensity(gamma: Range = (0.8, 1.25), contrast: Range = (0.8, 1.2)) -> Transform:
    """Exponent and contrast about the middle gray of each image; masks stay."""

    def apply(
        images: Tensor, masks: Tensor | None, rng: torch.Generator
    ) -> tuple[Tensor, Tensor | None]:
        draws = torch.rand(2, len(images), 1, 1, 1, generator=rng).to(images.device)
        curved = images.pow(_between(draws[0], gamma))
        return (0.5 + (curved - 0.5) * _between(draws[1], contrast)).clamp_(0, 1), masks

    return apply


def gaussian_noise(std: float | Range) -> Transform:
    """Independent noise on each pixel, of the given standard deviation or one drawn per image."""
    bounds = std if isinstance(std, tuple) else (std, std)

    def apply(
        images: Tensor, masks: Tensor | None, rng: torch.Generator
    ) -> tuple[Tensor, Tensor | None]:
        spread = _between(torch.rand(len(images), 1, 1, 1, generator=rng), bounds)
        noise = torch.randn(images.shape, generator=rng).mul_(spread).to(images.device)
        return noise.add_(images).clamp_(0, 1), masks

    return apply


def _between(draws: Tensor, bounds: Range) -> Tensor:
    return bounds[0] + (bounds[1] - bounds[0]) * draws


def _affine_maps(
    draws: Tensor, low: float, high: float, horizontal: bool, vertical: bool, radians: float
) -> Tensor:
    """(B, 2, 3) maps from output to input places, both in [-1, 1]."""
    side = _between(draws[:, 0], (low, high))
    center = (2 * draws[:, 1:3] - 1) * (1 - side)[:, None]  # the crop stays within the image
    flips = torch.ones(len(draws), 2)
    if horizontal:
        flips[:, 0] = (draws[:, 3] < 0.5) * 2.0 - 1
    if vertical:
        flips[:, 1] = (draws[:, 4] < 0.5) * 2.0 - 1
    angle = (2 * draws[:, 5] - 1) * radians
    turn = torch.stack([angle.cos(), -angle.sin(), angle.sin(), angle.cos()], 1).view(-1, 2, 2)
    linear = turn * (side[:, None] * flips)[:, None, :]
    return torch.cat([linear, center[:, :, None]], 2)


def _affine_grid(maps: Tensor, height: int, width: int) -> Tensor:
    """(B, H, W, 2) input places of each output pixel: ``F.affine_grid``, seven times as fast."""
    places = maps.reshape(-1, 3) @ _pixel_centers(height, width)
    return places.view(-1, 2, height, width).permute(0, 2, 3, 1)


@lru_cache(maxsize=8)
def _pixel_centers(height: int, width: int) -> Tensor:
    """(3, H W) homogeneous places of all pixels, the image being [-1, 1] wide and high."""
    down = (2 * torch.arange(height) + 1) / height - 1
    right = (2 * torch.arange(width) + 1) / width - 1
    y, x = torch.meshgrid(down, right, indexing="ij")
    return torch.stack([x, y, torch.ones_like(x)]).flatten(1)


def _resample(images: Tensor, masks: Tensor | None, maps: Tensor) -> tuple[Tensor, Tensor | None]:
    grid = _affine_grid(maps, images.shape[2], images.shape[3]).to(images)

    def resample(pictures: Tensor) -> Tensor:
        return F.grid_sample(
            pictures.to(grid.dtype), grid, "bilinear", "reflection", align_corners=False
        )

    return resample(images), None if masks is None else resample_masks(masks, resample)


def resample_masks(masks: Tensor, resample: Callable[[Tensor], Tensor]) -> Tensor:
    """Of the devices in a pixel the one with the largest share, where they have enough of it.

    ``resample`` takes (B, K, H, W) bool, the pixels of K devices, and gives each one's shares in
    the pixels to come.
    """
    values = range(1, int(masks.max()) + 1)
    if not values:
        return torch.zeros_like(masks)
    shares = resample(torch.stack([masks == value for value in values], dim=1))
    chosen = shares.max(dim=1).indices + 1  # argmax takes nine times as long
    return torch.where(shares.sum(dim=1) >= DEVICE_SHARE, chosen, 0).to(masks.dtype)

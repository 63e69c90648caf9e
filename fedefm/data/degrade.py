"""What goes wrong when an image is taken, made on purpose: the input of a denoising autoencoder.

After UltraFedFM (npj Digital Medicine 8:714, 2025): half of the images are blurred by motion, out
of focus, or speckled, and the target stays clean. Lengths were chosen there for 224 pixels. That of
a motion is a share of the view, so it goes with the image's side; focus and specks are matters of
the pixel, and stay.
"""

from math import exp

import torch
import torch.nn.functional as F
from torch import Tensor

SHARE = 0.5  # of the images that are degraded
MOTION = 24 / 224  # length of a motion, as a share of the side
RADIUS = 1.1  # deviation of the Gaussian, in pixels
REACH = 4  # deviations, after which the Gaussian is cut off
DENSITY = 0.1  # share of the pixels that are specks


def degraded(images: Tensor, rng: torch.Generator) -> Tensor:
    """A copy of images ``(B, 1, S, S)`` in [0, 1], half of which have one to three faults."""
    moving, blurred, speckled = drawn_faults(len(images), rng).to(images.device).unbind(dim=1)
    worse = images.clone()
    worse[moving] = motion_blur(worse[moving])
    worse[blurred] = gaussian_blur(worse[blurred])
    worse[speckled] = salt_and_pepper(worse[speckled], rng)
    return worse


def drawn_faults(images: int, rng: torch.Generator) -> Tensor:
    """``(images, 3)`` bool: which have motion, blur, specks.

    A degraded image has each with a chance of 1/2; where none came of it, one of the three.
    """
    faults = torch.rand(images, 3, generator=rng) < 0.5
    forced = F.one_hot(torch.randint(3, (images,), generator=rng), 3).bool()
    faults |= forced & ~faults.any(dim=1, keepdim=True)
    return faults & (torch.rand(images, 1, generator=rng) < SHARE)


def motion_blur(images: Tensor) -> Tensor:
    """The mean along a line of 45 degrees, up and to the right, ``MOTION`` of the side long.

    (The paper's code turns its line, a diagonal, by another 45 degrees, which makes it level.)
    """
    height, width = images.shape[2:]
    length = max(2, round(MOTION * width))
    before = length // 2
    around = _with_border(images, before, length - 1 - before)
    total = torch.zeros_like(images)
    for step in range(length):
        down = length - 1 - step
        total += around[:, :, down : down + height, step : step + width]
    return total / length


def gaussian_blur(images: Tensor) -> Tensor:
    """A Gaussian of deviation ``RADIUS``."""
    reach = int(REACH * RADIUS + 0.5)
    weights = [exp(-0.5 * (offset / RADIUS) ** 2) for offset in range(-reach, reach + 1)]
    around = _with_border(images, reach, reach)
    height, width = images.shape[2:]
    across, both = torch.zeros_like(around[..., :width]), torch.zeros_like(images)
    for step, weight in enumerate(weights):  # a tenth of the time of convolutions
        across.add_(around[..., step : step + width], alpha=weight / sum(weights))
    for step, weight in enumerate(weights):
        both.add_(across[:, :, step : step + height], alpha=weight / sum(weights))
    return both


def salt_and_pepper(images: Tensor, rng: torch.Generator) -> Tensor:
    """``DENSITY`` of the pixels, each by itself, black or white."""
    draws = torch.rand(images.shape, generator=rng).to(images.device)
    salted = torch.where(draws > 1 - DENSITY / 2, 1.0, images)
    return torch.where(draws < DENSITY / 2, 0.0, salted)


def _with_border(images: Tensor, before: int, after: int) -> Tensor:
    """The outermost pixels repeated, on both axes."""
    return F.pad(images, (before, after, before, after), mode="replicate")

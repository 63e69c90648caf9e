"""Ultrasound from one kind of probe shown as if another had taken it (UltraFedFM's scan modes).

A linear probe gives a rectangle: rows are depths, columns places along the probe. A convex or
phased probe sends its beams out like a fan, and gives a sector of a ring. One is the other in polar
coordinates: the column is the angle and the row the radius,

    u = angle / (opening / 2),  v = 2 (radius - inner radius) - 1,  both from -1 to 1,

where the linear image is one unit deep. The sector fills its frame: it touches all four sides, and
the narrow end is on top. Frames become squares here whatever they were (``FrameDataset``), so the
fan is as wide as its frame, and not as wide as it was in the body. Around it all is black, and
background in masks. In the wide fan of the defaults a structure three pixels wide stays whole, and
a thinner one may break where the fan is the most squeezed.

UltraFedFM's code converts files on disk, with an opening of 160 degrees and an inner radius of 120
px of 224; these are the defaults. Ours converts at load time: an image of 224 px takes about 3 ms
of one core, and 15 more with a mask.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from fedefm.config.names import ScanMode as ScanMode
from fedefm.data.transforms import Transform, resample_masks
from fedefm.errors import ConfigError

# Samples of a pixel, a side: in a wide fan two or three columns of a linear image meet in one.
SAMPLES = 2


@dataclass(frozen=True)
class Sector:
    """The part of a ring that a convex image shows.

    Args:
        opening: angle between the outermost beams in degrees, up to 180.
        inner_radius: of the ring, as a share of the linear image's depth, which is the width of
            the ring; 0 for a phased probe, whose beams begin in one point.
    """

    opening: float = 160.0
    inner_radius: float = 120 / 224

    def __post_init__(self) -> None:
        if not 0 < self.opening <= 180:
            raise ConfigError(
                f"a sector's opening of {self.opening} degrees is not above 0 and at most 180; "
                "curved probes have 60 to 160"
            )
        if not 0 <= self.inner_radius < math.inf:
            raise ConfigError(
                f"a sector's inner radius of {self.inner_radius} is not a share of the image's "
                "depth; give 0 or more, such as 0.5"
            )

    @property
    def half(self) -> float:
        """Half of the opening, in radians."""
        return math.radians(self.opening) / 2

    @property
    def box(self) -> tuple[float, float, float]:
        """Half of the width, top and bottom of the sector; the fan's center is at (0, 0)."""
        outer = self.inner_radius + 1
        return outer * math.sin(self.half), self.inner_radius * math.cos(self.half), outer


ULTRAFEDFM = Sector()  # of its public code


def linear_place(places: Tensor, sector: Sector) -> Tensor:
    """Where places (..., 2) of a convex image, x and y from -1 to 1, lie in the linear one.

    What is outside of the sector is there outside of -1 to 1.
    """
    width, top, bottom = sector.box
    x, y = places.unbind(-1)
    across, down = x * width, top + (y + 1) / 2 * (bottom - top)
    radius, angle = torch.hypot(across, down), torch.atan2(across, down)
    return torch.stack([angle / sector.half, 2 * (radius - sector.inner_radius) - 1], -1)


def convex_place(places: Tensor, sector: Sector) -> Tensor:
    """Where places (..., 2) of a linear image, x and y from -1 to 1, lie in the convex one.

    The inverse of ``linear_place``.
    """
    width, top, bottom = sector.box
    u, v = places.unbind(-1)
    radius, angle = sector.inner_radius + (v + 1) / 2, u * sector.half
    x, y = radius * angle.sin() / width, 2 * (radius * angle.cos() - top) / (bottom - top) - 1
    return torch.stack([x, y], -1)


def to_convex(images: Tensor, masks: Tensor | None, sector: Sector) -> tuple[Tensor, Tensor | None]:
    """Linear images (B, 1, H, W) and masks (B, H, W) bent into the sector."""
    return _converted(images, masks, linear_place, sector)


def to_linear(images: Tensor, masks: Tensor | None, sector: Sector) -> tuple[Tensor, Tensor | None]:
    """The sectors of convex images (B, 1, H, W) and masks (B, H, W) unrolled."""
    return _converted(images, masks, convex_place, sector)


def random_scan_mode(
    mode: ScanMode, probability: float = 0.5, sector: Sector = ULTRAFEDFM
) -> Transform:
    """Each image in the other scan mode with ``probability``; each has its own draw.

    ``mode`` is that of the set's own images. Nobody labels images one by one, and nobody has to:
    a set mostly comes from one kind of probe. Thyroid, breast, muscle and nerves (TN3K, BUSI) are
    scanned with linear probes, and abdomen, fetus and heart (HC18, CAMUS) with convex or phased
    ones. A set of both kinds needs a dataset for each, or goes without.

    Convex images have to be cut to their sector, with the narrow end on top, and unroll the
    straighter the better ``sector`` fits their probe. Where it does not fit they are bent
    otherwise; masks always stay true to their images.
    """
    if not 0 <= probability <= 1:
        raise ConfigError(f"a probability of {probability} is not between 0 and 1")
    convert = _AWAY_FROM[mode]

    def apply(
        images: Tensor, masks: Tensor | None, rng: torch.Generator
    ) -> tuple[Tensor, Tensor | None]:
        drawn = torch.rand(len(images), generator=rng) < probability
        if not drawn.any():
            return images, masks
        rows = drawn.nonzero().flatten().to(images.device)
        views, labels = convert(images[rows], None if masks is None else masks[rows], sector)
        if masks is not None and labels is not None:
            masks = masks.index_copy(0, rows, labels)
        return images.index_copy(0, rows, views), masks

    return apply


_AWAY_FROM = {"linear": to_convex, "convex": to_linear}
_PlaceOf = Callable[[Tensor, Sector], Tensor]


def _converted(
    images: Tensor, masks: Tensor | None, source_of: _PlaceOf, sector: Sector
) -> tuple[Tensor, Tensor | None]:
    height, width = images.shape[-2:]
    sources, inside = (part.to(images) for part in _samples(source_of, sector, height, width))

    def resample(pictures: Tensor) -> Tensor:
        grid = sources.expand(len(pictures), -1, -1, -1)
        pictures = pictures.to(grid.dtype)
        samples = F.grid_sample(pictures, grid, "bilinear", "border", align_corners=False)
        return F.avg_pool2d(samples * inside, SAMPLES)

    return resample(images), None if masks is None else resample_masks(masks, resample)


@lru_cache(maxsize=8)
def _samples(source_of: _PlaceOf, sector: Sector, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Of each sample of an output frame its place in the input, and 1 where that is inside of it.

    Shapes are ``(1, SAMPLES H, SAMPLES W, 2)`` and ``(SAMPLES H, SAMPLES W)``.
    """
    down, right = (
        (2 * torch.arange(SAMPLES * side, dtype=torch.float64) + 1) / (SAMPLES * side) - 1
        for side in (height, width)
    )
    y, x = torch.meshgrid(down, right, indexing="ij")
    sources = source_of(torch.stack([x, y], -1), sector)
    return sources[None], (sources.abs() <= 1).all(-1)

"""Masks that no file holds as they are: drawn from lines and polygons, filled, joined from several.

Each is a value that can be called once the mask is wanted, so that listing a set opens no image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import binary_fill_holes

from fedefm.data.readers import frame_size, read_image, read_mask
from fedefm.data.unreadable import UnreadableImage
from fedefm.errors import DataError

Points = tuple[tuple[float, float], ...]
FARTHEST = 100_000  # pixels from the origin; no image is that large
MOST_POINTS = 100_000  # of one outline


@dataclass(frozen=True)
class Lines:
    """Polylines (x, y) on an empty mask of the image's size.

    They are a 400th of its longer side wide, but no less than ``narrowest`` pixels and no more than
    ``widest``.
    """

    image: Path
    lines: tuple[Points, ...]
    narrowest: int
    widest: int

    def __call__(self) -> NDArray[np.int64]:
        size = frame_size(self.image)
        width = min(max(round(max(size) / 400), self.narrowest), self.widest)
        mask, draw = _empty(*size)
        for line in self.lines:
            draw.line(line, 1, width, joint="curve")
            for x, y in (line[0], line[-1]):  # rounded ends, and a dot where there is one point
                reach = (width - 1) / 2
                draw.ellipse((x - reach, y - reach, x + reach, y + reach), 1)
        return np.asarray(mask).astype(np.int64)


@dataclass(frozen=True)
class Polygons:
    """Filled polygons (x, y). ``size`` (height, width) is what they were drawn on."""

    image: Path
    polygons: tuple[Points, ...]
    size: tuple[int, int]

    def __call__(self) -> NDArray[np.int64]:
        size = frame_size(self.image)
        if size != self.size:
            raise UnreadableImage(
                self.image,
                f"has {size[1]} x {size[0]} pixels, and its polygons were drawn on "
                f"{self.size[1]} x {self.size[0]}",
            )
        mask, draw = _empty(*size)
        for polygon in self.polygons:
            if len(polygon) > 2:  # fewer points have no area
                draw.polygon(polygon, fill=1, outline=1)
        return np.asarray(mask).astype(np.int64)


@dataclass(frozen=True)
class Joined:
    """One where any of several masks of one image is not zero."""

    masks: tuple[Path, ...]

    def __call__(self) -> NDArray[np.int64]:
        parts = [read_mask(path) > 0 for path in self.masks]
        for path, part in zip(self.masks, parts, strict=True):
            if part.shape != parts[0].shape:
                raise UnreadableImage(path, "is of another size than its image's other masks")
        joined: NDArray[np.int64] = np.any(parts, axis=0).astype(np.int64)
        return joined


@dataclass(frozen=True)
class Bright:
    """One where a mask is brighter than middle gray: JPEG has left shades beside its two values."""

    mask: Path

    def __call__(self) -> NDArray[np.int64]:
        return (read_image(self.mask) > 0.5).astype(np.int64)


@dataclass(frozen=True)
class FilledOutline:
    """The inside of a closed outline that is drawn in a file, with the outline itself."""

    outline: Path

    def __call__(self) -> NDArray[np.int64]:
        drawn = read_mask(self.outline) > 0
        filled: NDArray[np.bool_] = binary_fill_holes(drawn)
        if drawn.any() and filled.sum() == drawn.sum():
            raise UnreadableImage(self.outline, "holds no closed outline to fill")
        return filled.astype(np.int64)


def points_of(values: object, where: str) -> Points:
    """``[[x, y], ...]`` as a set's JSON has it. Raises DataError that begins with ``where``."""
    if not isinstance(values, list) or not 0 < len(values) <= MOST_POINTS:
        raise DataError(f"{where} is not a list of one to {MOST_POINTS:,} points")
    return tuple(_point(value, where) for value in values)


def pairs_of(values: object, where: str) -> Points:
    """``[x, y, x, y, ...]`` as COCO writes an outline. Raises DataError."""
    if not isinstance(values, list) or len(values) % 2:
        raise DataError(f"{where} is not a list of x, y, x, y, and so on")
    return points_of([list(pair) for pair in zip(values[::2], values[1::2], strict=True)], where)


def _point(value: Any, where: str) -> tuple[float, float]:
    if isinstance(value, Sequence) and len(value) == 2 and all(map(_is_place, value)):
        return float(value[0]), float(value[1])
    raise DataError(f"{where} has a point that is not two numbers of a place in an image")


def _is_place(value: object) -> bool:
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    return plain and abs(value) <= FARTHEST  # type: ignore[arg-type]  # so NaN is none


def _empty(height: int, width: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    mask = Image.new("L", (width, height))
    return mask, ImageDraw.Draw(mask)

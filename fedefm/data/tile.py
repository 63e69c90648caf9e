"""A frame as a small square picture, with the outlines of its mask."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import binary_dilation

TILE = 168  # pixels
FRAME = (20, 20, 20)
MASK_COLORS = (  # by label value from 1; distinct for the color-blind as well (Okabe and Ito)
    (230, 159, 0),
    (0, 158, 230),
    (0, 190, 120),
    (240, 228, 66),
    (213, 94, 0),
    (204, 121, 167),
)
TINT = 0.25  # inside of the outlines


def draw_tile(gray: NDArray[np.float32], mask: NDArray[np.int64] | None) -> Image.Image:
    """(H, W) in [0, 1] in a square, its proportions kept.

    An outline runs outside of what the mask marks: a wire of one pixel has a line on both sides,
    and is itself still to be seen between them.
    """
    scale = TILE / max(gray.shape)
    height, width = (max(round(side * scale), 1) for side in gray.shape)
    small = Image.fromarray(gray).resize((width, height), Image.Resampling.BILINEAR)
    pixels = np.repeat(np.asarray(small)[..., None] * 255, 3, axis=2)
    if mask is not None:
        _outline(pixels, largest_in(mask, height, width))
    tile = Image.new("RGB", (TILE, TILE), FRAME)
    picture = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    tile.paste(picture, ((TILE - width) // 2, (TILE - height) // 2))
    return tile


def color_of(value: int) -> tuple[int, int, int]:
    """The color of a label value from 1."""
    return MASK_COLORS[(value - 1) % len(MASK_COLORS)]


def largest_in(mask: NDArray[np.int64], height: int, width: int) -> NDArray[np.int64]:
    """The mask at another size; where it shrinks, the largest value in the area of each pixel."""
    for axis, size in ((0, height), (1, width)):
        have = mask.shape[axis]
        if size < have:
            starts: Sequence[int] = [place * have // size for place in range(size)]
            mask = np.maximum.reduceat(mask, starts, axis=axis)
        else:
            mask = mask.take([(2 * place + 1) * have // (2 * size) for place in range(size)], axis)
    return mask


def _outline(pixels: NDArray[np.float32], mask: NDArray[np.int64]) -> None:
    """Color ``pixels`` (H, W, 3) around and in what ``mask`` (H, W) marks, in place."""
    around = []
    for value in np.unique(mask[mask > 0]):
        color = np.array(color_of(int(value)), np.float32)
        inside = mask == value
        pixels[inside] += TINT * (color - pixels[inside])
        around.append((binary_dilation(inside) & (mask == 0), color))
    for ring, color in around:
        pixels[ring] = color

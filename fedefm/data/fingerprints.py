"""What stays the same of a picture when it is scaled, compressed, brightened or slightly cropped.

A perceptual hash (the signs of the lowest 8 x 8 coefficients of a discrete cosine transform against
their median; Zauner 2010, "Implementation and Benchmarking of Perceptual Image Hash Functions")
finds candidates fast. It moves with the edge of the picture, so a picture has one for itself and
one for each of some windows inside it: the hash of a cropped copy is near that of a window. Dark
borders (collimators, round fields of view) are cut off before, since they are all alike.

Hashes of two chests are near as well. ``likeness`` then compares the fine structure, block by
block.
"""

from itertools import product

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from PIL import Image
from scipy.fft import dctn
from scipy.ndimage import gaussian_filter

SIDE = 64  # pixels of a thumbnail
HASH_SIDE = 8
WINDOWS = (  # left, top, side, as shares; the whole picture is first
    (0.0, 0.0, 1.0),
    *(
        (x * margin, y * margin, 1 - margin)
        for margin in (0.025, 0.05)
        for x, y in product((0, 0.5, 1), repeat=2)
    ),
)
BLOCKS, REACH = 4, 3  # blocks a side, and pixels by which each may be moved
FINE = 3.0  # pixels; wider structure is common to all pictures of a kind

Thumbnail = NDArray[np.uint8]
Hashes = NDArray[np.int8]


def thumbnail(gray: NDArray[np.float32]) -> Thumbnail:
    """(H, W) in [0, 1] as (SIDE, SIDE), without its dark borders and stretched to full range."""
    picture = Image.fromarray(gray)
    small = np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BOX))
    top, bottom = _lively(small, axis=1)
    left, right = _lively(small, axis=0)
    width, height = picture.size
    box = (left * width, top * height, right * width, bottom * height)
    inner = np.asarray(picture.resize((SIDE, SIDE), Image.Resampling.BOX, box=box))
    low, high = inner.min(), inner.max()
    stretched: NDArray[np.float32] = (inner - low) * (255 / max(high - low, 1e-6))
    return np.rint(stretched).astype(np.uint8)


def hashes(picture: Thumbnail) -> Hashes:
    """(len(WINDOWS), 64) of -1 and 1: the perceptual hash of each window."""
    return np.stack([_hash(view(picture, window, 4 * HASH_SIDE)) for window in range(len(WINDOWS))])


def view(picture: Thumbnail, window: int, side: int = SIDE) -> NDArray[np.float32]:
    """Window number ``window`` of a thumbnail as (side, side)."""
    left, top, share = WINDOWS[window]
    box = (SIDE * left, SIDE * top, SIDE * (left + share), SIDE * (top + share))
    image = Image.fromarray(picture.astype(np.float32))
    return np.asarray(image.resize((side, side), Image.Resampling.BILINEAR, box=box))


def likeness(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Mean correlation of fine structure over blocks of two (SIDE, SIDE) pictures, up to 1.

    Each block finds its best place within REACH pixels, since a crop is met only roughly.
    """
    blocks = _blocks(_fine(one), reach=0)
    regions = _blocks(_fine(other), reach=REACH)
    places = sliding_window_view(regions, blocks.shape[1:], axis=(1, 2))
    matches = np.einsum("kyxij,kij->kyx", _unit(places), _unit(blocks))
    return float(matches.max(axis=(1, 2)).mean())


def _lively(small: NDArray[np.float32], axis: int) -> tuple[float, float]:
    """Where rows (axis 1) or columns begin and end that are not dark throughout, as shares."""
    low, high = small.min(), np.percentile(small, 98)
    bright = np.flatnonzero(np.percentile(small, 97, axis=axis) > low + 0.15 * (high - low))
    if len(bright) == 0 or bright[-1] - bright[0] < SIDE // 2:
        return 0.0, 1.0  # no border, but a dark picture
    return bright[0] / SIDE, (bright[-1] + 1) / SIDE


def _hash(small: NDArray[np.float32]) -> Hashes:
    coefficients = dctn(small, norm="ortho")[:HASH_SIDE, :HASH_SIDE].ravel()
    return np.where(coefficients > np.median(coefficients), 1, -1).astype(np.int8)


def _fine(picture: NDArray[np.float32]) -> NDArray[np.float32]:
    values = picture.astype(np.float32)
    wide: NDArray[np.float32] = gaussian_filter(values, FINE)
    return values - wide


def _blocks(picture: NDArray[np.float32], reach: int) -> NDArray[np.float32]:
    """(BLOCKS^2, side, side) squares, each ``reach`` pixels larger on every side."""
    side = (SIDE - 2 * REACH) // BLOCKS
    starts = [REACH + side * number for number in range(BLOCKS)]
    return np.stack(
        [
            picture[y - reach : y + side + reach, x - reach : x + side + reach]
            for y, x in product(starts, repeat=2)
        ]
    )


def _unit(blocks: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each block (the last two axes) with zero mean and unit length; a flat one becomes zeros."""
    centered = blocks - blocks.mean(axis=(-2, -1), keepdims=True)
    length = np.sqrt((centered**2).sum(axis=(-2, -1), keepdims=True))
    unit: NDArray[np.float32] = centered / np.maximum(length, 1e-3)
    return unit

"""Stored pixel values to gray in [0, 1]."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

PERCENTILES = (0.5, 99.5)
COUNTED = 1 << 20  # values at once, with 8 bytes for each: a volume has hundreds of millions
LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601, as Pillow's "L"


def to_unit(values: NDArray[Any], reference: NDArray[Any] | None = None) -> NDArray[np.float32]:
    """``values`` (H, W) or (H, W, 3 or 4) as float32 (H, W) in [0, 1].

    Args:
        values: as stored; a fourth channel (alpha) is left out.
        reference: where percentiles are taken from; ``values`` itself if None.
    """
    if values.ndim == 3:
        return luminance(values[..., :3])
    if values.dtype.kind == "b":
        return values.astype(np.float32)
    if values.dtype == np.uint8:
        return np.take(_BYTES, values)
    source = values if reference is None else reference
    return rescale(values, *unit_range(source))


def unit_range(reference: NDArray[Any]) -> tuple[float, float]:
    """What becomes 0 and 1: the percentiles of ``reference``; of floats in [0, 1] these two."""
    if reference.dtype.kind == "f" and reference.min() >= 0 and reference.max() <= 1:
        return 0.0, 1.0
    return _window(reference)


def luminance(color: NDArray[Any]) -> NDArray[np.float32]:
    """(H, W, 3) colors as (H, W) luminance in [0, 1]."""
    gray: NDArray[np.float32] = color.astype(np.float32) @ LUMINANCE
    return gray / np.float32(255) if color.dtype == np.uint8 else to_unit(gray)


def rescale(values: NDArray[Any], low: float, high: float) -> NDArray[np.float32]:
    """Linear from [low, high] to [0, 1], clipped; zeros where the range is empty."""
    if high <= low:
        return np.zeros(values.shape, np.float32)
    scaled: NDArray[np.float64] = np.subtract(values, low, dtype=np.float64)
    scaled /= high - low  # in place: new memory for each step takes longer than the arithmetic
    np.clip(scaled, 0, 1, out=scaled)
    return scaled.astype(np.float32)


_BYTES = rescale(np.arange(256), 0, 255)


def _window(values: NDArray[Any]) -> tuple[float, float]:
    low, high = percentiles(values)
    if high <= low:  # nearly all pixels alike, such as one thin line on black
        low, high = values.min(), values.max()
    return float(low), float(high)


def percentiles(values: NDArray[Any]) -> tuple[float, float]:
    """``np.percentile(values, PERCENTILES)``; short integers are counted, five times as fast."""
    if values.dtype.kind not in "iu" or values.itemsize > 2:
        low, high = np.percentile(values, PERCENTILES)
        return float(low), float(high)
    smallest, largest = int(values.min()), int(values.max())
    counts = np.zeros(largest - smallest + 1, np.int64)
    flat = values.ravel()
    for start in range(0, flat.size, COUNTED):
        part = flat[start : start + COUNTED].astype(np.int64) - smallest
        counts += np.bincount(part, minlength=len(counts))
    up_to = counts.cumsum()
    places = np.array(PERCENTILES) / 100 * (values.size - 1)  # among the values in order
    below, above = (up_to.searchsorted(f(places), side="right") for f in (np.floor, np.ceil))
    low, high = smallest + below + (above - below) * (places - np.floor(places))
    return float(low), float(high)

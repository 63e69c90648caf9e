"""What real and simulated fluoroscopy are compared by: one set of estimators for both.

Frames are (H, W) or (N, H, W) gray values from 0 to 255, as a monitor shows them; ``inside`` is the
field of view. Nothing here knows where a frame came from.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_erosion, convolve, gaussian_filter, map_coordinates
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra

from fedefm.data.xray_raster import Float, arc_lengths

Inside = npt.NDArray[np.bool_]
PERCENTILES = (1, 5, 50, 95, 99)
TILE = 16  # side of the squares in which noise is taken to be even
_BLADE = 8.0  # darker than this is behind the blades
_IMMERKAER = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)


@dataclass(frozen=True)
class GrayLevels:
    """Mean, deviation and ``PERCENTILES`` of all pixels in the field of view."""

    mean: float
    std: float
    percentiles: tuple[float, ...]


def field_of_view(frames: Float, darkest: float = _BLADE) -> Inside:
    """What is not black behind blades in the mean of all frames (N, H, W), less its border."""
    return np.asarray(binary_erosion(frames.mean(0) > darkest, iterations=4))


def gray_levels(frames: Float, inside: Inside) -> GrayLevels:
    """Gray levels of frames (N, H, W) within one field of view."""
    values = frames[:, inside]
    found = np.percentile(values, PERCENTILES)
    return GrayLevels(float(values.mean()), float(values.std()), tuple(float(p) for p in found))


def noise_tiles(before: Float, after: Float, inside: Inside) -> tuple[Float, Float]:
    """Gray level (T,) of each tile of two frames, and its noise (T, TILE, TILE).

    The noise is the difference of the frames over the root of 2, without its mean over the tile: a
    tile in which something moved holds more than noise. Tiles at the ends of the scale are left
    out, where clipping hides noise.
    """
    gray, noise = _tiles((before + after) / 2), _tiles((after - before) / np.float32(2**0.5))
    whole = _tiles(inside.astype(np.float32)).min((1, 2)) > 0
    usable = whole & (gray.min((1, 2)) > 4) & (gray.max((1, 2)) < 251)
    noise = noise[usable] - noise[usable].mean((1, 2), keepdims=True)
    return gray[usable].mean((1, 2)), noise


def noise_by_gray(
    gray: Float, noise: Float, bins: Sequence[tuple[float, float]]
) -> tuple[tuple[float, float], ...]:
    """Deviation of the noise in tiles of each range of gray: root mean square, and median.

    Motion raises the first, as it is in few tiles but strong; the second hardly. NaN where a range
    has fewer than 5 tiles.
    """
    spread = noise.std((1, 2))
    found = []
    for low, high in bins:
        there = spread[(gray >= low) & (gray < high)]
        both = (np.sqrt((there**2).mean()), np.median(there)) if len(there) >= 5 else (np.nan,) * 2
        found.append((float(both[0]), float(both[1])))
    return tuple(found)


def autocorrelation(noise: Float, lags: int = 6) -> Float:
    """Correlation of noise (T, TILE, TILE) with itself 0 to ``lags`` pixels along rows and columns.

    The median over tiles, as something moves in some of them. A tile's mean is not its noise's, so
    that a correlation of 0.74 is told as about 0.72.
    """
    power = (noise**2).mean((1, 2))
    found = [np.ones(len(noise))]
    for lag in range(1, lags + 1):
        along = (noise[:, :, lag:] * noise[:, :, :-lag]).mean((1, 2))
        across = (noise[:, lag:] * noise[:, :-lag]).mean((1, 2))
        found.append((along + across) / 2 / power)
    return np.asarray([np.median(values) for values in found], np.float32)


def noise_power(noise: Float) -> tuple[Float, Float]:
    """Frequency in cycles a pixel, and the radial noise power spectrum in gray^2 px^2.

    As in IEC 62220-1, of the calmer half of the tiles, each under a Hann window.
    """
    power = (noise**2).mean((1, 2))
    calm = noise[power <= np.median(power)]
    window = np.outer(np.hanning(TILE), np.hanning(TILE))
    spectrum = (np.abs(np.fft.fft2(calm * window)) ** 2).mean(0) / (window**2).sum()
    axis = np.fft.fftfreq(TILE)
    radius = np.hypot(axis[:, None], axis[None])
    rings = np.rint(radius * TILE).astype(int)
    frequencies = np.arange(1, TILE // 2 + 1)
    radial = [spectrum[rings == ring].mean() for ring in frequencies]
    return (frequencies / TILE).astype(np.float32), np.asarray(radial, np.float32)


def single_frame_noise(frame: Float, inside: Inside) -> float:
    """Noise from one frame alone (Immerkaer 1996): white noise is told exactly, correlated less."""
    response = np.abs(convolve(frame.astype(np.float32), _IMMERKAER))
    return float(np.sqrt(np.pi / 2) / 6 * response[inside].mean())


def trace(frame: Float, start: tuple[float, float], end: tuple[float, float]) -> Float:
    """The dark line between two points, x and y in pixels: (K, 2) points a pixel apart, smoothed.

    The cheapest way through a map of how dark each pixel is beside its neighborhood.
    """
    margin = 12 + int(
        np.hypot(*np.subtract(end, start)) / 2
    )  # a curved way leaves the box of its ends
    low = np.floor(np.minimum(start, end)).astype(int) - margin
    low = np.maximum(low, 0)
    high = np.ceil(np.maximum(start, end)).astype(int) + margin
    part = frame[low[1] : high[1], low[0] : high[0]].astype(np.float32)
    wide = gaussian_filter(part, 5)
    relief = np.clip((gaussian_filter(part, 1) - wide) / np.maximum(wide, 1), -0.3, 0.1)
    relief[part < _BLADE] = 0.1  # nearly black blades are no device
    cost = 0.02 + (1 - relief / min(np.quantile(relief, 0.002), -1e-6)) ** 2  # 1 beside the line
    way = _cheapest(cost, np.subtract(start, low), np.subtract(end, low)) + low + 0.5
    smooth = np.stack([gaussian_filter(np.pad(way[:, k], 9, "reflect", reflect_type="odd"), 3)
                       for k in (0, 1)], 1)[9:-9]  # fmt: skip
    traveled = arc_lengths(smooth)
    marks = np.arange(0, traveled[-1])
    return np.stack([np.interp(marks, traveled, smooth[:, k]) for k in (0, 1)], 1)


def profiles(frame: Float, line: Float, reach: float = 10, averaged: int = 9) -> Float:
    """Gray values across a line (K, 2), each the mean of ``averaged`` points along it.

    (K // averaged, P): P samples half a pixel apart, from ``-reach`` to ``reach`` pixels.
    """
    heading = np.gradient(line, axis=0)
    heading /= np.maximum(np.hypot(*heading.T), 1e-6)[:, None]
    normal = np.stack([-heading[:, 1], heading[:, 0]], 1)
    offsets = np.arange(-reach, reach + 0.25, 0.5)
    points = line[:, None] + offsets[None, :, None] * normal[:, None]
    across = map_coordinates(
        frame.astype(np.float32), (points[..., 1] - 0.5, points[..., 0] - 0.5), order=1
    )
    whole = len(across) // averaged
    return np.asarray(across[: whole * averaged].reshape(whole, averaged, -1).mean(1), np.float32)


def contrast_and_width(profile: Float) -> tuple[float, float]:
    """``ln(background / minimum)`` of one profile (P,), and full width at half depth in pixels.

    The background is a straight line between the medians of the outer thirds.
    """
    samples = len(profile)
    outer, middle = samples // 3, samples // 2
    ends = np.median(profile[:outer]), np.median(profile[-outer:])
    background = np.interp(np.arange(samples), (outer / 2, samples - 1 - outer / 2), ends)
    depth = np.log(np.maximum(background, 1) / np.maximum(profile, 1))
    deepest = middle - 4 + int(np.argmax(depth[middle - 4 : middle + 5]))
    half = depth[deepest] / 2
    left, right = deepest, deepest
    while left > 0 and depth[left] > half:
        left -= 1
    while right < samples - 1 and depth[right] > half:
        right += 1
    # between the samples on both sides of half depth
    before = (depth[left + 1] - half) / max(depth[left + 1] - depth[left], 1e-6)
    after = (depth[right - 1] - half) / max(depth[right - 1] - depth[right], 1e-6)
    return float(depth[deepest]), float((right - 1 + after - left - 1 + before) / 2)


def _tiles(image: Float) -> Float:
    height, width = (side // TILE * TILE for side in image.shape)
    cut = image[:height, :width].reshape(height // TILE, TILE, width // TILE, TILE)
    return np.asarray(cut.swapaxes(1, 2).reshape(-1, TILE, TILE), np.float32)


def _cheapest(cost: Float, start: Float, end: Float) -> Float:
    """The points (K, 2) of the cheapest way through ``cost`` (H, W), corners allowed."""
    height, width = cost.shape
    number = np.arange(height * width).reshape(height, width)
    edges = []
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
        here = number[: height - down, max(0, -right) : width - max(0, right)].ravel()
        there = here + down * width + right
        flat = cost.ravel()
        edges.append((here, there, (flat[here] + flat[there]) / 2 * np.hypot(down, right)))
    here, there, price = (np.concatenate(part) for part in zip(*edges, strict=True))
    graph = coo_array((price, (here, there)), shape=(number.size,) * 2).tocsr()
    first, last = (
        int(np.clip(p[1], 0, height - 1)) * width + int(np.clip(p[0], 0, width - 1))
        for p in (start, end)
    )
    before = dijkstra(graph, directed=False, indices=first, return_predecessors=True)[1]
    way = [last]
    while way[-1] != first:
        way.append(int(before[way[-1]]))
    return np.stack([np.asarray(way) % width, np.asarray(way) // width], 1)[::-1]

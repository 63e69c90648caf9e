"""How dark and how wide a device is, by which real and simulated fluoroscopy are compared.

As in ``xray_measures``, a frame (H, W) has gray values from 0 to 255, and may be either.
"""

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra

from fedefm.data.xray_measures import BLADE
from fedefm.data.xray_raster import Float, arc_lengths


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
    relief[part < BLADE] = 0.1  # nearly black blades are no device
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

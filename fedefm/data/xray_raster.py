"""Curved tubes as X-rays see them: line integrals on a pixel grid, without supersampling.

Lengths and positions are fractions of the frame's width, so one scene can be drawn at any size. A
tube of radius R lays a path of ``2 sqrt(R^2 - d^2)`` across the ray that passes its axis at
distance d. A pixel sees the mean of that over its own width, which has a closed form; it keeps
wires that are thinner than a pixel smooth and of the right weight.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

Float = npt.NDArray[np.floating[Any]]  # float32 wherever it is an image
Range = tuple[float, float]

# The pixel that holds a point of the axis has its center at most half a diagonal away, so all of
# these together are connected, however thin the tube is.
HALF_DIAGONAL = 0.5**0.5


@dataclass(frozen=True)
class Tube:
    """A curved cylinder: ``points`` (K, 2) as x, y and ``radius`` (K,), both in frame widths."""

    points: Float
    radius: Float


def tube(points: npt.ArrayLike, radius: float) -> Tube:
    """A tube of the same radius everywhere."""
    along = np.asarray(points, np.float32)
    return Tube(along, np.full(len(along), radius, np.float32))


def path_lengths(size: int, tubes: Sequence[Tube], lumen: float = 0.0) -> Float:
    """Length of wall that each pixel's ray crosses, (size, size), in fractions of the width.

    Tubes that touch are one body (the longest path counts), so branches join without a dark knot.
    ``lumen`` is the inner radius as a fraction of the outer one: 0 is a solid rod.
    """
    outer, inner = np.zeros((2, size * size), np.float32)
    for pixels, distance, radius in _pixels_near(size, tubes, reach=1.0):
        np.maximum.at(outer, pixels, _pixel_chord(distance, radius))
        if lumen > 0:
            np.maximum.at(inner, pixels, _pixel_chord(distance, radius * np.float32(lumen)))
    return np.asarray((outer - inner).reshape(size, size) / np.float32(size), np.float32)


def covered_pixels(size: int, body: Tube) -> npt.NDArray[np.bool_]:
    """Pixels (size, size) of the tube: connected even where it is thinner than a pixel."""
    covered = np.zeros(size * size, bool)
    for pixels, distance, radius in _pixels_near(size, [body], reach=1.0):
        covered[pixels[distance <= np.maximum(radius, HALF_DIAGONAL)]] = True
    return covered.reshape(size, size)


def arc_lengths(points: Float) -> Float:
    """Distance traveled at each of the (K, 2) points, starting from 0."""
    steps = np.hypot(*np.diff(points, axis=0).T)
    return np.concatenate([np.zeros(1), np.cumsum(steps)]).astype(np.float32)


def resize(image: Float, size: int, box: tuple[float, float, float, float] | None = None) -> Float:
    """``image`` (or its ``box``: left, top, right, bottom in pixels) as (size, size), bicubic."""
    picture = Image.fromarray(np.ascontiguousarray(image, np.float32))
    return np.asarray(picture.resize((size, size), Image.Resampling.BICUBIC, box=box))


def smooth_field(rng: np.random.Generator, size: int, cells: int) -> Float:
    """A random field (size, size) of mean 0 and deviation 1 whose bumps are 1 / ``cells`` wide."""
    knots = rng.standard_normal((cells + 4, cells + 4), dtype=np.float32)
    # Two cells of margin on each side keep the border from being flatter than the middle.
    field = resize(knots, size, box=(2, 2, cells + 2, cells + 2))
    return np.asarray((field - field.mean()) / (field.std() + np.float32(1e-6)), np.float32)


def _pixel_chord(distance: Float, radius: Float) -> Float:
    """Mean chord of a disk over a pixel of width 1 whose center passes at ``distance``."""
    half = np.float32(0.5)
    return _chord_area(distance + half, radius) - _chord_area(distance - half, radius)


def _chord_area(upto: Float, radius: Float) -> Float:
    """Integral of ``2 sqrt(R^2 - t^2)`` from 0 to ``upto``."""
    t = np.clip(upto / radius, -1, 1)
    area: Float = radius * radius * (t * np.sqrt(1 - t * t) + np.arcsin(t))
    return area


def _pixels_near(
    size: int, tubes: Sequence[Tube], reach: float
) -> Iterator[tuple[npt.NDArray[np.intp], Float, Float]]:
    """Flat pixel numbers, their distance to a piece of axis and the radius there, all in pixels."""
    pieces = np.concatenate([_pieces(body, size) for body in tubes]) if tubes else np.zeros((0, 5))
    window = np.ceil(np.maximum(pieces[:, 4], HALF_DIAGONAL) * 1.25 + reach).astype(int)
    for half in np.unique(window):
        start, end, radius = np.split(pieces[window == half].astype(np.float32), [2, 4], axis=1)
        offsets = np.mgrid[-half : half + 1, -half : half + 1][::-1].reshape(2, -1).T
        pixel = np.floor((start + end) / 2).astype(int)[:, None] + offsets
        inside = ((pixel >= 0) & (pixel < size)).all(-1)
        which = np.nonzero(inside)[0]
        pixel = pixel[inside]
        distance = _distance(pixel.astype(np.float32) + np.float32(0.5), start[which], end[which])
        yield pixel[:, 1] * size + pixel[:, 0], distance, radius[which, 0]


def _pieces(body: Tube, size: int) -> Float:
    """The axis cut into straight pieces (P, 5): start x, y, end x, y and radius, in pixels."""
    traveled = arc_lengths(body.points) * size
    step = max(0.75, float(body.radius.min()) * size / 2)
    marks = np.linspace(0, traveled[-1], max(2, int(np.ceil(traveled[-1] / step)) + 1))
    x, y = (np.interp(marks, traveled, body.points[:, axis]) * size for axis in (0, 1))
    radius = np.interp((marks[1:] + marks[:-1]) / 2, traveled, body.radius) * size
    return np.stack([x[:-1], y[:-1], x[1:], y[1:], radius], 1).astype(np.float32)


def _distance(points: Float, start: Float, end: Float) -> Float:
    """Distance from each point (M, 2) to its own segment."""
    along = end - start
    length = np.maximum((along * along).sum(1), np.float32(1e-12))
    share = np.clip(((points - start) * along).sum(1) / length, 0, 1)
    away = points - start - share[:, None] * along
    return np.asarray(np.hypot(away[:, 0], away[:, 1]), np.float32)

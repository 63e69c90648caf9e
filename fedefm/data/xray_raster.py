"""Curved tubes as X-rays see them: line integrals on a pixel grid, without supersampling.

Lengths and positions are fractions of the frame's width, so one scene can be drawn at any size. A
tube of radius R lays a path of ``2 sqrt(R^2 - d^2)`` across the ray that passes its axis at
distance d. A pixel sees the mean of that over its own width, which has a closed form; it keeps
wires that are thinner than a pixel smooth, and the volume right in each row or column that they
cross.
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
    for pixels, distance, radius, half in _pixels_near(size, tubes):
        np.maximum.at(outer, pixels, _mean_chord(distance, half, radius))
        if lumen > 0:
            np.maximum.at(inner, pixels, _mean_chord(distance, half, radius * np.float32(lumen)))
    return np.asarray((outer - inner).reshape(size, size) / np.float32(size), np.float32)


def covered_pixels(size: int, body: Tube) -> npt.NDArray[np.bool_]:
    """Pixels (size, size) of the tube: connected even where it is thinner than a pixel."""
    covered = np.zeros(size * size, bool)
    for pixels, distance, radius, _ in _pixels_near(size, [body]):
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


def _mean_chord(distance: Float, half: Float, radius: Float) -> Float:
    """Mean chord of a disk over a strip of width ``2 half`` whose middle passes at ``distance``."""
    area = _chord_area(distance + half, radius) - _chord_area(distance - half, radius)
    return np.asarray(area / (2 * half), np.float32)


def _chord_area(upto: Float, radius: Float) -> Float:
    """Integral of ``2 sqrt(R^2 - t^2)`` from 0 to ``upto``."""
    t = np.clip(upto / radius, -1, 1)
    area: Float = radius * radius * (t * np.sqrt(1 - t * t) + np.arcsin(t))
    return area


def _pixels_near(
    size: int, tubes: Sequence[Tube]
) -> Iterator[tuple[npt.NDArray[np.intp], Float, Float, Float]]:
    """Flat pixel numbers, their distance to a piece of axis, its radius, a pixel's half width.

    All are in pixels. The width is that of a pixel as the piece crosses it: rows or columns of
    such strips tile the plane, at any angle.
    """
    pieces = np.concatenate([_pieces(body, size) for body in tubes]) if tubes else np.zeros((0, 5))
    # Half a piece is at most a quarter of the radius; one pixel more for rounding and pixel width.
    window = np.ceil(np.maximum(pieces[:, 4], HALF_DIAGONAL) * 1.25 + 1).astype(int)
    for reach in np.unique(window):
        start, end, radius = np.split(pieces[window == reach].astype(np.float32), [2, 4], axis=1)
        along = np.abs(end - start)
        length = np.hypot(along[:, 0], along[:, 1])
        # A piece around a sharp turn may end where it began; any width serves it.
        width = np.where(length > 0, along.max(1) / np.maximum(length, np.float32(1e-9)), 1)
        offsets = np.mgrid[-reach : reach + 1, -reach : reach + 1][::-1].reshape(2, -1).T
        pixel = np.floor((start + end) / 2).astype(int)[:, None] + offsets
        column, row = pixel[..., 0], pixel[..., 1]
        inside = (column >= 0) & (column < size) & (row >= 0) & (row < size)
        which = np.nonzero(inside)[0]
        pixel = pixel[inside]
        distance = _distance(pixel.astype(np.float32) + np.float32(0.5), start[which], end[which])
        yield pixel[:, 1] * size + pixel[:, 0], distance, radius[which, 0], width[which] / 2


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
    (x, y), (along_x, along_y) = (points - start).T, (end - start).T
    length = np.maximum(along_x * along_x + along_y * along_y, np.float32(1e-12))
    share = np.clip((x * along_x + y * along_y) / length, 0, 1)
    return np.asarray(np.hypot(x - share * along_x, y - share * along_y), np.float32)

"""A hollow catheter and the guidewire in it, pushed along a vessel, with shaped tips."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d

from fedefm.data.xray_detector import View
from fedefm.data.xray_raster import (
    Float,
    Range,
    Tube,
    arc_lengths,
    covered_pixels,
    path_lengths,
    tube,
)

CATHETER, GUIDEWIRE = 1, 2
# What must lie in the field of view at least, in fractions of the frame's width.
LEAST_VISIBLE = 0.2
LUMEN = 0.6
_SPACING = 0.006


@dataclass(frozen=True)
class Devices:
    """Sizes in fractions of the frame's width, strengths in attenuation through the axis."""

    catheter_radius: Range = (0.0036, 0.0054)
    wire_radius: Range = (0.0021, 0.003)
    catheter: Range = (0.28, 0.45)
    wire: Range = (0.45, 0.7)
    advanced: Range = (0.55, 1.0)
    protrusion: Range = (0.1, 0.6)
    wireless: float = 0.2
    stiffness: Range = (3.0, 8.0)
    curl: Range = (0.3, 2.6)


@dataclass(frozen=True)
class Placement:
    """Where the devices lie in one frame; ``wire`` is None while it is out of the body."""

    catheter: Tube
    wire: Tube | None
    catheter_strength: float
    wire_strength: float

    def attenuation(self, size: int) -> Float:
        """What the devices absorb, (size, size)."""
        wall = path_lengths(size, [self.catheter], LUMEN)
        absorbed = wall * (self.catheter_strength / ((1 - LUMEN) * 2 * self.catheter.radius[0]))
        if self.wire is not None:
            core = path_lengths(size, [self.wire])
            # The spring at a wire's tip is wound of platinum: denser than its shaft.
            spring = path_lengths(size, [Tube(self.wire.points[-6:], self.wire.radius[-6:])])
            absorbed += (core + 0.4 * spring) * (self.wire_strength / (2 * self.wire.radius[0]))
        return np.asarray(absorbed, np.float32)

    def mask(self, size: int) -> npt.NDArray[np.uint8]:
        """Labels (size, size): the wire counts only where it has left the catheter."""
        labels = np.zeros((size, size), np.uint8)
        if self.wire is not None:
            labels[covered_pixels(size, self.wire)] = GUIDEWIRE
        labels[covered_pixels(size, self.catheter)] = CATHETER
        return labels


def place_devices(
    devices: Devices, roads: Sequence[Float], view: View, rng: np.random.Generator
) -> Placement:
    """Pushes a catheter and perhaps a wire along one of the ``roads``.

    At least ``LEAST_VISIBLE`` of the frame's width lies in the field of view, whatever is drawn.
    """
    road = _choose_road(devices, roads, view, rng)
    seen = _visible_length(road, view)
    tip = max(seen[-1] * rng.uniform(*devices.advanced), LEAST_VISIBLE)
    with_wire = rng.random() >= devices.wireless
    protruding = rng.uniform(*devices.protrusion) if with_wire else 0.0
    end, mouth = np.searchsorted(seen, (tip, tip * (1 - protruding)))
    path = _with_curl(road[: end + 1], devices, rng)
    catheter = path[: mouth + 1] if with_wire else path
    return Placement(
        tube(catheter, rng.uniform(*devices.catheter_radius)),
        tube(path, rng.uniform(*devices.wire_radius)) if with_wire else None,
        rng.uniform(*devices.catheter),
        rng.uniform(*devices.wire),
    )


def _choose_road(
    devices: Devices, roads: Sequence[Float], view: View, rng: np.random.Generator
) -> Float:
    """A smoothed road that shows enough of itself, or else a straight one across the view."""
    for choice in rng.permutation(len(roads)):
        road = _relax(roads[choice], rng.uniform(*devices.stiffness), rng)
        if _visible_length(road, view)[-1] >= 1.5 * LEAST_VISIBLE:
            return road
    return _relax(np.array([(0.5, 1.05), (0.5, 0.2)], np.float32), 1.0, rng)


def _relax(road: Float, stiffness: float, rng: np.random.Generator) -> Float:
    """An elastic body in a vessel cuts its corners, and lies a little differently each time."""
    traveled = arc_lengths(road)
    marks = np.arange(0, traveled[-1], _SPACING)
    points = np.stack([np.interp(marks, traveled, road[:, axis]) for axis in (0, 1)], 1)
    sway = gaussian_filter1d(rng.standard_normal(points.shape), 14, axis=0) * 0.03
    return np.asarray(
        (gaussian_filter1d(points, stiffness, axis=0, mode="nearest") + sway), np.float32
    )


def _visible_length(road: Float, view: View) -> Float:
    """Length in the field of view up to each point of the road."""
    steps = np.diff(arc_lengths(road), prepend=0)
    visible: Float = np.cumsum(steps * view.contains(road)).astype(np.float32)
    return visible


def _with_curl(path: Float, devices: Devices, rng: np.random.Generator) -> Float:
    """Appends the bent tip (a J, or nearly straight), with curvature that grows toward its end."""
    last = path[-1] - path[-4]
    turn = rng.choice((-1, 1)) * rng.uniform(*devices.curl)
    steps = int(rng.integers(5, 10))
    weights = np.arange(1, steps + 1)
    heading = np.arctan2(last[1], last[0]) + turn * np.cumsum(weights) / weights.sum()
    moves = _SPACING * np.stack([np.cos(heading), np.sin(heading)], 1)
    return np.concatenate([path, path[-1] + np.cumsum(moves, axis=0)]).astype(np.float32)

"""A hollow catheter and the guidewire in it, pushed along a vessel, with shaped tips."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter1d

from fedefm.data.xray_detector import View
from fedefm.data.xray_motion import contracted
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

    catheter_radius: Range = (0.0034, 0.0048)
    wire_radius: Range = (0.002, 0.0028)
    catheter: Range = (0.26, 0.38)
    wire: Range = (0.28, 0.44)
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

    def moved(self, shift: tuple[float, float], squeeze: float) -> "Placement":
        """The devices in a body that has moved, on a heart that has contracted."""
        offset = np.asarray(shift, np.float32)

        def along(body: Tube) -> Tube:
            return Tube(contracted(body.points, squeeze) + offset, body.radius)

        wire = None if self.wire is None else along(self.wire)
        return replace(self, catheter=along(self.catheter), wire=wire)

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


@dataclass(frozen=True)
class Insertion:
    """Devices on their road, before it is said how far in they are.

    ``road`` (K, 2) goes beyond the tip; ``seen`` (K,) is the length in the field of view up to each
    of its points, and ``tip`` how much of it the devices have traveled when fully in. ``bend`` is
    the shape of the tip, in steps along and across the road's end.
    """

    road: Float
    seen: Float
    tip: float
    protruding: float
    bend: Float
    catheter_radius: float
    wire_radius: float | None
    catheter_strength: float
    wire_strength: float

    def placed(self, withdrawn: float = 0.0) -> Placement:
        """Where the devices lie when pulled back by ``withdrawn`` frame widths.

        ``LEAST_VISIBLE`` remains in the field of view, however far they are pulled.
        """
        tip = max(self.tip - withdrawn, LEAST_VISIBLE)
        road = self._up_to(tip)
        path = self._with_tip(road)
        wire, catheter = None, path
        if self.wire_radius is not None:
            wire, catheter = tube(path, self.wire_radius), self._up_to(tip * (1 - self.protruding))
        return Placement(
            tube(catheter, self.catheter_radius), wire, self.catheter_strength, self.wire_strength
        )

    def _up_to(self, length: float) -> Float:
        """The road as far as ``length`` of it has been seen, to a fraction of a step."""
        end = int(np.clip(np.searchsorted(self.seen, length), 4, len(self.road) - 1))
        step = self.seen[end] - self.seen[end - 1]
        share = np.clip((length - self.seen[end - 1]) / max(step, 1e-9), 0.01, 1)
        last = self.road[end - 1] + share * (self.road[end] - self.road[end - 1])
        return np.asarray(np.concatenate([self.road[:end], last[None]]), np.float32)

    def _with_tip(self, path: Float) -> Float:
        """The path and the bent tip, which turns with the heading of the path's end."""
        x, y = path[-1] - path[-4]
        far = max(float(np.hypot(x, y)), 1e-9)
        turned = np.array([(x, y), (-y, x)]) / far
        return np.concatenate([path, path[-1] + self.bend @ turned]).astype(np.float32)


def insert_devices(
    devices: Devices, roads: Sequence[Float], view: View, rng: np.random.Generator
) -> Insertion:
    """Pushes a catheter and perhaps a wire along one of the ``roads``.

    At least ``LEAST_VISIBLE`` of the frame's width lies in the field of view, whatever is drawn.
    """
    road = _choose_road(devices, roads, view, rng)
    seen = _visible_length(road, view)
    tip = max(seen[-1] * rng.uniform(*devices.advanced), LEAST_VISIBLE)
    with_wire = rng.random() >= devices.wireless
    return Insertion(
        road,
        seen,
        float(tip),
        protruding=rng.uniform(*devices.protrusion) if with_wire else 0.0,
        bend=_bend(devices, rng),
        catheter_radius=rng.uniform(*devices.catheter_radius),
        wire_radius=rng.uniform(*devices.wire_radius) if with_wire else None,
        catheter_strength=rng.uniform(*devices.catheter),
        wire_strength=rng.uniform(*devices.wire),
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


def _bend(devices: Devices, rng: np.random.Generator) -> Float:
    """A tip (a J, or nearly straight) with curvature that grows toward its end: along, across."""
    turn = rng.choice((-1, 1)) * rng.uniform(*devices.curl)
    steps = int(rng.integers(5, 10))
    weights = np.arange(1, steps + 1)
    heading = turn * np.cumsum(weights) / weights.sum()
    moves = _SPACING * np.stack([np.cos(heading), np.sin(heading)], 1)
    return np.asarray(np.cumsum(moves, axis=0), np.float32)

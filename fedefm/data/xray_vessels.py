"""A tree of vessels: where contrast agent flows, and the roads that catheters and wires take.

Branches wander with a persistent random curvature, are bent back where they would leave the frame,
and divide by Murray's law: the cube of the parent's radius is the sum of its children's cubes.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fedefm.data.xray_raster import Float, Range, Tube

STEP = 0.012


@dataclass(frozen=True)
class Vasculature:
    """The shape of the tree and how it shows; lengths in fractions of the frame's width."""

    entry_x: Range = (0.35, 0.65)
    from_below: bool = True
    lean: float = 0.2
    trunk: Range = (0.35, 0.5)
    radius: Range = (0.012, 0.02)
    length: Range = (0.25, 0.35)
    generations: int = 4
    spread: Range = (0.25, 0.7)
    tortuosity: float = 0.25
    opacified: float = 0.4
    opacity: Range = (0.3, 0.8)
    trunk_filled: bool = True
    lumen: float = 0.0


@dataclass(frozen=True)
class Branch:
    """One vessel between two divisions, with its tube and the branch it came from."""

    tube: Tube
    parent: int


def grow_tree(vessels: Vasculature, rng: np.random.Generator) -> tuple[Branch, ...]:
    """The trunk, then its descendants, generation by generation; parents come before children."""
    x, y = rng.uniform(*vessels.entry_x), 1.04 if vessels.from_below else -0.04
    heading = (-1 if vessels.from_below else 1) * math.pi / 2 + rng.normal(0, vessels.lean)
    radius = rng.uniform(*vessels.radius)
    trunk, heading = _wander(rng, x, y, heading, rng.uniform(*vessels.trunk), vessels.tortuosity, 8)
    branches = [Branch(Tube(trunk, np.full(len(trunk), radius, np.float32)), -1)]
    tips = [(0, heading, radius)]
    length = rng.uniform(*vessels.length)
    for _ in range(vessels.generations):
        tips = [
            child
            for parent, heading, radius in tips
            for child in _divide(vessels, rng, branches, parent, heading, radius, length)
        ]
        length *= 0.78
    return tuple(branches)


def routes(tree: tuple[Branch, ...]) -> Iterator[Float]:
    """Every way from the entry to a vessel's end, as points (K, 2)."""
    parents = {branch.parent for branch in tree}
    for leaf in range(len(tree)):
        if leaf not in parents:
            pieces, at = [], leaf
            while at >= 0:
                pieces.append(tree[at].tube.points)
                at = tree[at].parent
            yield np.concatenate(pieces[::-1])


def _divide(
    vessels: Vasculature,
    rng: np.random.Generator,
    branches: list[Branch],
    parent: int,
    heading: float,
    radius: float,
    length: float,
) -> list[tuple[int, float, float]]:
    """Appends the two children of a branch and returns their number, heading and radius."""
    share, side = rng.uniform(0.35, 0.65), rng.choice((-1, 1))
    x, y = (float(v) for v in branches[parent].tube.points[-1])
    children = []
    for part, turn in ((share, side), (1 - share, -side)):
        thinner = radius * part ** (1 / 3)
        # The thicker child leaves at the smaller angle.
        angle = heading + turn * rng.uniform(*vessels.spread) * 2 * (1 - part)
        far = length * rng.uniform(0.7, 1.3)
        line, end = _wander(rng, x, y, angle, far, vessels.tortuosity, 2)
        taper = np.linspace(thinner, thinner * 0.85, len(line), dtype=np.float32)
        branches.append(Branch(Tube(line, taper), parent))
        children.append((len(branches) - 1, end, thinner * 0.85))
    return children


def _wander(
    rng: np.random.Generator,
    x: float,
    y: float,
    heading: float,
    length: float,
    tortuosity: float,
    homing: float,
) -> tuple[Float, float]:
    """A walk of ``length`` with drifting curvature; ``homing`` bends it back near the border."""
    steps = max(3, round(length / STEP))
    points, curvature = [(x, y)], 0.0
    for kick in rng.standard_normal(steps).tolist():
        curvature = 0.85 * curvature + 4 * tortuosity * kick
        off = max(0.0, math.hypot(x - 0.5, y - 0.5) - 0.3)
        inward = math.sin(math.atan2(0.5 - y, 0.5 - x) - heading)
        heading += STEP * (curvature + homing * 4 * off * inward)
        x, y = x + STEP * math.cos(heading), y + STEP * math.sin(heading)
        points.append((x, y))
    return np.asarray(points, np.float32), heading

"""Metal that is no catheter and no guidewire, and is never labeled as one.

Sternal wires, surgical clips, electrodes with their cables and pacemaker leads: thin, dark and
curved as devices are, they are what a segmenter takes for one. Drawn once per patient, on demand.
"""

from dataclasses import dataclass

import numpy as np

from fedefm.data.xray_raster import Float, Tube, path_lengths, tube


@dataclass(frozen=True)
class Metal:
    """Tubes of one material; ``mu`` is the attenuation of a frame's width of it."""

    tubes: tuple[Tube, ...]
    mu: float

    def attenuation(self, size: int, shift: tuple[float, float]) -> Float:
        """What it absorbs, (size, size), when the body has moved by ``shift``."""
        moved = np.asarray(shift, np.float32)
        tubes = [Tube(body.points + moved, body.radius) for body in self.tubes]
        return np.asarray(path_lengths(size, tubes) * np.float32(self.mu), np.float32)


def draw_distractors(chest: bool, rng: np.random.Generator) -> tuple[Metal, ...]:
    """Two or more kinds for one patient; sternal wires and pacemaker leads lie in a chest alone."""
    kinds = [clips, electrodes, *((sternal_wires, pacemaker_leads) if chest else ())]
    count = int(rng.integers(2, len(kinds) + 1))
    return tuple(kinds[k](rng) for k in rng.permutation(len(kinds))[:count])


def sternal_wires(rng: np.random.Generator) -> Metal:
    """Steel loops that close the breastbone, one below the other, each with a twisted knot."""
    count, middle = int(rng.integers(4, 8)), rng.uniform(0.4, 0.65)
    lean, radius = rng.normal(0, 0.06), rng.uniform(0.0014, 0.002)
    bodies = []
    for row in range(count):
        at = np.array([middle, (row + 0.5) / count]) + rng.normal(0, 0.012, 2)
        at[0] += lean * (at[1] - 0.5)
        angle = np.linspace(0, 2 * np.pi, 24) + rng.uniform(0, 2 * np.pi)
        tall, wide = rng.uniform(0.012, 0.022), rng.uniform(0.025, 0.045)
        loop = np.stack([wide * np.cos(angle), tall * np.sin(angle)], 1)
        bodies.append(tube(at + loop + rng.normal(0, 0.0015, loop.shape), radius))
        knot = loop[0] * np.linspace(1, rng.uniform(1.3, 1.6), 8)[:, None]
        knot[:, 1] += 0.003 * np.sin(np.linspace(0, 4 * np.pi, 8))
        bodies.append(tube(at + knot, radius * 1.4))
    return Metal(tuple(bodies), rng.uniform(110, 170))


def clips(rng: np.random.Generator) -> Metal:
    """Ligation clips: short bars, some still open to a V, scattered along where a graft lies."""
    start, end = rng.uniform(0.15, 0.85, (2, 2))
    bodies = []
    for _ in range(rng.integers(4, 13)):
        at = start + (end - start) * rng.uniform() + rng.normal(0, 0.04, 2)
        turn, opening = rng.uniform(0, 2 * np.pi), rng.choice((0.0, 0.5)) * rng.uniform(0.5, 1)
        long, radius = rng.uniform(0.012, 0.026), rng.uniform(0.0014, 0.0022)
        arms = [
            at + long * np.array([np.cos(angle), np.sin(angle)])
            for angle in (turn - opening, turn + opening)
        ]
        bodies.append(tube(np.stack([arms[0], at, arms[1]]), radius))
    return Metal(tuple(bodies), rng.uniform(110, 170))


def electrodes(rng: np.random.Generator) -> Metal:
    """Snaps of monitoring electrodes, each with a cable that hangs out of the frame."""
    bodies = []
    for _ in range(rng.integers(1, 4)):
        at, away = rng.uniform(0.08, 0.92, 2), rng.uniform(-0.05, 1.05, 2)
        away[rng.integers(2)] = rng.choice((-0.05, 1.05))
        bodies.append(tube(np.stack([at, at + 0.001]), rng.uniform(0.008, 0.013)))
        t = np.linspace(0, 1, 24)[:, None]
        sag = rng.normal(0, 0.2, 2) * 4 * t * (1 - t)
        bodies.append(tube(at + (away - at) * t + sag, rng.uniform(0.0013, 0.002)))
    return Metal(tuple(bodies), rng.uniform(50, 80))


def pacemaker_leads(rng: np.random.Generator) -> Metal:
    """One or two leads from a shoulder down into the heart, each with a thicker electrode."""
    side = rng.choice((0, 1))
    bodies = []
    for _ in range(rng.integers(1, 3)):
        start = np.array([0.08 if side == 0 else 0.92, -0.04]) + rng.normal(0, 0.03, 2)
        bend = np.array([rng.uniform(0.4, 0.6), rng.uniform(0.2, 0.4)])
        end = rng.uniform((0.3, 0.55), (0.7, 0.85))
        t = np.linspace(0, 1, 40)[:, None]
        line = (1 - t) ** 2 * start + 2 * t * (1 - t) * bend + t**2 * end
        line += np.cumsum(rng.normal(0, 0.0012, line.shape), 0)
        radius = rng.uniform(0.0018, 0.0026)
        bodies += [tube(line, radius), tube(line[-3:], radius * 1.5)]
    return Metal(tuple(bodies), rng.uniform(70, 110))

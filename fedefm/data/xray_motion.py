"""What moves between the frames of a run: breath, heartbeat and the hand on the device.

Breath follows Lujan et al. (Medical Physics 26, 1999): most of a cycle is spent near the end of
expiration. The heart contracts toward its middle in systole, a third of each beat, and takes the
vessels and devices on it along.
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import map_coordinates

from fedefm.data.xray_raster import Float, Range

HEART = (0.5, 0.58)  # its middle in a view of the chest, in frame widths
REACH = 0.22  # how far from the middle motion is greatest
SYSTOLE = 0.3  # of a beat until the heart is smallest


@dataclass(frozen=True)
class Motion:
    """Ranges that each run is drawn from; lengths in frame widths, rates in cycles a second."""

    breath: Range = (0.003, 0.008)
    breaths: Range = (0.2, 0.35)
    beat: Range = (0.0, 0.0)
    beats: Range = (0.9, 1.6)
    advance: Range = (0.02, 0.08)


@dataclass(frozen=True)
class Rhythm:
    """One run's motion; ``advance`` in frame widths a second, phases in cycles."""

    breath: float
    breaths: float
    breath_phase: float
    beat: float
    beats: float
    beat_phase: float
    advance: float

    def shift(self, seconds: float) -> tuple[float, float]:
        """Where breath has moved the body, x and y, from the end of expiration."""
        deep = np.cos(np.pi * (self.breaths * seconds + self.breath_phase)) ** 4
        return 0.15 * self.breath * float(deep), self.breath * float(deep)

    def squeeze(self, seconds: float) -> float:
        """How far the heart's border has moved inward."""
        at = (self.beats * seconds + self.beat_phase) % 1
        # down to the smallest in systole, and back twice as slowly, then at rest
        course = at / SYSTOLE / 2 if at < SYSTOLE else 0.5 + (at - SYSTOLE) / SYSTOLE / 4
        return self.beat * float(np.sin(np.pi * min(course, 1.0)) ** 2)


def draw_rhythm(motion: Motion, rng: np.random.Generator) -> Rhythm:
    """The motion of one run."""
    return Rhythm(
        breath=rng.uniform(*motion.breath),
        breaths=rng.uniform(*motion.breaths),
        breath_phase=rng.uniform(),
        beat=rng.uniform(*motion.beat),
        beats=rng.uniform(*motion.beats),
        beat_phase=rng.uniform(),
        advance=rng.uniform(*motion.advance),
    )


def contracted(points: Float, squeeze: float) -> Float:
    """Where points (..., 2) lie when the heart's border has moved ``squeeze`` inward."""
    if squeeze == 0:
        return points
    outward = points - np.asarray(HEART, np.float32)
    far = (outward**2).sum(-1, keepdims=True) / REACH**2
    pull = outward / REACH * np.exp(0.5 - far / 2)  # of length 1 at REACH, where it is greatest
    return np.asarray(points - squeeze * pull, np.float32)


def contracted_image(image: Float, squeeze: float, margin: float) -> Float:
    """``image`` (G, G), which goes ``margin`` frame widths beyond the frame, moved alike."""
    if squeeze == 0:
        return image
    size = len(image)
    y, x = (np.mgrid[:size, :size].astype(np.float32) + 0.5) / size
    here = (np.stack([x, y], -1) - margin) / (1 - 2 * margin)
    # The way back is nearly the way there at twice the point's own displacement, as it is small.
    source = (2 * here - contracted(here, squeeze)) * (1 - 2 * margin) + margin
    rows, columns = source[..., 1] * size - 0.5, source[..., 0] * size - 0.5
    return np.asarray(map_coordinates(image, (rows, columns), order=3, mode="nearest"), np.float32)

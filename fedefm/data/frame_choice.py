"""Which frames of a file are taken: so many a second, so many at most."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class FrameChoice:
    """Neighboring frames of a run show nearly the same; None takes all of them."""

    per_second: float | None = None  # where a file states its own rate
    most: int | None = None  # of one file, evenly spaced

    def of(self, frames: Sequence[int], rate: float | None) -> list[int]:
        """The frames that are taken of a file of ``rate`` frames a second, in their order."""
        chosen = list(frames)
        if self.per_second and rate and self.per_second < rate:
            step = rate / self.per_second
            wanted = (round(k * step) for k in range(math.ceil(len(chosen) / step)))
            chosen = [chosen[index] for index in wanted if index < len(chosen)]
        if self.most and len(chosen) > self.most:
            # the middles of equal parts: a run begins and ends without contrast agent
            parts = ((2 * k + 1) * len(chosen) // (2 * self.most) for k in range(self.most))
            chosen = [chosen[index] for index in parts]
        return chosen

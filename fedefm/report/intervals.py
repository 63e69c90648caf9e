"""How far a measured share, or the difference of two, may be from what would be found in the long
run.
"""

from dataclasses import dataclass
from math import sqrt

Z = 1.959964  # 95 % of a normal distribution lie within so many standard deviations
Band = dict[str, list[tuple[int, float, float]]]  # name -> (round number, low, high), by round


def wilson(share: float, images: int) -> tuple[float, float]:
    """The 95 % interval of a share of ``images`` that do not depend on each other (Wilson 1927).

    Images of one patient do depend on each other; with several of each, the truth is wider.
    """
    if images <= 0:
        return 0.0, 1.0
    shrink = 1 + Z**2 / images
    middle = (share + Z**2 / (2 * images)) / shrink
    half = Z / shrink * sqrt(share * (1 - share) / images + Z**2 / (4 * images**2))
    return max(0.0, middle - half), min(1.0, middle + half)


@dataclass(frozen=True)
class Difference:
    """How much higher a second share is than a first one, with its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def beyond_chance(self) -> bool:
        """Whether the interval leaves zero out."""
        return self.low > 0 or self.high < 0


def difference(
    first: float, second: float, of_first: tuple[float, float], of_second: tuple[float, float]
) -> Difference:
    """``second`` minus ``first`` from their 95 % intervals, as if measured on different patients.

    Squared distances to the interval's ends add up (Newcombe 1998, method 10). On the same patients
    the interval is wider than it need be, since what is hard for both models then cancels out.
    """
    gap = second - first
    down = sqrt((second - of_second[0]) ** 2 + (of_first[1] - first) ** 2)
    up = sqrt((of_second[1] - second) ** 2 + (first - of_first[0]) ** 2)
    return Difference(gap, gap - down, gap + up)

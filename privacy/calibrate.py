"""How much noise an epsilon needs, and how far what is left of a budget reaches.

Everything here asks ``epsilon`` for sums of what was spent and what is planned, so that the promise
holds for both together.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial

from fedefm.config import Adjacency, DpConfig
from fedefm.errors import PrivacyError
from fedefm.words import several
from privacy.accountant import INTERVAL
from privacy.accountant import epsilon as epsilon_of
from privacy.mechanism import Mechanism, Spend, together
from privacy.search import first_not_negative

LARGEST_NOISE = 1000.0  # a noise multiplier above it leaves nothing to learn
SMALLEST_NOISE = 0.05
ROUGH_INTERVAL = 5 * INTERVAL  # finds about where to look


@dataclass(frozen=True)
class Sampling:
    """How units are drawn for a step: each with probability ``rate``, at most ``cap`` of them.

    ``units`` is how many the site has, which is public, and not below how many it trains on. A cap
    of ``units`` leaves nobody out. A step's sum is divided by ``expected``, never by how many were
    drawn.
    """

    rate: float
    units: int
    cap: int

    @property
    def expected(self) -> float:
        """Units drawn in the mean."""
        return self.rate * self.units

    def mechanism(self, noise_multiplier: float, shares: int = 1) -> Mechanism:
        """One step with this sampling. Raises PrivacyError where the numbers are none."""
        return Mechanism(noise_multiplier, self.rate, self.units, self.cap, shares)


def sampling_for(dp: DpConfig, units: int) -> Sampling:
    """The sampling of ``dp`` at a site of ``units`` patients (or images).

    Without a cap in ``dp`` it is five deviations above the expected number, so that a step leaves
    somebody out about once in a million. Raises PrivacyError for a site without units.
    """
    if units < 1:
        raise PrivacyError(f"{units} {dp.unit}s to draw from; private training needs at least one")
    wanted = min(dp.patients_per_step, units)
    return Sampling(min(1.0, wanted / units), units, min(_cap(dp, wanted), units))


def largest_step(dp: DpConfig) -> int:
    """The most units that any site takes in a step, however many it has."""
    return _cap(dp, dp.patients_per_step)


def _cap(dp: DpConfig, wanted: int) -> int:
    return dp.max_patients_per_step or wanted + math.ceil(5 * math.sqrt(wanted))


def noise_for(
    epsilon: float,
    delta: float,
    adjacency: Adjacency,
    sampling_rate: float,
    dataset_size: int,
    batch_cap: int,
    steps: int,
    spent: Spend | None = None,
) -> float:
    """The least noise with which ``spent`` and ``steps`` more stay within ``epsilon`` together.

    A noise multiplier, the least among numbers of four significant digits, and the same for the
    same question. Raises PrivacyError where ``spent`` alone is above ``epsilon``, or no noise up to
    1000 suffices.
    """
    before = spent or {}
    _check(epsilon, steps)
    used = epsilon_of(before, delta, adjacency)
    if used > epsilon:
        raise PrivacyError(
            f"epsilon {epsilon:g} is below the {used:.4g} already spent at delta {delta:g}; "
            "no noise can take that back. Ask for a larger epsilon",
            f"epsilon {epsilon:g} is below what this run has already spent; no noise can take that "
            "back. Ask for a larger epsilon",
        )

    sampling = Sampling(sampling_rate, dataset_size, batch_cap)
    question = partial(_slack, epsilon, delta, adjacency, steps, before)
    slack = lru_cache(maxsize=None)(partial(question, sampling, INTERVAL))
    rough = partial(question, replace(sampling, cap=dataset_size), ROUGH_INTERVAL)
    found = _first(slack, _near(slack, lru_cache(maxsize=None)(rough)))
    if found is None:
        what = f"no noise multiplier up to {LARGEST_NOISE:g} keeps {several(steps, 'step')}"
        end = "take fewer steps, fewer patients a step or a larger epsilon"
        spent_of_it = f", of which {used:.4g} is spent" if used else ""
        raise PrivacyError(
            f"{what} with sampling rate {sampling_rate:g} within epsilon {epsilon:g} at delta "
            f"{delta:g}{spent_of_it}; {end}",
            f"{what} within epsilon {epsilon:g} at delta {delta:g}; {end}",
        )
    return _noise(found)


def _check(epsilon: float, steps: int) -> None:
    if not (math.isfinite(epsilon) and epsilon > 0):
        raise PrivacyError(f"epsilon {epsilon} is no promise; choose a number above 0")
    if type(steps) is not int or steps < 1:
        raise PrivacyError(f"{steps} steps need no noise; plan at least one")


def _slack(
    epsilon: float,
    delta: float,
    adjacency: Adjacency,
    steps: int,
    spent: Spend,
    sampling: Sampling,
    interval: float,
    index: int,
) -> float:
    plan = {sampling.mechanism(_noise(index)): steps}
    needed = epsilon_of(together(spent, plan), delta, adjacency, interval)
    return math.log(epsilon / needed) if needed else math.inf


def _noise(index: int) -> float:
    """The numbers of four significant digits in order: 0 is 1.000, 1 is 1.001, 9000 is 10.00."""
    power, digits = divmod(index, 9000)
    return float(f"{1000 + digits}e{power - 3}")


def _index(noise: float) -> int:
    """The nearest index from below."""
    digits, power = f"{noise:.3e}".split("e")
    return 9000 * int(power) + round(1000 * float(digits)) - 1000


def _first(slack: Callable[[int], float], start: int) -> int | None:
    """The smallest index of noise at which the increasing ``slack`` is not negative, if there is.

    ``slack`` is the logarithm of what is left of epsilon over what is needed. It grows at least as
    fast as that of the noise (about), so that its value bounds the way to go; and steps of a factor
    of two at most, as very little noise is slow to account for.
    """
    low = high = start
    while slack(high) < 0:
        if high >= _index(LARGEST_NOISE):
            return None
        low, high = high, _moved(high, slack(high))
    while slack(low) >= 0:
        if low <= _index(SMALLEST_NOISE):
            return low
        low, high = _moved(low, slack(low)), low
    return first_not_negative(slack, low, high)


def _near(slack: Callable[[int], float], rough: Callable[[int], float]) -> int:
    """An index close to the one sought, mostly by a coarse grid and without truncation.

    That takes a tenth of the time, and is wrong by about as much in the whole neighborhood.
    """
    found = _first(rough, _index(1.0))
    if found is None:
        return _index(LARGEST_NOISE)
    error = slack(found) - rough(found)
    if not math.isfinite(error):
        return found
    corrected = _first(lambda index: rough(index) + error, found)
    return found if corrected is None else corrected


def _moved(index: int, slack: float) -> int:
    """Away from ``index`` in the direction that takes ``slack`` past zero."""
    factor = math.exp(min(max(-1.2 * slack, -math.log(2)), math.log(2)))
    away = _index(_noise(index) * factor) + (1 if slack < 0 else -1)
    return min(max(away, _index(SMALLEST_NOISE)), _index(LARGEST_NOISE))

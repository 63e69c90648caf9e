"""What was done, counted as epsilon.

The number of record is dp-accounting's privacy loss distribution (PLD) in its pessimistic estimate:
never below the truth, and here within 0.1 % of it. All mechanisms of a spend are composed together,
over rounds, hosted experts and jobs. Opacus' PRV and RDP are cross-checks. The central-limit (GDP)
formula is no upper bound and is not offered.

Adjacency. ``add_or_remove_one`` compares data with and without one unit. ``replace_one`` compares
data in which one unit is another one; the difference reaches 2 C, and epsilon 1.3 to 2.5 times as
much.

Truncation (at most ``batch_cap`` units a step; arXiv 2508.15089). Let K be how many of the *other*
units are drawn. K does not depend on the unit in question, so the step is a mixture over K, and
telling K as well can only cost more.

- K < cap: nobody is left out, and the step is the Poisson-subsampled Gaussian of the adjacency.
- K >= cap: the sum holds ``cap`` units either way. Where the unit in question is in, one of the
  others is out: its vector x stands in for a y, and relative to the sum with y the outcome moves by
  x - y, at most 2 C. Add/remove compares this with no move; replace-one compares x - y with x' - y.
  Both lie below the Gaussian that moves by +2 C against the one that moves by -2 C, each at the
  probability of being in, which is at most the sampling rate.

The second is worse than the first, so that its share may be taken from the largest dataset in
question, of ``dataset_size`` units and one more. dp-accounting's event, for one exact size, takes
the exact probability of being in: it is never above what stands here, and some per cent below where
the cap is close to the expected number.
"""

import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache

import numpy as np
from dp_accounting import NeighboringRelation, dp_event
from dp_accounting.pld import privacy_loss_distribution as pld
from dp_accounting.rdp import RdpAccountant
from scipy.stats import binom, norm

from fedefm.config import Adjacency
from fedefm.errors import PrivacyError
from privacy.losses import sampled_gaussian
from privacy.mechanism import Mechanism, Spend

ACCOUNTANT = "PLD (dp-accounting, pessimistic)"
INTERVAL = 1e-3  # of the grid of privacy losses; costs 0.05 % of epsilon
CERTIFICATE_INTERVAL = 1e-4
SMALLEST_DELTA = 1e-10  # at 1e-11 the Fourier transform's rounding was seen to lower epsilon
STEP_POINTS = 2**20  # of one step's distribution; each takes about a microsecond
GRID_POINTS = 2**22  # of a composed distribution; some 100 MiB while it is transformed
COARSEST_INTERVAL = 1.0
LARGEST_EPSILON = 1e7  # beyond it, there is none to speak of

_RELATIONS: Mapping[Adjacency, NeighboringRelation] = {
    "add_or_remove_one": NeighboringRelation.ADD_OR_REMOVE_ONE,
    "replace_one": NeighboringRelation.REPLACE_ONE,
}


def epsilon(
    spend: Spend,
    delta: float,
    adjacency: Adjacency = "add_or_remove_one",
    interval: float = INTERVAL,
) -> float:
    """The epsilon of everything in ``spend`` together, at ``delta``; 0 where nothing was done.

    ``interval`` is the grid of privacy losses. Where an epsilon in the hundreds would need too many
    points (``STEP_POINTS``, ``GRID_POINTS``), the grid is made coarser, which can only raise the
    result. Infinite where even that does not suffice: there is no protection to speak of.
    Raises PrivacyError for a delta outside [1e-10, 1), a negative or broken count, and an unknown
    adjacency.
    """
    taken = _taken(spend)
    _check(delta, adjacency, interval)
    return _epsilon(taken, float(delta), adjacency, float(interval)) if taken else 0.0


def epsilon_prv(spend: Spend, delta: float) -> float:
    """Opacus' PRV upper bound, as a cross-check: add/remove, without regard to truncation."""
    from opacus.accountants import PRVAccountant  # Opacus takes seconds to load

    taken = _taken(spend)
    _check(delta, "add_or_remove_one", INTERVAL)
    accountant = PRVAccountant()
    accountant.history = [
        (mechanism.noise_multiplier, mechanism.sampling_rate, steps) for mechanism, steps in taken
    ]
    with np.errstate(divide="ignore"):  # at a sampling rate of 1 it takes the logarithm of 0
        return float(accountant.get_epsilon(delta)) if taken else 0.0


def epsilon_rdp(spend: Spend, delta: float) -> float:
    """dp-accounting's RDP bound, 7 to 15 % loose: add/remove, without regard to truncation."""
    taken = _taken(spend)
    _check(delta, "add_or_remove_one", INTERVAL)
    accountant = RdpAccountant()
    with _quiet("absl"):  # names each order whose series does not converge; the others suffice
        for mechanism, steps in taken:
            gaussian = dp_event.GaussianDpEvent(mechanism.noise_multiplier)
            drawn = dp_event.PoissonSampledDpEvent(mechanism.sampling_rate, gaussian)
            accountant.compose(drawn, steps)
    return float(accountant.get_epsilon(delta)) if taken else 0.0


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


Taken = tuple[tuple[Mechanism, int], ...]  # in order, so that equal spends are one question


def _taken(spend: Spend) -> Taken:
    for mechanism, steps in spend.items():
        if not isinstance(mechanism, Mechanism):
            raise PrivacyError(
                f"{mechanism!r} is no mechanism, and only mechanisms have an epsilon"
            )
        if type(steps) is not int or steps < 0:
            raise PrivacyError(f"{steps!r} steps of {mechanism}: a count of 0 or more is needed")
    return tuple(sorted((mechanism, steps) for mechanism, steps in spend.items() if steps))


def _check(delta: float, adjacency: Adjacency, interval: float) -> None:
    if not SMALLEST_DELTA <= delta < 1:
        raise PrivacyError(
            f"delta {delta} has no epsilon; choose one from {SMALLEST_DELTA} to below 1, "
            "at most one over the number of patients"
        )
    if adjacency not in _RELATIONS:
        raise PrivacyError(f"adjacency {adjacency!r} is not one of {', '.join(_RELATIONS)}")
    if not 0 < interval <= COARSEST_INTERVAL:
        raise PrivacyError(f"interval {interval} must lie in (0, {COARSEST_INTERVAL}]")


@lru_cache(maxsize=4096)
def _epsilon(taken: Taken, delta: float, adjacency: Adjacency, interval: float) -> float:
    step, sums = _widths(taken)
    while step / interval > STEP_POINTS or sums / interval > GRID_POINTS:
        interval *= 2
        if interval > COARSEST_INTERVAL:
            return math.inf
    try:
        composed = _composed(taken, adjacency, interval)
        with np.errstate(over="ignore"):
            value = float(composed.get_epsilon_for_delta(delta))
        return value if math.isfinite(value) else _searched(composed, delta)
    except OverflowError:
        return math.inf


def _searched(composed: pld.PrivacyLossDistribution, delta: float) -> float:
    """For epsilons in the hundreds, whose exponentials overflow where dp-accounting inverts."""
    low, high = 0.0, 1.0
    while not composed.get_delta_for_epsilon(high) <= delta:
        low, high = high, 2 * high
        if high > LARGEST_EPSILON:
            return math.inf
    while high - low > 1e-6 * high:
        middle = (low + high) / 2
        enough = composed.get_delta_for_epsilon(middle) <= delta
        low, high = (low, middle) if enough else (middle, high)
    return high


def _composed(taken: Taken, adjacency: Adjacency, interval: float) -> pld.PrivacyLossDistribution:
    first, *others = (_steps(*each, adjacency, interval) for each in taken)
    for other in others:
        first = first.compose(other)
    return first


@lru_cache(maxsize=64)
def _steps(
    mechanism: Mechanism, steps: int, adjacency: Adjacency, interval: float
) -> pld.PrivacyLossDistribution:
    return _step(mechanism, adjacency, interval).self_compose(steps)


@lru_cache(maxsize=64)
def _step(
    mechanism: Mechanism, adjacency: Adjacency, interval: float
) -> pld.PrivacyLossDistribution:
    sigma, rate = mechanism.noise_multiplier, mechanism.sampling_rate
    one = sampled_gaussian(sigma, rate, _RELATIONS[adjacency], interval)
    if not mechanism.leaves_out:
        return one
    crowded = binom.sf(mechanism.batch_cap - 1, mechanism.dataset_size, rate)
    two = sampled_gaussian(sigma / 2, rate, NeighboringRelation.REPLACE_ONE, interval)
    return two.compute_mixture(one, float(crowded))


def _widths(taken: Taken) -> tuple[float, float]:
    """About how far the privacy losses of the widest step, and of all together, lie apart.

    Ten deviations of the noise to either side of what one unit moves, and eight deviations of the
    composed loss. These only choose the grid, so that no error in them can lower an epsilon.
    """
    sigmas = [
        mechanism.noise_multiplier / (2 if mechanism.leaves_out else 1) for mechanism, _ in taken
    ]
    step = max(0.5 / sigma**2 + 20 / sigma for sigma in sigmas)
    variance = sum(steps * _loss_variance(mechanism) for mechanism, steps in taken)
    return step, step + 16 * math.sqrt(variance)


def _loss_variance(mechanism: Mechanism) -> float:
    """Of the loss of the Poisson-subsampled Gaussian, by quadrature, at least of removal."""
    sigma, rate = mechanism.noise_multiplier, mechanism.sampling_rate
    noise = np.linspace(-10 * sigma, 10 * sigma + 1, 4001)
    density = rate * norm.pdf(noise, 1, sigma) + (1 - rate) * norm.pdf(noise, 0, sigma)
    weights = density / density.sum()
    kept = math.log1p(-rate) if rate < 1 else -math.inf
    losses = np.logaddexp(kept, math.log(rate) + (noise - 0.5) / sigma**2)
    return float(weights @ (losses - weights @ losses) ** 2)

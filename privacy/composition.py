"""Privacy loss distributions of many steps, put together and read as an epsilon.

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

import math
from collections.abc import Mapping
from functools import lru_cache

import numpy as np
from dp_accounting import NeighboringRelation
from dp_accounting.pld import privacy_loss_distribution as pld
from scipy.stats import binom, norm

from fedefm.config import Adjacency
from privacy.accountant import COARSEST_INTERVAL
from privacy.losses import sampled_gaussian
from privacy.mechanism import Mechanism, Taken

STEP_POINTS = 2**20  # of one step's distribution; each takes about a microsecond
GRID_POINTS = 2**22  # of a composed distribution; some 100 MiB while it is transformed
LARGEST_EPSILON = 1e7  # beyond it, there is none to speak of

_RELATIONS: Mapping[Adjacency, NeighboringRelation] = {
    "add_or_remove_one": NeighboringRelation.ADD_OR_REMOVE_ONE,
    "replace_one": NeighboringRelation.REPLACE_ONE,
}


@lru_cache(maxsize=4096)
def epsilon_of(taken: Taken, delta: float, adjacency: Adjacency, interval: float) -> float:
    """Pessimistic; what ``accountant.epsilon`` answers once it has looked at the question."""
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

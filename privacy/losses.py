"""dp-accounting's privacy loss distribution of the sampled Gaussian, without its slowest loop.

dp-accounting looks for the outcome at which the loss has a given value one grid point after the
other, which takes most of the time of a count. The formulas are its own ("Connect the dots", arXiv
2207.04380, and its supplementary material), for all points at once; bounds, discretization and
composition remain its own code.
"""

import math

import numpy as np
from dp_accounting import NeighboringRelation
from dp_accounting.pld import pld_pmf
from dp_accounting.pld.privacy_loss_distribution import PrivacyLossDistribution
from dp_accounting.pld.privacy_loss_mechanism import AdjacencyType, GaussianPrivacyLoss
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def sampled_gaussian(
    sigma: float, rate: float, relation: NeighboringRelation, interval: float
) -> PrivacyLossDistribution:
    """The pessimistic distribution of one step that moves the sum by 1 where a unit is in.

    Equals ``from_gaussian_mechanism(sigma, sampling_prob=rate, ...)`` up to rounding.
    """
    if relation == NeighboringRelation.REPLACE_ONE:
        return PrivacyLossDistribution(_pmf(sigma, rate, AdjacencyType.REPLACE, interval))
    removed = _pmf(sigma, rate, AdjacencyType.REMOVE, interval)
    if rate == 1:
        return PrivacyLossDistribution(removed)
    return PrivacyLossDistribution(removed, _pmf(sigma, rate, AdjacencyType.ADD, interval))


def _pmf(sigma: float, rate: float, kind: AdjacencyType, interval: float) -> pld_pmf.PLDPmf:
    loss = GaussianPrivacyLoss(sigma, sampling_prob=rate, adjacency_type=kind)
    bounds = loss.connect_dots_bounds()
    low = math.floor(bounds.epsilon_lower / interval)
    high = math.ceil(bounds.epsilon_upper / interval)
    deltas = _deltas(loss, np.arange(low, high + 1) * interval)
    return pld_pmf.create_pmf_pessimistic_connect_dots_fixed_gap(interval, low, high, deltas)


def _deltas(loss: GaussianPrivacyLoss, epsilons: Floats) -> Floats:
    """The hockey-stick divergence at each of ``epsilons``."""
    kind, rate = loss.adjacency_type, loss.sampling_prob
    deltas, reached = np.zeros_like(epsilons), np.ones_like(epsilons, dtype=bool)
    if rate < 1 and kind == AdjacencyType.ADD:
        reached = epsilons < -math.log1p(-rate)  # above it the divergence is 0
    if rate < 1 and kind == AdjacencyType.REMOVE:
        reached = epsilons > math.log1p(-rate)
        deltas[~reached] = -np.expm1(epsilons[~reached])
    places = _places(kind, loss.standard_deviation, rate, epsilons[reached])
    lower = np.exp(epsilons[reached] + loss.mu_lower_log_cdf(places))
    deltas[reached] = loss.mu_upper_cdf(places) - lower
    return np.clip(deltas, 0, 1)


def _places(kind: AdjacencyType, sigma: float, rate: float, epsilons: Floats) -> Floats:
    """The largest outcome whose loss is at least each of ``epsilons``."""
    if kind == AdjacencyType.REPLACE:
        return sigma**2 * _replaced(sigma, rate, epsilons)
    if kind == AdjacencyType.ADD:
        return 0.5 + sigma**2 * _unsampled(rate, -epsilons)
    return -0.5 - sigma**2 * _unsampled(rate, epsilons)


def _unsampled(rate: float, losses: Floats) -> Floats:
    """``log(1 + (exp(loss) - 1) / rate)``: the loss without sampling."""
    if rate == 1:
        return losses
    with np.errstate(divide="ignore"):  # at the smallest loss there is
        missing: Floats = np.log(-np.expm1(math.log1p(-rate) - losses))
    return losses - math.log(rate) + missing


def _replaced(sigma: float, rate: float, losses: Floats) -> Floats:
    """``asinh(-sinh(loss / 2) alpha) - loss / 2``, alpha = exp(1 / 2 sigma^2) (1 - rate) / rate."""
    if rate == 1:
        return -losses / 2
    log_alpha = 0.5 / sigma**2 + math.log1p(-rate) - math.log(rate)
    half = np.abs(losses) / 2
    with np.errstate(divide="ignore"):  # at a loss of 0
        log_sinh = half + np.log(-np.expm1(-2 * half)) - math.log(2)
    size = log_alpha + log_sinh
    asinh = np.logaddexp(0.5 * np.logaddexp(0, 2 * size), size)
    return -np.sign(losses) * asinh - losses / 2

"""Epsilons from the definition, by numerical integration: independent of any accountant."""

from collections.abc import Callable

import numpy as np
from scipy.optimize import brentq
from scipy.stats import binom, norm

Weights = dict[int, float]  # of a sum's possible values


def one_step(first: Weights, second: Weights, sigma: float, delta: float) -> float:
    """Of sums distributed as ``first`` against ``second``, with noise ``sigma``, either way."""
    values = [*first, *second]
    noise = np.linspace(min(values) - 14 * sigma, max(values) + 14 * sigma, 40_001)
    gap = noise[1] - noise[0]
    p, q = _density(first, noise, sigma), _density(second, noise, sigma)

    def excess(epsilon: float) -> float:
        beyond = [np.maximum(a - np.exp(epsilon) * b, 0).sum() * gap for a, b in ((p, q), (q, p))]
        return float(max(beyond)) - delta

    return _root(excess)


def many_gaussians(sigma: float, steps: int, delta: float, sensitivity: float = 1.0) -> float:
    """Without sampling (Balle and Wang, ICML 2018, theorem 8)."""
    mu = sensitivity * steps**0.5 / sigma

    def excess(epsilon: float) -> float:
        kept = norm.cdf(mu / 2 - epsilon / mu)
        moved = np.exp(epsilon + norm.logcdf(-mu / 2 - epsilon / mu))
        return float(kept - moved) - delta

    return _root(excess)


def truncated(size: int, rate: float, cap: int, others: int, mine: int | None) -> Weights:
    """The sum of a truncated Poisson draw from ``size`` units that give ``others`` and one that
    gives ``mine``, or is not there (None)."""
    weights: Weights = {}
    for drawn in range(size + 1):
        chance = float(binom.pmf(drawn, size, rate))
        without = others * min(drawn, cap)
        if mine is None:
            _add(weights, without, chance)
            continue
        stays = rate * min(1.0, cap / (drawn + 1))
        _add(weights, others * min(drawn, cap - 1) + mine, chance * stays)
        _add(weights, without, chance * (1 - stays))
    return weights


def _add(weights: Weights, value: int, chance: float) -> None:
    weights[value] = weights.get(value, 0.0) + chance


def _density(weights: Weights, noise: np.ndarray, sigma: float) -> np.ndarray:
    return sum(w * norm.pdf(noise, value, sigma) for value, w in weights.items())


def _root(excess: Callable[[float], float]) -> float:
    return 0.0 if excess(0.0) <= 0 else float(brentq(excess, 0.0, 500.0, xtol=1e-10))

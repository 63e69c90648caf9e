"""What was done, counted as epsilon.

The number of record is dp-accounting's privacy loss distribution (PLD) in its pessimistic estimate:
never below the truth, and here within 0.1 % of it. All mechanisms of a spend are composed together,
over rounds, hosted experts and jobs. Opacus' PRV and RDP are cross-checks. The central-limit (GDP)
formula is no upper bound and is not offered.

Adjacency. ``add_or_remove_one`` compares data with and without one unit. ``replace_one`` compares
data in which one unit is another one; the difference reaches 2 C, and epsilon 1.3 to 2.5 times as
much.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import get_args

import numpy as np

from fedefm.config import Adjacency
from fedefm.errors import PrivacyError
from privacy.mechanism import Mechanism, Spend, Taken

ACCOUNTANT = "PLD (dp-accounting, pessimistic)"
INTERVAL = 1e-3  # of the grid of privacy losses; costs 0.05 % of epsilon
CERTIFICATE_INTERVAL = 1e-4
SMALLEST_DELTA = 1e-10  # at 1e-11 the Fourier transform's rounding was seen to lower epsilon
COARSEST_INTERVAL = 1.0


def epsilon(
    spend: Spend,
    delta: float,
    adjacency: Adjacency = "add_or_remove_one",
    interval: float = INTERVAL,
) -> float:
    """The epsilon of everything in ``spend`` together, at ``delta``; 0 where nothing was done.

    ``interval`` is the grid of privacy losses. Where an epsilon in the hundreds would need too many
    points (``privacy.composition``), the grid is made coarser, which can only raise the
    result. Infinite where even that does not suffice: there is no protection to speak of.
    Raises PrivacyError for a delta outside [1e-10, 1), a negative or broken count, and an unknown
    adjacency.
    """
    taken = _taken(spend)
    _check(delta, adjacency, interval)
    if not taken:
        return 0.0
    from privacy.composition import epsilon_of  # dp-accounting takes seconds to load

    return epsilon_of(taken, float(delta), adjacency, float(interval))


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
    from dp_accounting import dp_event
    from dp_accounting.rdp import RdpAccountant

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
    if adjacency not in get_args(Adjacency):
        known = ", ".join(get_args(Adjacency))
        raise PrivacyError(f"adjacency {adjacency!r} is not one of {known}")
    if not 0 < interval <= COARSEST_INTERVAL:
        raise PrivacyError(f"interval {interval} must lie in (0, {COARSEST_INTERVAL}]")

"""What a run will cost a site's patients, and what the site can still afford.

Every figure is one joint count. Epsilons do not add up: a second run of the same size costs less
than the first, and one step alone far more than its share of a run.
"""

import math
from dataclasses import dataclass

from fedefm.config import Adjacency
from fedefm.errors import PrivacyError
from privacy.accountant import epsilon
from privacy.calibrate import Sampling, noise_for
from privacy.mechanism import Mechanism, Spend, together
from privacy.search import first_not_negative

MOST_STEPS = 10_000_000  # nobody plans more
TINY = 1e-12


@dataclass(frozen=True)
class Costs:
    """Epsilons at one site: of a step, a round, the run, and all that its patients have then spent.

    ``guest`` is what one more hosted neighbor, in every round that hosts, would add to the run.
    """

    step: float
    round: float
    run: float
    guest: float
    total: float


def costs(
    mechanism: Mechanism,
    run_steps: int,
    round_steps: int,
    guest_steps: int,
    delta: float,
    adjacency: Adjacency,
    spent: Spend | None = None,
) -> Costs:
    """The table of costs.

    ``run_steps`` are all steps of the run at the site, own and hosted; ``round_steps`` those of its
    fullest round; ``guest_steps`` what one more neighbor would take in the whole run; ``spent``
    what was spent or reserved before.
    """

    def count(steps: int, before: Spend | None = None) -> float:
        return epsilon(together(before or {}, {mechanism: steps}), delta, adjacency)

    run = count(run_steps)
    return Costs(
        step=count(1),
        round=count(round_steps),
        run=run,
        guest=count(run_steps + guest_steps) - run,
        total=count(run_steps, spent),
    )


def affordable_steps(
    spend: Spend, mechanism: Mechanism, cap: float, delta: float, adjacency: Adjacency
) -> int:
    """How many steps of ``mechanism`` fit under ``cap`` beside ``spend``; at most ten million."""
    _check_cap(cap)

    def excess(steps: int) -> float:
        needed = epsilon(together(spend, {mechanism: steps}), delta, adjacency)
        if needed > cap:
            return math.log(needed / cap)
        return (
            min(math.log(needed / cap), -TINY) if needed else -math.inf
        )  # a full cap is no excess

    low, high = 0, 1
    if excess(low) >= 0:
        return 0
    while excess(high) < 0:
        if high == MOST_STEPS:
            return high
        low, high = high, min(4 * high, MOST_STEPS)
    return first_not_negative(excess, low, high) - 1


def largest_epsilon(
    spend: Spend, sampling: Sampling, steps: int, cap: float, delta: float, adjacency: Adjacency
) -> float:
    """The largest ``dp.epsilon`` with which a run of ``steps`` still fits under ``cap``.

    Rounded down to three significant digits; 0 where no amount of noise lets it fit.
    """
    _check_cap(cap)
    try:
        noise = noise_for(
            cap, delta, adjacency, sampling.rate, sampling.units, sampling.cap, steps, spend
        )
    except PrivacyError:
        return 0.0
    return _rounded_down(epsilon({sampling.mechanism(noise): steps}, delta, adjacency))


def _rounded_down(value: float) -> float:
    if not value:
        return 0.0
    unit = 10.0 ** (math.floor(math.log10(value)) - 2)
    return float(f"{math.floor(value / unit) * unit:.3g}")


def _check_cap(cap: float) -> None:
    if not (math.isfinite(cap) and cap > 0):
        raise PrivacyError(f"epsilon cap {cap} is none; set a number above 0")

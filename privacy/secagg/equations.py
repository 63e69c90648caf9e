"""What each party of a planned run sees, as linear equations in the sites' inputs.

How the inputs of different rounds hang together is not known before the run. What is trained in
between, noise and rounding only help the sites, so the worst cases are taken, in which a later
round brings nothing new: what it adds up then follows from the first inputs, by the weights that
everybody knows.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from privacy.secagg.solving import PRIME, Equation, residue
from privacy.secagg.sum_plan import PlannedRound, SumPlan


@dataclass(frozen=True)
class Drift:
    """How a site's value follows from its input: ``keeps`` what was mixed, and ``adds`` the input.

    The first round's value is the input.
    """

    keeps: bool
    adds: bool
    words: str


DRIFTS = (
    Drift(True, False, "if nothing is trained after the first round"),
    Drift(False, True, "if the inputs of all rounds are the same"),
    Drift(True, True, "if each round's training adds the same"),
)


def seen_by_party(plan: SumPlan, drift: Drift) -> dict[str, list[Equation]]:
    """Each party's own input and all sums that it sees, as equations in the sites' inputs."""
    inputs = _unit_equations(plan.sites)
    seen: dict[str, dict[Equation, None]] = {party: {} for party in plan.parties}
    for site in plan.sites:
        seen[site][inputs[site]] = None
    values = inputs
    for one in plan.rounds:
        for total in one.sums:
            equation = _combined(total.weights, values)
            for receiver in total.seen_by:
                seen[receiver][equation] = None
        values = _next(one, values, inputs, drift)
    return {party: list(equations) for party, equations in seen.items()}


def _unit_equations(sites: Sequence[str]) -> dict[str, Equation]:
    return {
        site: tuple(int(place == here) for place in range(len(sites)))
        for here, site in enumerate(sites)
    }


def _next(
    one: PlannedRound,
    values: Mapping[str, Equation],
    inputs: Mapping[str, Equation],
    drift: Drift,
) -> dict[str, Equation]:
    """What each site holds after the round and the training that follows."""
    after = {}
    for site, value in values.items():
        mixed = _combined(one.mixing[site], values) if site in one.mixing else value
        kept = mixed if drift.keeps else (0,) * len(mixed)
        added = inputs[site] if drift.adds else (0,) * len(mixed)
        after[site] = tuple((a + b) % PRIME for a, b in zip(kept, added, strict=True))
    return after


def _combined(weights: Mapping[str, Fraction], values: Mapping[str, Equation]) -> Equation:
    parts = [(residue(weight), values[site]) for site, weight in weights.items()]
    columns = zip(*(value for _, value in parts), strict=True)
    factors = [factor for factor, _ in parts]
    return tuple(sum(map(int.__mul__, factors, column)) % PRIME for column in columns)

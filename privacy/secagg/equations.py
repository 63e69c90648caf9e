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
from privacy.secagg.sum_plan import PlannedRound, PlannedSum, SumPlan

Values = Mapping[str, Equation]  # what each site has, as a combination of all inputs


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

    def see(total: PlannedSum, values: Values) -> None:
        equation = _combined(total.weights, values)
        for receiver in total.seen_by:
            seen[receiver][equation] = None

    values, averages = inputs, inputs
    for number, one in enumerate(plan.rounds):
        trained = inputs if number == 0 else _trained(values, inputs, drift)
        for total in one.sums:
            see(total, trained)
        values = _mixed(one, trained)
        if plan.final is not None:
            averages = values if number == 0 else _averaged(averages, values, plan.decay)
    if plan.final is not None:
        see(plan.final, averages)
    return {party: list(equations) for party, equations in seen.items()}


def _unit_equations(sites: Sequence[str]) -> Values:
    return {
        site: tuple(int(place == here) for place in range(len(sites)))
        for here, site in enumerate(sites)
    }


def _trained(values: Values, inputs: Values, drift: Drift) -> Values:
    """What each site has after training: ``drift`` says how little that may be."""
    if not drift.adds:
        return values
    if not drift.keeps:
        return inputs
    one = Fraction(1)
    return {site: _sum((one, values[site]), (one, inputs[site])) for site in values}


def _mixed(one: PlannedRound, values: Values) -> Values:
    """What each site has after the round's sums; the members of a cohort share their row."""
    rows = {id(row): row for row in one.mixing.values()}
    means = {key: _combined(row, values) for key, row in rows.items()}
    return {**values, **{site: means[id(row)] for site, row in one.mixing.items()}}


def _averaged(averages: Values, values: Values, decay: Fraction) -> Values:
    return {site: _sum((decay, averages[site]), (1 - decay, values[site])) for site in values}


def _combined(weights: Mapping[str, Fraction], values: Values) -> Equation:
    return _sum(*((weight, values[site]) for site, weight in weights.items()))


def _sum(*parts: tuple[Fraction, Equation]) -> Equation:
    factors = [residue(weight) for weight, _ in parts]
    columns = zip(*(equation for _, equation in parts), strict=True)
    return tuple(sum(map(int.__mul__, factors, column)) % PRIME for column in columns)

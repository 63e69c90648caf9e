"""From a run file and its plan to the sums that will be seen, and by whom."""

from collections.abc import Iterable, Mapping
from fractions import Fraction
from functools import cache

from fedefm.config import RunConfig
from fedefm.topology.grid import Grid
from fedefm.train.assemble import Plan
from fedefm.train.effort import is_expert_round
from fedefm.train.exchange import SERVER
from privacy.secagg.sum_plan import Pair, PlannedRound, PlannedSum, SumPlan

_LARGEST_DENOMINATOR = 10**6  # weights are fractions of a few sites, which floats round


def planned_sums(run: RunConfig, plan: Plan) -> SumPlan:
    """Every round of the run, and the sum for its global model; nothing where nothing is sent."""
    federation = run.federation
    if federation.algorithm == "none":
        return SumPlan(plan.sites, ())
    rounds = tuple(_round(run, plan, k) for k in range(federation.rounds))
    everyone = frozenset(plan.sites)
    final = _by_the_server(plan.sites, everyone) if federation.scenario == "decentralized" else None
    return SumPlan(plan.sites, rounds, final, _exact(run.training.average_decay))


def _round(run: RunConfig, plan: Plan, k: int) -> PlannedRound:
    federation = run.federation
    if federation.scenario == "client_server":
        mean = _by_the_server(plan.sites, plan.asked(k))
        return PlannedRound((mean,), dict.fromkeys(plan.sites, mean.weights))
    if federation.algorithm == "gossip" or not is_expert_round(run, k):
        return PlannedRound() if _trains_alone(run) else _averaging(plan, k)
    pairs = _partners(plan, k)
    if federation.expert == "aggregated":
        return PlannedRound(tuple(_experts(plan, k)), releases=tuple(pairs))
    experts = [(host, guest) for guest, host in pairs]
    return PlannedRound(releases=(*pairs, *experts))


def _trains_alone(run: RunConfig) -> bool:
    """Whether rounds without experts, if there are any, send nothing."""
    return run.federation.algorithm == "fedefm" and run.federation.update != "swap"


def _averaging(plan: Plan, k: int) -> PlannedRound:
    if plan.cohorts is not None:
        return _cohorts(plan.cohorts, k)
    rows = {site: _neighborhood(plan, site, k) for site in plan.sites}
    sums = tuple(PlannedSum(site, row) for site, row in rows.items() if len(row) > 1)
    return PlannedRound(sums, rows)


def _cohorts(grid: Grid, k: int) -> PlannedRound:
    """One mean a cohort; its collector opens it and hands it to the others."""
    sums: list[PlannedSum] = []
    mixing: dict[str, Mapping[str, Fraction]] = {}
    for cohort in grid.cohorts(k):
        weights = {site: _exact(grid.weight(site, k)) for site in cohort}
        collector = grid.collector(cohort[0], k)
        sums.append(PlannedSum(collector, weights, frozenset(cohort) - {collector}))
        mixing |= dict.fromkeys(cohort, weights)
    return PlannedRound(tuple(sums), mixing)


def _neighborhood(plan: Plan, site: str, k: int) -> dict[str, Fraction]:
    """The weights of those who send to ``site``, and the rest, which is its own."""
    others = {j: _exact(plan.mixing[site][j]) for j in plan.schedule.sources(site, k)}
    return {site: 1 - sum(others.values(), Fraction(0)), **others}


def _partners(plan: Plan, k: int) -> Iterable[Pair]:
    return [(site, host) for site in plan.sites for host in plan.schedule.partners(site, k)]


def _experts(plan: Plan, k: int) -> Iterable[PlannedSum]:
    """The mean of what a site's hosts made of its model; each host's part is about its patients."""
    for site in plan.sites:
        hosts = plan.schedule.partners(site, k)
        if hosts:
            yield PlannedSum(site, dict.fromkeys(hosts, Fraction(1, len(hosts))))


def _by_the_server(sites: tuple[str, ...], asked: frozenset[str]) -> PlannedSum:
    """The mean of those ``asked``, opened by the server; whoever is asked next gets it.

    Equal weights stand for any others: a site's input is what it adds up, its weight in it.
    """
    shares: Mapping[str, Fraction] = dict.fromkeys(sorted(asked), Fraction(1, len(asked)))
    return PlannedSum(SERVER, shares, frozenset(sites))


@cache
def _exact(weight: float) -> Fraction:
    return Fraction(weight).limit_denominator(_LARGEST_DENOMINATOR)

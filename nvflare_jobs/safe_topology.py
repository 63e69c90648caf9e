"""Whether the sums of a run hide its sites, and else which settings nearest to it would."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import networkx as nx

from fedefm.config import RunConfig
from fedefm.train.assemble import Plan, plan_exchanges
from nvflare_jobs.planned_sums import planned_sums
from privacy.secagg.sum_plan import SumPlan, mean_messages
from privacy.secagg.topology_check import exposure, refuse_unsafe


@dataclass(frozen=True)
class _Way:
    """Other settings of the section ``federation``, and the graph where these name one."""

    words: str
    settings: Mapping[str, Any]
    graph: nx.Graph


@dataclass(frozen=True)
class Proposal:
    """Settings of the run file under which nobody is exposed, and what they cost.

    ``messages`` are those with a model or a masked part in them, per site and round; ``extra`` are
    those beyond the run's own.
    """

    settings: Mapping[str, Any]
    words: str
    messages: float
    extra: float

    def __str__(self) -> str:
        more = f"{abs(self.extra):.2g} messages {'more' if self.extra > 0 else 'fewer'}"
        cost = f"{more} per site and round" if round(self.extra, 2) else "no more messages"
        return f"{self.words} ({cost})"


def colluders_of(run: RunConfig) -> int:
    """How many sites the run must withstand: at least one, for each receives sums by itself."""
    return max(1, run.privacy.secagg.colluders if run.privacy.secagg else 1)


def refuse_unsafe_sums(run: RunConfig, plan: Plan) -> None:
    """Raises PolicyRefused where a run with secure sums would not hide every site's part.

    What single releases show is no part of this: ``SumPlan.releases`` names them.
    """
    if run.privacy.secagg is not None:
        colluders = colluders_of(run)
        sums = planned_sums(run, plan)
        refuse_unsafe(sums, colluders, lambda: way_out(run, plan, colluders))


def way_out(run: RunConfig, plan: Plan, colluders: int) -> str:
    """What to set instead, as a sentence."""
    found = nearest_safe(run, plan, colluders)
    if found is not None:
        return f"set {found}"
    others = len(plan.sites) - 1
    if colluders >= others:
        return (
            f"of {others + 1} sites, {others} {'knows' if others == 1 else 'know'} all parts of "
            f"any sum but one; let at least {colluders + 2} sites take part"
            f"{', or expect fewer to collude' if colluders > 1 else ''}"
        )
    return "no other topology of these sites would hide all; expect fewer to collude"


def nearest_safe(run: RunConfig, plan: Plan, colluders: int) -> Proposal | None:
    """The safe settings that need the fewest messages; None where none of those tried is safe."""
    now = mean_messages(planned_sums(run, plan))
    tried = [(way, _sums(run, plan, way)) for way in _ways(run, plan, colluders)]
    tried.sort(key=lambda each: mean_messages(each[1]))  # of equals the first, nearest to the run
    for way, sums in tried:
        if not exposure(sums, colluders).exposing:
            messages = mean_messages(sums)
            return Proposal(way.settings, way.words, messages, messages - now)
    return None


def _sums(run: RunConfig, plan: Plan, way: _Way) -> SumPlan:
    federation = run.federation.model_copy(update=dict(way.settings))
    run = run.model_copy(update={"federation": federation})
    return planned_sums(run, plan_exchanges(run, plan.sites, way.graph))


def _ways(run: RunConfig, plan: Plan, colluders: int) -> Iterator[_Way]:
    """Larger cohorts for means; more neighbors for their mean expert, which is no mean of all."""
    federation, count = run.federation, len(plan.sites)
    if federation.algorithm == "gossip" or federation.update == "swap":
        for row in range(colluders + 2, count + 1):
            settings = {"schedule": "grid", "cohort": row}
            words = f"federation.schedule to 'grid' and federation.cohort to {row}"
            yield _Way(words, settings, plan.graph)
    elif federation.expert == "aggregated":
        for reach in range(2, count // 2):  # at most so far apart, all are linked
            yield _Way(*_neighbors_within(reach), _circle(plan.sites, reach))
        everybody = nx.complete_graph(list(plan.sites))
        yield _Way("federation.topology to 'complete'", {"topology": "complete"}, everybody)


def _neighbors_within(reach: int) -> tuple[str, dict[str, Any]]:
    return (
        "federation.topology to a graph file with a link between any two sites that are at most "
        f"{reach} places apart in the circle of their names",
        {},
    )


def _circle(sites: tuple[str, ...], reach: int) -> nx.Graph:
    circle = nx.circulant_graph(len(sites), range(1, reach + 1))
    return nx.relabel_nodes(circle, dict(enumerate(sorted(sites))))

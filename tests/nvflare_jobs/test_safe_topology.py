"""Refusals of runs whose secure sums hide too little, and what is proposed instead."""

from typing import Any

import networkx as nx
import pytest

from fedefm.config import RunConfig, parse
from fedefm.errors import PolicyRefused
from fedefm.train.assemble import Plan, plan_exchanges
from nvflare_jobs.planned_sums import planned_sums
from nvflare_jobs.safe_topology import colluders_of, nearest_safe, refuse_unsafe_sums
from privacy.secagg.topology_check import exposure

GOSSIP = {"algorithm": "gossip", "schedule": "neighbors", "rounds": 10}
GRID = {"algorithm": "gossip", "schedule": "grid", "rounds": 10}


def planned(
    count: int, federation: dict[str, Any], colluders: int = 1, **privacy: Any
) -> tuple[RunConfig, Plan]:
    sections = {"secagg": {"colluders": colluders}, **privacy}
    run = parse({"federation": federation, "privacy": sections}, RunConfig, "run")
    return run, plan_exchanges(run, tuple(f"s{k:02}" for k in range(count)))


def follow(run: RunConfig, plan: Plan, settings: dict[str, Any]) -> tuple[RunConfig, Plan]:
    """The run that a proposal describes, from its settings alone."""
    held = run.model_dump()
    run = parse({**held, "federation": {**held["federation"], **settings}}, RunConfig, "run")
    return run, plan_exchanges(run, plan.sites)


@pytest.mark.parametrize(
    ("count", "federation", "colluders"),
    [(9, GRID, 2), (16, GRID, 3), (9, GOSSIP, 2), (16, GOSSIP, 1), (10, {"schedule": "grid"}, 2)],
)
def test_the_proposal_passes_the_check_that_the_run_fails(count, federation, colluders):
    run, plan = planned(count, federation, colluders)
    with pytest.raises(PolicyRefused) as refusal:
        refuse_unsafe_sums(run, plan)
    found = nearest_safe(run, plan, colluders)
    assert found is not None
    assert str(found) in str(refusal.value)
    better = follow(run, plan, dict(found.settings))
    refuse_unsafe_sums(*better)
    assert exposure(planned_sums(*better), colluders).exposing == 0


def test_the_proposal_is_the_smallest_cohort_that_is_safe():
    """Two in a row of three expose the third; nine sites in rows of four are one cohort."""
    run, plan = planned(9, GRID, 2)
    found = nearest_safe(run, plan, 2)
    assert found is not None
    assert found.settings == {"schedule": "grid", "cohort": 4}
    assert found.messages == pytest.approx(16 / 9)  # eight give a part, one hands out eight means
    assert found.extra == pytest.approx(16 / 9 - 4 / 3)
    assert str(found).endswith("(0.44 messages more per site and round)")


def test_a_proposal_may_cost_less_than_what_it_replaces():
    run, plan = planned(16, GOSSIP, 2)
    found = nearest_safe(run, plan, 2)
    assert found is not None
    assert found.settings == {"schedule": "grid", "cohort": 4}
    assert found.extra == pytest.approx(1.5 - 2)
    assert "0.5 messages fewer" in str(found)


AGGREGATED = {"update": "mixed", "schedule": "neighbors", "expert": "aggregated", "rounds": 5}


def test_mean_experts_hide_among_more_neighbors():
    run, plan = planned(12, AGGREGATED, 2)
    found = nearest_safe(run, plan, 2)
    assert found is not None
    assert "any two sites that are at most 2 places apart in the circle" in found.words
    assert (found.messages, found.extra) == (8, 4)  # a model and an expert to each neighbor
    names = plan.sites
    circle = nx.Graph((names[k], names[(k + step) % 12]) for k in range(12) for step in (1, 2))
    described = planned_sums(run, plan_exchanges(run, names, circle))
    assert exposure(described, 2).exposing == 0


def test_where_no_circle_is_enough_all_neighbors_are_proposed():
    run, plan = planned(12, AGGREGATED, 3)
    found = nearest_safe(run, plan, 3)
    assert found is not None
    assert found.settings == {"topology": "complete"}
    refuse_unsafe_sums(*follow(run, plan, dict(found.settings)))


def test_where_all_but_one_collude_only_more_sites_help():
    run, plan = planned(3, GRID, 2)
    with pytest.raises(PolicyRefused, match=r"of 3 sites, 2 know all parts .* at least 4 sites"):
        refuse_unsafe_sums(run, plan)


def test_fedavg_needs_company():
    fedavg = {"scenario": "client_server", "algorithm": "fedavg", "rounds": 3}
    refuse_unsafe_sums(*planned(3, fedavg))
    with pytest.raises(PolicyRefused, match=r"s00 could solve for what s01 contributed"):
        refuse_unsafe_sums(*planned(2, fedavg))


def test_nobody_colluding_still_leaves_each_receiver_curious():
    run, plan = planned(2, {"algorithm": "gossip", "schedule": "grid", "cohort": 2}, colluders=0)
    assert colluders_of(run) == 1
    with pytest.raises(PolicyRefused, match="s00 could solve for what s01 contributed"):
        refuse_unsafe_sums(run, plan)


def test_single_releases_do_not_make_a_run_fail():
    """Which sites see whole models is the update's own nature; the sums hide what they can."""
    run, plan = planned(9, {"schedule": "grid", "rounds": 10})
    assert planned_sums(run, plan).releases
    refuse_unsafe_sums(run, plan)


def test_a_run_without_secure_sums_is_not_asked():
    run = parse({"federation": {"algorithm": "gossip"}}, RunConfig, "run")
    refuse_unsafe_sums(run, plan_exchanges(run, ("a", "b")))

"""The sums that are planned are those that happen: every message of short runs is held to them."""

import shutil
from collections import defaultdict
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from fedefm.config import RunConfig, parse
from fedefm.train.assemble import plan_exchanges
from fedefm.train.exchange import SERVER
from fedefm.train.message import Header
from fedefm.train.run import run_in_process
from fedefm.train.simulate import Faults
from nvflare_jobs.planned_sums import planned_sums
from privacy.secagg.topology_check import exposure

ALGORITHMS: dict[str, dict[str, Any]] = {
    "fedavg": {"scenario": "client_server", "algorithm": "fedavg"},
    "gossip": {"algorithm": "gossip", "schedule": "neighbors"},
    "pairs": {"algorithm": "gossip", "schedule": "matchings"},
    "directed": {"algorithm": "gossip", "schedule": "one_peer_exponential"},
    "cohorts": {"algorithm": "gossip", "schedule": "grid", "cohort": 2},
    "swap": {"schedule": "grid", "cohort": 2},
    "swap in pairs": {},
    "mixed": {"update": "mixed", "schedule": "neighbors"},
    "aggregated": {"update": "mixed", "schedule": "neighbors", "expert": "aggregated"},
    "literal": {"update": "literal", "schedule": "neighbors"},
    "alone": {"scenario": "local", "algorithm": "none"},
}


@pytest.fixture(scope="session")
def five(hospitals: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five hospitals, from a to e; nobody may change them."""
    folder = tmp_path_factory.mktemp("five")
    for k, letter in enumerate("abcde"):
        like = "abc"[k % 3]
        place = Path(shutil.copytree(hospitals / f"hosp-{like}", folder / f"hosp-{letter}"))
        rows = (place / "manifest.csv").read_text().replace(f"hosp-{like}-", f"hosp-{letter}-")
        (place / "manifest.csv").write_text(rows)
    return folder


def changed(run: RunConfig, federation: dict[str, Any], **sections: Any) -> RunConfig:
    held = run.model_dump()
    distill = {**held["distill"], "beta": 0.5}
    federation = {**held["federation"], **federation}
    return parse({**held, "federation": federation, "distill": distill, **sections}, RunConfig, "x")


def messages_of(run: RunConfig, sites: Path, out: Path) -> dict[int, dict[str, set]]:
    """Who sends to whom, by round and phase."""
    seen: dict[int, dict[str, set]] = defaultdict(lambda: defaultdict(set))

    def note(header: Header) -> bool:
        seen[header.round][header.phase].add((header.sender, header.receiver))
        return False

    run_in_process(run, sites, out, faults=Faults(lose=note))
    return seen


@pytest.mark.parametrize("name", ALGORITHMS)
def test_what_is_planned_is_what_is_sent(name, tiny_run, five, tmp_path):
    run = changed(tiny_run, {**ALGORITHMS[name], "rounds": 4})
    names = tuple(sorted(path.name for path in five.iterdir()))
    planned = planned_sums(run, plan_exchanges(run, names))
    seen = messages_of(run, five, tmp_path / "run")

    assert len(planned.rounds) == (0 if name == "alone" else 4)
    sums = [*(one.sums for one in planned.rounds), (planned.final,) if planned.final else ()]
    for k, of_round in enumerate(sums):
        parts = {(sender, total.receiver) for total in of_round for sender in total.senders}
        assert seen[k]["sum"] | seen[k]["experts"] == parts
        if all(total.receiver != SERVER for total in of_round):
            handed = {(total.receiver, name) for total in of_round for name in total.handed_to}
            assert seen[k]["mean"] == handed
        else:  # the server hands the mean out when the next round begins, or at the end
            later = seen[k + 1]["model"] if planned.final is None else seen[k]["model"]
            assert later == {(SERVER, name) for total in of_round for name in total.handed_to}
    for k, one in enumerate(planned.rounds):
        assert seen[k]["weights"] | seen[k]["expert"] == set(one.releases)


def test_mixing_is_by_the_weights_of_the_run(tiny_run):
    run = changed(tiny_run, ALGORITHMS["gossip"])
    (one, *_) = planned_sums(run, plan_exchanges(run, tuple("abcde"))).rounds
    third = Fraction(1, 3)
    assert one.mixing["a"] == {"a": third, "b": third, "e": third}
    assert all(sum(row.values()) == 1 for row in one.mixing.values())


@pytest.mark.parametrize("count", range(3, 14))
@pytest.mark.parametrize("name", ["cohorts", "swap"])
def test_the_weights_of_a_ragged_cohort_sum_to_one_exactly(tiny_run, name, count):
    """Floats do not; a sum that is off by a rounding would be a different equation."""
    run = changed(tiny_run, {**ALGORITHMS[name], "cohort": 3, "rounds": 6})
    names = tuple(f"s{k:02}" for k in range(count))
    for one in planned_sums(run, plan_exchanges(run, names)).rounds:
        assert all(sum(total.weights.values()) == 1 for total in one.sums)


def test_a_round_of_experts_does_not_cost_a_cohort_its_turn(tiny_run):
    """Else swap with an expert round after every second one would only ever average the rows."""
    run = changed(tiny_run, {"schedule": "grid", "expert_every": 2, "rounds": 8})
    names = tuple(f"s{k}" for k in range(9))
    rounds = planned_sums(run, plan_exchanges(run, names)).rounds
    cohorts = [{total.seen_by for total in one.sums} for one in rounds]
    assert cohorts[0] == cohorts[4] != cohorts[2] == cohorts[6]
    assert not any(cohorts[1::2])


@pytest.mark.parametrize("count", [6, 8, 9, 16])
def test_a_grid_of_rows_hides_every_site_from_each_other_one(tiny_run, count):
    run = changed(tiny_run, {"schedule": "grid", "rounds": 20}, privacy={"secagg": {}})
    names = tuple(f"s{k:02}" for k in range(count))
    assert exposure(planned_sums(run, plan_exchanges(run, names)), 1).exposing == 0

"""What hides a party, put together from its certificate, its memory and its site file."""

from pathlib import Path
from typing import Any

import networkx as nx
import pytest
import torch
import yaml

from fedefm.config import RunConfig
from fedefm.errors import ConfigError, PolicyRefused
from fedefm.train.assemble import plan_exchanges
from fedefm.train.exchange import SERVER, Cohort, Occasion
from fedefm.train.secrecy import Secrecy
from fedefm.train.simulate import Faults, Network
from nvflare_jobs.secure import BySecureSums, hidden, refuse_unhidden, secagg_of
from privacy.identity import Identity, ThrowAwayRoot
from privacy.project_root import ProjectRoot
from privacy.secagg.memory import Memory

NAMES = tuple("abcde")
FEDAVG = {"scenario": "client_server", "algorithm": "fedavg"}


def run_of(federation: dict[str, Any] | None = None, **secagg: Any) -> RunConfig:
    settings = {"federation": federation or FEDAVG, "privacy": {"secagg": secagg}}
    return RunConfig.model_validate({"name": "job", **settings})


def site_file(folder: Path, **policy: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    datasets = {"pretraining": {"manifest": "manifest.csv"}}
    path = folder / "fedefm_site.yaml"
    path.write_text(yaml.safe_dump({"datasets": datasets, "policy": policy}))
    return path


def added(parties: dict[str, Secrecy], sealed: bool = True) -> tuple[str, ...]:
    """Whose parts the server gets, once all give theirs; ``sealed`` messages are signed."""
    cohort, occasion = Cohort(SERVER, frozenset(NAMES)), Occasion(0, "sum", 3)
    steps = {name: parties[name].sum(occasion, {cohort: torch.ones(3)}, None) for name in NAMES} | {
        SERVER: parties[SERVER].sum(occasion, {}, cohort)
    }
    seals = {name: party.seal for name, party in parties.items()} if sealed else {}
    outcomes = Network("job", "id", 5.0, seals=seals).run_round(steps, 0)
    assert outcomes[SERVER].result is not None
    return outcomes[SERVER].result.members


def test_the_parties_of_one_process_hide_each_others_parts(tmp_path: Path) -> None:
    told: list[str] = []
    hide = BySecureSums(tmp_path / "memories")
    files = {name: site_file(tmp_path / name, min_cohort=4) for name in NAMES}
    run = run_of()
    parties = {
        name: hide(name, files.get(name), run, NAMES, "id", told.append)
        for name in (*NAMES, SERVER)
    }
    assert added(parties) == NAMES
    assert not told
    kept = sorted(path.stem for path in (tmp_path / "memories").iterdir())
    assert kept == sorted([*NAMES, SERVER])


def test_parties_that_know_each_other_by_certificate_alone_do_so_too(tmp_path: Path) -> None:
    """As in processes of their own, with the files that a kit has."""
    issuer = ThrowAwayRoot()
    for name in (*NAMES, SERVER):
        issuer.issue(name)
    issuer.save(tmp_path)
    parties = {}
    for name in (*NAMES, SERVER):
        kit = tmp_path / name
        identity = Identity.load(name, kit / "client.crt", kit / "client.key")
        root = ProjectRoot.load(kit / "rootCA.pem")
        memory = Memory(kit / "memory.sqlite")
        parties[name] = hidden(identity, root, memory, None, run_of(), "job", "id", print)
    assert added(parties) == NAMES


@pytest.mark.parametrize("sealed", [True, False])
def test_who_was_issued_by_another_root_is_left_out(sealed: bool) -> None:
    """By its messages; and by its keys, where somebody passes its messages on."""
    told: list[str] = []
    hide, other = BySecureSums(None), BySecureSums(None)
    run = run_of()
    parties = {
        name: (other if name == "b" else hide)(name, None, run, NAMES, "id", told.append)
        for name in (*NAMES, SERVER)
    }
    assert added(parties, sealed) == tuple("acde")
    reason = "nothing arrived in time" if sealed else "not issued by this project's root"
    assert any("b in phase 'advertise'" in sentence and reason in sentence for sentence in told)


def test_the_site_file_says_among_how_many_others_its_part_hides(tmp_path: Path) -> None:
    told: list[str] = []
    hide, run = BySecureSums(None), run_of()
    strict = site_file(tmp_path, min_cohort=5)
    parties = {
        name: hide(name, strict if name == "c" else None, run, NAMES, "id", told.append)
        for name in (*NAMES, SERVER)
    }
    assert added(parties) == tuple("abde")
    assert any("min_cohort demands 5" in sentence for sentence in told)


RING, COMPLETE, ROWS = (
    {"algorithm": "gossip", "schedule": "neighbors", "topology": "ring"},
    {"algorithm": "gossip", "schedule": "neighbors", "topology": "complete"},
    {"algorithm": "gossip", "schedule": "grid"},
)


@pytest.mark.parametrize(
    ("federation", "colluders", "opened"),
    [(RING, 2, ""), (RING, 1, "bcde"), (COMPLETE, 2, "bcde"), (ROWS, 2, "bcde")],
)
def test_colluding_neighbors_are_shown_no_neighborhood_that_lost_a_member(
    federation: dict[str, Any], colluders: int, opened: str
) -> None:
    """What two learn of overlapping neighborhoods was checked for all members only."""
    hide, run = BySecureSums(None), run_of(federation, colluders=colluders)
    parties = {name: hide(name, None, run, NAMES, "id", lambda _: None) for name in (*NAMES, "z")}
    cohort, occasion = Cohort("z", frozenset(NAMES)), Occasion(0, "sum", 3)
    steps = {name: parties[name].sum(occasion, {cohort: torch.ones(3)}, None) for name in NAMES}
    lose = Faults(lose=lambda h: h.sender == "a" and h.phase == "sum/masked")
    network = Network("job", "id", 5.0, lose)
    total = network.run_round(steps | {"z": parties["z"].sum(occasion, {}, cohort)}, 0)["z"].result
    assert total is not None
    assert total.members == tuple(opened)


def test_a_name_that_is_no_file_name_has_a_memory_all_the_same(tmp_path: Path) -> None:
    hide = BySecureSums(tmp_path)
    hide("a/../b", None, run_of(), NAMES, "id", print)
    (kept,) = tmp_path.rglob("*.sqlite")
    assert kept.parent == tmp_path


def test_a_run_without_secure_sums_has_nothing_to_hide_with() -> None:
    with pytest.raises(PolicyRefused, match="secagg is not set"):
        secagg_of(RunConfig())


def test_a_site_alone_refuses_what_its_own_file_forbids(tmp_path: Path) -> None:
    """At a real site no other site's file is within reach."""
    run = run_of()
    plan = plan_exchanges(run, NAMES, nx.complete_graph(list(NAMES)))
    refuse_unhidden({"a": site_file(tmp_path, min_cohort=4)}, run, plan)
    with pytest.raises(PolicyRefused, match=r"a would be hidden among 4 others.*demands 5"):
        refuse_unhidden({"a": site_file(tmp_path, min_cohort=5)}, run, plan)


def test_a_sum_over_more_than_can_deal_to_each_other_is_refused_before_the_run() -> None:
    """One message has to hold all dealings."""
    for size, fits in ((150, True), (170, False)):
        sites = [f"site-{number:03}" for number in range(size)]
        run, graph = run_of(), nx.star_graph(sites)
        if fits:
            refuse_unhidden({}, run, plan_exchanges(run, sites, graph))
            continue
        with pytest.raises(ConfigError, match=r"over 170 members.*schedule 'grid'"):
            refuse_unhidden({}, run, plan_exchanges(run, sites, graph))


def test_sites_with_the_same_demand_are_named_together(tmp_path: Path) -> None:
    run = run_of({"algorithm": "gossip", "schedule": "grid", "cohort": 3})
    sites = tuple("abcdefghi")
    plan = plan_exchanges(run, sites, nx.complete_graph(list(sites)))
    files = {name: site_file(tmp_path / name, min_cohort=3) for name in "gbe"}
    with pytest.raises(PolicyRefused, match=r"b, e, g would be hidden among 2 others") as refused:
        refuse_unhidden(files, run, plan)
    assert "federation.cohort to 4 or more" in str(refused.value)

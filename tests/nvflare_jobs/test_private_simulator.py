"""Private runs in FLARE's simulator: each site keeps its own account, and says what it comes to."""

import json
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from fedefm.config import RunConfig
from fedefm.errors import ProtocolError, QuorumLost
from fedefm.events import read_events
from nvflare_jobs.simulator import run_in_simulator
from privacy.accountant import epsilon
from privacy.ledger import Budget, Dataset, Ledger, RunLabel
from privacy.mechanism import Mechanism

SITES = ("hosp-a", "hosp-b", "hosp-c")
PATIENTS = Dataset("pretraining", "patient")
TARGET, DELTA = 6.0, 1e-5
OTHER = Mechanism(2.0, 0.5, 12, 12)

flare = pytest.mark.flare


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FLARE keeps things in the home folder."""
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def sites(tmp_path: Path, hospitals: Path) -> Path:
    folder = Path(shutil.copytree(hospitals, tmp_path / "sites"))
    for site in SITES:
        change(folder, site, ledger="ledger.sqlite")
    return folder


def change(sites: Path, site: str, **settings: Any) -> None:
    path = sites / site / "fedefm_site.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **settings}))


def private(run: RunConfig) -> RunConfig:
    dp = {"epsilon": TARGET, "delta": DELTA, "patients_per_step": 6, "gradients": "loop"}
    return RunConfig.model_validate({**run.model_dump(), "privacy": {"dp": dp}})


def result_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "result.json").read_text())


def ledger_of(sites: Path, site: str) -> Ledger:
    return Ledger.open(sites / site / "ledger.sqlite", site, read_only=True)


def kill_all_clients() -> None:
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # ended, or a zombie
            if "--client" in process.cmdline():
                process.kill()


@pytest.mark.slow
@flare
def test_a_run_that_is_killed_and_resumed_keeps_its_promise(make_run, sites, tmp_path) -> None:
    run, out = private(make_run(rounds=6, deadline_s=4)), tmp_path / "run"

    def power_cut(event: dict) -> None:
        if event["event"] == "round_started" and event["round"] == 3:
            kill_all_clients()

    with pytest.raises(ProtocolError):
        run_in_simulator(run, sites, out, listeners=(power_cut,))
    run_in_simulator(run, sites, out, resume=True)

    result = result_of(out)
    assert result["protection"]["differential_privacy"]
    assert result["protection"]["simulated"]
    heads = json.loads((out / "ledger_heads.json").read_text())
    for site in SITES:
        told = result["privacy"][site]
        with ledger_of(sites, site) as ledger:
            (record,) = ledger.runs(PATIENTS)
            assert heads[site] == {"sequence": ledger.head().sequence, "hash": ledger.head().hash}
        assert not record.is_open
        assert told["steps"] == sum(record.spent.values())
        assert told["epsilon"] == pytest.approx(epsilon(record.spent, DELTA))
        assert 0.9 * TARGET < told["epsilon"] <= TARGET
        assert (told["unit"], told["delta"]) == ("patient", DELTA)


@flare
def test_a_site_that_cannot_afford_the_run_is_named_and_the_others_go_on(
    make_run, sites, tmp_path
) -> None:
    change(sites, "hosp-c", policy={"epsilon_cap": TARGET + 0.5})
    budget = Budget(TARGET + 0.5, DELTA, "add_or_remove_one")
    with Ledger.open(sites / "hosp-c" / "ledger.sqlite", "hosp-c") as ledger:
        ledger.plan(PATIENTS, RunLabel("other", "other"), OTHER, 4, budget)
    run = private(make_run(scenario="client_server", algorithm="fedavg", rounds=2, quorum=0.6))
    result = result_of(run_in_simulator(run, sites, tmp_path / "run"))
    assert result["privacy"]["hosp-c"] is None
    assert result["participation"]["hosp-c"] == []
    assert result["protection"]["differential_privacy"]
    events = list(read_events(tmp_path / "run" / "events.jsonl"))
    (first, *_) = [e for e in events if e["event"] == "round_finished"]
    assert list(first["missing"]) == ["hosp-c"]
    assert "may spend epsilon 6.5 at delta 1e-05: 0.000 is spent" in first["missing"]["hosp-c"]
    assert {e["site"] for e in events if e["event"] == "privacy_spent"} == {"hosp-a", "hosp-b"}
    with ledger_of(sites, "hosp-c") as ledger:
        assert [record.label.name for record in ledger.runs(PATIENTS)] == ["other"]


def test_a_run_that_too_few_sites_can_afford_leaves_nothing_behind(
    make_run, sites, tmp_path
) -> None:
    for site in SITES[:2]:
        change(sites, site, policy={"epsilon_cap": TARGET - 1})
    with pytest.raises(QuorumLost, match=r"1 of 3 sites.*hosp-a \(PolicyRefused.*above its cap"):
        run_in_simulator(private(make_run()), sites, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert not list(sites.rglob("ledger.sqlite*"))

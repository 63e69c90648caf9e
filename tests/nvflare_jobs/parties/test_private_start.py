"""Before the first round of a private job: refusals are told, and nothing stays reserved."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from fedefm.config import RunConfig
from fedefm.errors import QuorumLost
from fedefm.events import read_events
from privacy.ledger import Dataset, Ledger

SITES = ("hosp-a", "hosp-b", "hosp-c")
PATIENTS = Dataset("pretraining", "patient")


@pytest.fixture
def hospitals(tmp_path: Path, hospitals: Path) -> Path:
    folder = Path(shutil.copytree(hospitals, tmp_path / "sites"))
    for site in SITES:
        change(folder, site, ledger="ledger.sqlite")
    return folder


def change(sites: Path, site: str, **settings: Any) -> None:
    path = sites / site / "fedefm_site.yaml"
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **settings}))


def private(run: RunConfig) -> RunConfig:
    dp = {"noise_multiplier": 1.5, "patients_per_step": 6, "gradients": "loop"}
    return RunConfig.model_validate({**run.model_dump(), "privacy": {"dp": dp}})


def conduct(job: Any) -> None:
    try:
        job.conduct()
    finally:
        for work in job.works.values():
            work.close()


def runs_of(sites: Path, site: str) -> list[Any]:
    with Ledger.open(sites / site / "ledger.sqlite", site, read_only=True) as ledger:
        return ledger.runs(PATIENTS)


def test_sites_give_back_what_they_set_aside_for_a_run_that_does_not_begin(
    job_of: Any, make_run: Any, hospitals: Path
) -> None:
    change(hospitals, "hosp-a", policy={"epsilon_cap": 0.5})
    job = job_of(private(make_run(quorum=1.0)))
    with pytest.raises(QuorumLost, match=r"start: 2 of 3 sites.*hosp-a \(BudgetExhausted: .*0.5"):
        job.conduct()
    for site in SITES[1:]:  # before anything is closed: the server dismissed them
        (record,) = runs_of(hospitals, site)
        assert not record.is_open
        assert not record.reserved
        assert not record.spent
    assert runs_of(hospitals, "hosp-a") == []


def test_a_ledger_that_was_put_back_is_known_by_what_the_server_remembers(
    job_of: Any, make_run: Any, hospitals: Path
) -> None:
    run = private(make_run(rounds=1))
    conduct(job_of(run))
    place, older = hospitals / "hosp-b", hospitals.parent / "older"
    shutil.copytree(place, older)
    conduct(job_of(run, "second"))
    for path in place.glob("ledger.sqlite*"):  # the witness too, so that the site notices nothing
        path.unlink()
    for path in older.glob("ledger.sqlite*"):
        shutil.copy2(path, place)

    third = job_of(run, "third")
    conduct(third)
    (finished,) = [
        event
        for event in read_events(third.folder / "events.jsonl")
        if event["event"] == "round_finished"
    ]
    assert finished["participants"] == ["hosp-a", "hosp-c"]
    assert finished["missing"]["hosp-b"].startswith("LedgerCorrupt: ledger ")
    assert "the server remembers entry" in finished["missing"]["hosp-b"]
    assert len(runs_of(hospitals, "hosp-a")) == 3
    assert len(runs_of(hospitals, "hosp-b")) == 1

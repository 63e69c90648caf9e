"""A private job without FLARE: every site guards its own messages and keeps its own account."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from fedefm.config import RunConfig
from fedefm.events import read_events
from fedefm.train.assemble import plan_exchanges
from fedefm.train.effort import efforts, steps_of
from nvflare_jobs.parties import places
from privacy.ledger import Dataset, Ledger

SITES = ("hosp-a", "hosp-b", "hosp-c")
PATIENTS = Dataset("pretraining", "patient")


@pytest.fixture
def hospitals(tmp_path: Path, hospitals: Path) -> Path:
    folder = Path(shutil.copytree(hospitals, tmp_path / "sites"))
    for site in SITES:
        path = folder / site / "fedefm_site.yaml"
        settings = {**yaml.safe_load(path.read_text()), "ledger": "ledger.sqlite"}
        path.write_text(yaml.safe_dump(settings))
    return folder


def private(run: RunConfig) -> RunConfig:
    dp = {"noise_multiplier": 1.5, "patients_per_step": 6}
    return RunConfig.model_validate({**run.model_dump(), "privacy": {"dp": dp}})


def spent(hospitals: Path, site: str) -> list[Any]:
    with Ledger.open(hospitals / site / "ledger.sqlite", site, read_only=True) as ledger:
        return ledger.runs(PATIENTS)


@pytest.mark.parametrize(
    "federation",
    [
        {},
        {"update": "mixed", "schedule": "neighbors"},
        {"scenario": "client_server", "algorithm": "fedavg"},
        {"scenario": "local", "algorithm": "none"},
    ],
)
def test_what_leaves_carries_an_entry_and_the_ledger_holds_the_plan(
    job_of: Any, make_run: Any, hospitals: Path, federation: dict[str, str]
) -> None:
    run = private(make_run(**federation))
    job = job_of(run)
    job.conduct()
    from_sites = [m.header for m in job.sent if m.header.sender in SITES]
    assert all(header.mechanism.startswith("dp:") for header in from_sites)
    assert bool(from_sites) == (federation.get("scenario") != "local")
    turns = [e for e in read_events(job.folder / "events.jsonl") if e["event"] == "round"]
    assert {(turn["status"], turn["loss"]) for turn in turns} == {("ok", None)}
    schedule = plan_exchanges(run, SITES).schedule
    for site in SITES:
        job.works[site].close()
        (record,) = spent(hospitals, site)
        assert sum(record.spent.values()) == steps_of(efforts(run, schedule, site))
        assert not record.is_open


def test_a_resumed_job_goes_on_with_the_same_account(
    job_of: Any, tiny_run: RunConfig, hospitals: Path
) -> None:
    run = private(tiny_run)
    first = job_of(run)

    def stop(site: str, task: str, numbers: Any) -> None:
        if numbers.get("round") == 2:
            raise RuntimeError("power cut")

    first.before = stop
    with pytest.raises(Exception, match="took part"):
        first.conduct()
    for work in first.works.values():
        work.close()

    second = job_of(run, "again", resume=True)
    second.conduct()
    schedule = plan_exchanges(run, SITES).schedule
    for site in SITES:
        second.works[site].close()
        (record,) = spent(hospitals, site)
        assert sum(record.spent.values()) == steps_of(efforts(run, schedule, site))
        assert record.lost == 0


SHARED = {"scenario": "client_server", "algorithm": "fedavg"}


@pytest.mark.parametrize("federation", [SHARED, {"schedule": "grid"}], ids=["fedavg", "grid"])
def test_packets_of_secure_sums_carry_an_entry_too(
    job_of: Any, make_run: Any, hospitals: Path, federation: dict[str, str]
) -> None:
    run = private(make_run(**federation))
    hidden = {**run.privacy.model_dump(), "secagg": {}}
    run = RunConfig.model_validate({**run.model_dump(), "privacy": hidden})
    job = job_of(run)
    job.conduct()
    from_sites = [message for message in job.sent if message.header.sender in SITES]
    assert {m.header.phase for m in from_sites} >= {"sum/advertise", "metrics/masked"}
    assert all(message.header.mechanism.startswith("dp:") for message in from_sites)
    assert all(event["status"] == "ok" for event in events_of(job, "round"))
    told = events_of(job, "metrics")
    assert {event["loss"] for event in told} == {None}
    for site in SITES:
        job.works[site].close()
        assert (hospitals / site / places.SUMS_MEMORY).is_file()


def test_sites_that_share_their_noise_keep_their_accounts_in_a_job_too(
    job_of: Any, make_run: Any, hospitals: Path
) -> None:
    for site in SITES:
        path = hospitals / site / "fedefm_site.yaml"
        allowed = {"policy": {"noise_shares": True}}
        path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **allowed}))
    plain = private(make_run(**SHARED))
    secagg = {"secagg": {"noise_shares": {"honest": 2}}}
    changed = {
        "privacy": {**plain.privacy.model_dump(), **secagg},
        "training": {**plain.training.model_dump(), "momentum": 0.0},
    }
    run = RunConfig.model_validate({**plain.model_dump(), **changed})
    job = job_of(run)
    job.conduct()
    assert all(event["status"] == "ok" for event in events_of(job, "round"))
    assert not events_of(job, "rejected")
    for site in SITES:
        job.works[site].close()
        (record,) = spent(hospitals, site)
        assert sum(record.spent.values()) == run.federation.rounds


def events_of(job: Any, kind: str) -> list[dict[str, Any]]:
    return [e for e in read_events(job.folder / "events.jsonl") if e["event"] == kind]

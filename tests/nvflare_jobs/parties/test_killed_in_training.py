"""A training process is killed in any phase: the others finish, it misses that round and returns.

Real training processes, no FLARE.
"""

import json
import os
import shutil
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from fedefm.config import RunConfig
from fedefm.events import read_events
from fedefm.train.assemble import plan_exchanges
from fedefm.train.effort import efforts, steps_of
from nvflare_jobs.parties.tasks import PUBLISH, READY, ROUND
from privacy.ledger import Dataset, Ledger, verify
from privacy.secagg.plan import PHASES

VICTIM = "hosp-b"
SITES = ("hosp-a", "hosp-b", "hosp-c")
PATIENTS = Dataset("pretraining", "patient")
FEDAVG = {"scenario": "client_server", "algorithm": "fedavg"}
DEADLINE_S = 120  # first steps take half a minute on a busy machine; a death costs none of it


def result_of(job: Any) -> dict[str, Any]:
    return json.loads((job.folder / "result.json").read_text())


def events(job: Any, kind: str) -> list[dict[str, Any]]:
    return [e for e in read_events(job.folder / "events.jsonl") if e["event"] == kind]


def is_hit(header: Any, phase: str, sends: bool) -> bool:
    return header.phase == phase and (header.sender if sends else header.receiver) == VICTIM


def kill_in_turn(job: Any, phases: list[tuple[str, bool]]) -> None:
    """Kill the victim in each of ``(phase, it sends)``, and leave it a round to come back."""

    def now(site: str, header: Any) -> bool:
        last = job.killed[-1].round if job.killed else -1
        if site != VICTIM or header.round < last + 2 or len(job.killed) == len(phases):
            return False
        return is_hit(header, *phases[len(job.killed)])

    job.kill_at = now


def assert_missed_and_back(job: Any, phases: list[tuple[str, bool]]) -> None:
    """Each death cost the others no round, and its site was there again when another one came."""
    result, rounds = result_of(job), job.terms.run.federation.rounds
    assert [header.phase for header in job.killed] == [phase for phase, _ in phases]
    for site in set(job.terms.sites) - {VICTIM}:
        assert result["participation"][site] == list(range(rounds))
    for header in job.killed:
        missing = events(job, "round_finished")[header.round]["missing"][VICTIM]
        assert "killed by signal 9 (often: too little memory); it misses this round" in missing
    assert rounds - 1 in result["participation"][VICTIM]


FEDEFM = [("sum", True), ("weights", True), ("expert", True), ("weights", False)]


@pytest.mark.slow
def test_in_each_phase_of_fedefm(killed_job_of, make_run) -> None:
    job = killed_job_of(make_run(rounds=14, deadline_s=DEADLINE_S, topology="complete"))
    kill_in_turn(job, FEDEFM)
    job.conduct()
    assert_missed_and_back(job, FEDEFM)


SECURE = [(f"sum/{phase}", number % 2 == 0) for number, phase in enumerate(PHASES)]


@pytest.mark.slow
def test_in_each_phase_of_a_secure_sum(killed_job_of, make_run, four_hospitals) -> None:
    run = make_run(**FEDAVG, rounds=2 * len(PHASES) + 2, deadline_s=DEADLINE_S, evaluate_every=5)
    run = RunConfig.model_validate({**run.model_dump(), "privacy": {"secagg": {}}})
    job = killed_job_of(run, four_hospitals)
    kill_in_turn(job, SECURE)
    job.conduct()
    assert_missed_and_back(job, SECURE)
    assert result_of(job)["protection"]["secure_sums"]


@pytest.mark.slow
def test_a_private_run_counts_what_a_dead_process_had_reserved(
    killed_job_of, make_run, hospitals, tmp_path
) -> None:
    sites = Path(shutil.copytree(hospitals, tmp_path / "sites"))
    for site in SITES:
        path = sites / site / "fedefm_site.yaml"
        settings = {**yaml.safe_load(path.read_text()), "ledger": "ledger.sqlite"}
        path.write_text(yaml.safe_dump(settings))
    dp = {"epsilon": 6.0, "delta": 1e-5, "patients_per_step": 6, "gradients": "loop"}
    run = make_run(**FEDAVG, rounds=4, deadline_s=DEADLINE_S, local_steps=4)
    run = RunConfig.model_validate({**run.model_dump(), "privacy": {"dp": dp}})
    job = killed_job_of(run, sites)

    def after_its_steps(site: str, header: Any) -> bool:
        return site == VICTIM and not job.killed and header.round == 1 and header.phase == "sum"

    job.kill_at = after_its_steps
    job.conduct()
    ledger = sites / VICTIM / "ledger.sqlite"
    assert not verify(ledger)
    with Ledger.open(ledger, VICTIM, read_only=True) as opened:
        (record,) = opened.runs(PATIENTS)
    schedule = plan_exchanges(run, SITES).schedule
    assert not record.is_open
    assert sum(record.spent.values()) <= steps_of(efforts(run, schedule, VICTIM))
    assert result_of(job)["privacy"][VICTIM]["epsilon"] <= 6.0
    assert 1 not in result_of(job)["participation"][VICTIM]
    assert 3 in result_of(job)["participation"][VICTIM]


@pytest.mark.parametrize("task", [READY, ROUND, PUBLISH])
def test_between_tasks_nothing_is_missed(killed_job_of, make_run, task) -> None:
    job = killed_job_of(make_run(**FEDAVG, rounds=2, deadline_s=DEADLINE_S))
    killed = []

    def kill(site: str, asked: str, numbers: Mapping[str, Any]) -> None:
        if site == VICTIM and asked == task and not killed:
            while (pid := job.sites[site].pid) is None:  # the first task comes before the process
                time.sleep(0.02)
            killed.append(pid)
            os.kill(pid, signal.SIGKILL)
            while job.sites[site].pid == pid:  # else it dies in the task
                time.sleep(0.02)

    job.before = kill
    job.conduct()
    assert killed
    assert result_of(job)["participation"][VICTIM] == [0, 1]
    assert not events(job, "rejected")


def test_who_starts_the_job_process_again_finds_what_was_begun(killed_job_of, make_run) -> None:
    job = killed_job_of(make_run(**FEDAVG, rounds=3, deadline_s=DEADLINE_S))
    refused = []

    def exchange(task: str, numbers: Mapping[str, Any]) -> None:
        if task == ROUND and numbers["round"] == 2:
            os.kill(job.sites[VICTIM].pid, signal.SIGKILL)
            job.sites[VICTIM].close()
            job.sites[VICTIM] = job.site(VICTIM)
            job.sites[VICTIM].start()
            again = {**numbers, "round": 1}
            refused.append(job.sites[VICTIM].ask(ROUND, again, lambda: False)["refused"])

    job.between = exchange
    job.conduct()
    assert "round 1 is over at site 'hosp-b', which goes on with round 2" in refused[0]
    assert result_of(job)["participation"][VICTIM] == [0, 1, 2]

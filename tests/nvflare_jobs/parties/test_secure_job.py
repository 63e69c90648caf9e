"""A whole job with secure sums, without FLARE: each party has its certificate and its thread."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from fedefm.config import RunConfig
from fedefm.errors import PolicyRefused, QuorumLost
from fedefm.events import read_events
from fedefm.train.message import Header, Message
from fedefm.train.outline import read_outline
from fedefm.train.run import run_in_process
from fedefm.train.simulate import Faults
from nvflare_jobs.parties import places
from nvflare_jobs.parties.phases import check_hidden
from nvflare_jobs.parties.tasks import PUBLISH, ROUND
from nvflare_jobs.secure import BySecureSums

FEDAVG = {"scenario": "client_server", "algorithm": "fedavg"}
GRID = {"schedule": "grid", "expert_every": 2}
GOSSIP = {"algorithm": "gossip", "schedule": "neighbors", "topology": "complete"}
SERVER, LOST = "server", "hosp-d"
DEADLINE_S = 3  # more than a loaded machine needs for a round in which nobody is waited for
WAITED_S = DEADLINE_S - 0.1


@pytest.fixture(autouse=True, scope="module")
def warm(hospitals: Path, make_run: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    """The first steps of a process take seconds, which no deadline here allows for."""
    run = secure(make_run(**FEDAVG, rounds=1))
    in_process(run, hospitals, tmp_path_factory.mktemp("warm") / "run")


def secure(run: RunConfig, **secagg: Any) -> RunConfig:
    settings = {"largest_site": 100, **secagg}
    return RunConfig.model_validate({**run.model_dump(), "privacy": {"secagg": settings}})


def in_process(run: RunConfig, sites: Path, out: Path, faults: Faults | None = None) -> Path:
    hide = BySecureSums(out / "state" / "secure_sums")
    return run_in_process(run, sites, out, faults=faults, hide=hide)


def events(folder: Path, kind: str) -> list[dict]:
    return [event for event in read_events(folder / "events.jsonl") if event["event"] == kind]


def assert_same_model(one: Path, other: Path, but_for: float = 1e-4) -> None:
    """But for the rounding of each site's part, which is random, and what training makes of it.

    Without one site in the last of two rounds, a model is 6e-4 off.
    """
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (one, other))
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], rtol=0, atol=but_for)


class Dies:
    """``LOST`` is gone from the moment in which it would send this phase of this round."""

    def __init__(self, round_index: int, phase: str) -> None:
        self._at = (round_index, phase, LOST)
        self.gone = False

    def __call__(self, header: Header) -> bool:
        self.gone |= (header.round, header.phase, header.sender) == self._at
        return self.gone and LOST in (header.sender, header.receiver)

    def of(self, job: Any) -> Any:
        def lose(message: Message) -> bool:
            lost = self(message.header)
            job.dead |= {LOST} if self.gone else set()
            return lost

        return lose


def test_a_round_that_was_played_is_not_played_again_in_the_same_job(job_of, make_run) -> None:
    job = job_of(secure(make_run(**FEDAVG, rounds=2)))
    job.conduct()
    alone = {"begin_at": 0, "silent": [SERVER, "hosp-b", "hosp-c"]}
    for task, index in ((ROUND, 0), (ROUND, 1), (PUBLISH, 2)):
        sent = len(job.sent)
        answer = job._answer("hosp-a", task, {**alone, "round": index})
        assert f"round {index} is over at site 'hosp-a'" in answer["refused"]
        assert len(job.sent) == sent


@pytest.mark.parametrize("federation", [FEDAVG, GRID, GOSSIP], ids=["fedavg", "grid", "gossip"])
def test_gives_the_model_and_figures_of_a_secure_run_in_one_process(
    job_of, make_run, hospitals, tmp_path, federation
) -> None:
    run = secure(make_run(**federation))
    job = job_of(run)
    job.conduct()
    one = in_process(run, hospitals, tmp_path / "process")
    assert_same_model(job.folder, one, but_for=4e-4 if federation == GRID else 1e-4)
    ours, theirs = (json.loads((f / "result.json").read_text()) for f in (job.folder, one))
    assert ours["metrics"] == pytest.approx(theirs["metrics"], abs=0.1)
    assert ours["metrics"]["test_images"] == theirs["metrics"]["test_images"] > 0
    assert ours["protection"] == theirs["protection"]
    assert ours["participation"] == theirs["participation"]
    assert not events(job.folder, "rejected")


@pytest.mark.parametrize("federation", [FEDAVG, GRID, GOSSIP], ids=["fedavg", "grid", "gossip"])
def test_every_message_of_a_site_may_leave_and_every_one_is_signed(
    job_of, make_run, federation
) -> None:
    run = secure(make_run(**federation))
    job = job_of(run)
    job.conduct()
    of_sites = [message for message in job.sent if message.header.sender != SERVER]
    assert {message.header.phase.partition("/")[0] for message in of_sites} >= {"sum", "metrics"}
    assert all(message.seal for message in job.sent)
    for message in of_sites:
        check_hidden(read_outline(message.to_bytes()), run)


def test_tells_what_the_sites_measured_as_sums_alone(job_of, make_run, hospitals, tmp_path) -> None:
    run = secure(make_run(**FEDAVG))
    job = job_of(run)
    job.conduct()
    for kind in ("evaluated", "similarity", "corpora"):
        assert not events(job.folder, kind)
    assert {event["loss"] for event in events(job.folder, "round")} == {None}
    ours = events(job.folder, "metrics")
    theirs = events(in_process(run, hospitals, tmp_path / "process"), "metrics")
    assert [(e["round"], e["model"], e["split"]) for e in ours] == [
        (e["round"], e["model"], e["split"]) for e in theirs
    ]
    for one, other in zip(ours, theirs, strict=True):
        for name in ("sites", "images", "trained_on"):
            assert one[name] == other[name]
        assert one["loss"] == pytest.approx(other["loss"], abs=1e-3)


@pytest.mark.parametrize("phase", ["advertise", "share", "masked", "consent", "unmask"])
def test_a_site_that_dies_in_a_sum_leaves_the_exact_sum_of_the_others(
    job_of, make_run, four_hospitals, tmp_path, phase
) -> None:
    run = secure(make_run(**FEDAVG, rounds=2, deadline_s=DEADLINE_S, evaluate_every=9))
    job = job_of(run, at=four_hospitals)
    job.lose = Dies(0, f"sum/{phase}").of(job)
    job.conduct()
    faults = Faults(lose=Dies(0, f"sum/{phase}"))
    assert_same_model(job.folder, in_process(run, four_hospitals, tmp_path / "process", faults))
    first, second = events(job.folder, "round_finished")
    assert set(first["missing"]) == set(second["missing"]) == {LOST}
    assert WAITED_S < first["seconds"] < 2 * DEADLINE_S + 0.5
    assert second["seconds"] < WAITED_S


def test_a_collector_that_dies_costs_its_cohort_a_mean_and_no_more(
    job_of, make_run, four_hospitals, tmp_path
) -> None:
    run = secure(
        make_run(schedule="grid", expert_every=9, rounds=5, deadline_s=DEADLINE_S, cohort=4)
    )
    job = job_of(run, at=four_hospitals)
    job.lose = Dies(3, "sum/deal").of(job)  # the fourth round is collected by the fourth site
    job.conduct()
    *before, third, fourth = events(job.folder, "round_finished")
    assert not any(event["missing"] for event in before)
    assert set(third["missing"]) == set(fourth["missing"]) == {LOST}
    assert third["seconds"] < 2 * DEADLINE_S + 1.5
    assert fourth["seconds"] < WAITED_S
    assert len(load_file(job.folder / "model.safetensors")) > 0


def test_a_site_that_hangs_is_given_up_when_those_who_missed_it_are_done(
    job_of, make_run, four_hospitals, monkeypatch
) -> None:
    """FLARE takes it for alive, so only the patience of the coordinator ends the round."""
    monkeypatch.setattr("nvflare_jobs.parties.roll_call.GRACE_S", 0.2)
    run = secure(make_run(**FEDAVG, rounds=2, deadline_s=DEADLINE_S, evaluate_every=9))
    job = job_of(run, at=four_hospitals)
    job.known_dead = set()
    job.lose = Dies(0, "sum/share").of(job)
    job.conduct()
    first, second = events(job.folder, "round_finished")
    assert set(first["missing"]) == set(second["missing"]) == {LOST}
    assert first["seconds"] < 2 * DEADLINE_S + 0.5


def test_a_site_of_another_root_takes_no_part_and_is_named(
    job_of, make_run, four_hospitals
) -> None:
    run = secure(make_run(**FEDAVG, rounds=2, deadline_s=DEADLINE_S, evaluate_every=9))
    job, other = job_of(run, at=four_hospitals), job_of(run, at=four_hospitals)
    stranger = other.credentials[LOST]
    job.credentials[LOST] = stranger
    job.parties[LOST] = other._party(LOST)
    job.parties[LOST]._send = job._send
    job.conduct()
    assert all(LOST in event["missing"] for event in events(job.folder, "round_finished"))
    refused = [event["reason"] for event in events(job.folder, "rejected")]
    assert any(LOST in why and "not issued by this project's root" in why for why in refused)


def test_a_site_that_wants_more_company_is_refused_before_it_trains(
    job_of, make_run, four_hospitals, tmp_path
) -> None:
    sites = tmp_path / "sites"
    shutil.copytree(four_hospitals, sites)
    file = sites / "hosp-b" / "fedefm_site.yaml"
    settings = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump({**settings, "policy": {"min_cohort": 4}}))
    job = job_of(secure(make_run(**FEDAVG, quorum=1.0)), at=sites)
    with pytest.raises(QuorumLost, match=r"hosp-b .*policy\.min_cohort"):
        job.conduct()
    assert not job.sent


def test_a_topology_that_hides_nobody_is_refused_before_a_site_is_asked(job_of, make_run) -> None:
    plain = make_run(algorithm="gossip", schedule="neighbors", topology="star")
    with pytest.raises(PolicyRefused, match="would not hide"):
        job_of(secure(plain))
    job = job_of(plain)  # and if somebody wrote the job by hand
    job.terms = job.terms.model_copy(update={"run": secure(plain)})
    job.credentials = job._credentials()
    with pytest.raises(PolicyRefused, match="would not hide"):
        job.conduct()
    assert not job.works


def test_what_must_not_be_forgotten_outlives_a_run_that_begins_again(job_of, make_run) -> None:
    run = secure(make_run(**FEDAVG, rounds=1))
    for folder in ("first", "second", "third"):  # of the same members, the same sums may be seen
        job = job_of(run, folder)
        job.conduct()
        assert not events(job.folder, "rejected")
    for party in (*job.terms.sites, SERVER):
        assert (job.states / party / places.SUMS_MEMORY).is_file()


def test_a_run_with_less_company_does_not_open_what_more_has_opened(
    job_of, make_run, four_hospitals
) -> None:
    run = secure(make_run(**FEDAVG, rounds=1, deadline_s=DEADLINE_S, evaluate_every=9, quorum=0.1))
    job_of(run, "first", at=four_hospitals).conduct()
    job = job_of(run, "second", at=four_hospitals)
    job.lose = Dies(0, "sum/advertise").of(job)
    job.conduct()
    told = " ".join(event["reason"] for event in events(job.folder, "rejected"))
    assert "would show what ['hosp-d'] alone gave" in told


class _Killed(BaseException):
    """What a signal does to a thread."""


def test_a_killed_job_goes_on_with_secure_sums_of_the_same_numbers(job_of, make_run) -> None:
    run = secure(make_run(**FEDAVG, rounds=4, deadline_s=DEADLINE_S))
    whole = job_of(run, "whole")
    whole.conduct()
    killed = job_of(run, "killed")

    def stop_in_round_two(site, task, numbers) -> None:
        if numbers.get("round") == 2 and task == ROUND and site == "hosp-a":
            killed.dead.update(killed.terms.sites)
            raise _Killed

    killed.before = stop_in_round_two
    with pytest.raises((_Killed, QuorumLost)):
        killed.conduct()
    resumed = job_of(run, "resumed", resume=True)
    resumed.conduct()
    assert events(resumed.folder, "run_started")[0]["resumed_from"] == 2
    assert not events(resumed.folder, "rejected")
    assert_same_model(whole.folder, resumed.folder)

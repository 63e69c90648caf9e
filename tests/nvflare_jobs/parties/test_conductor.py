"""A whole job without FLARE, against the same run in one process."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from fedefm.errors import ConfigError, ProtocolError, QuorumLost
from fedefm.events import read_events
from fedefm.train.exchange import SERVER
from fedefm.train.run import run_in_process


def events(folder: Path, kind: str) -> list[dict]:
    return [event for event in read_events(folder / "events.jsonl") if event["event"] == kind]


def assert_same_model(one: Path, other: Path) -> None:
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (one, other))
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "federation",
    [
        {},
        {"update": "mixed", "schedule": "neighbors"},
        {"scenario": "client_server", "algorithm": "fedavg"},
        {"wire": "bfloat16"},
    ],
    ids=["swap", "mixed", "fedavg", "rounded"],
)
def test_gives_the_model_of_a_run_in_one_process(
    job_of, make_run, hospitals, tmp_path, federation
) -> None:
    run = make_run(**federation)
    job = job_of(run)
    job.conduct()
    run_in_process(run, hospitals, tmp_path / "process")
    assert_same_model(job.folder, tmp_path / "process")


def test_tells_what_a_run_in_one_process_tells(job_of, tiny_run, hospitals, tmp_path) -> None:
    job = job_of(tiny_run)
    job.conduct()
    run_in_process(tiny_run, hospitals, tmp_path / "process")
    for kind in ("round_started", "round", "round_finished", "similarity", "corpora", "published"):
        ours, theirs = events(job.folder, kind), events(tmp_path / "process", kind)
        assert [set(e) for e in ours] == [set(e) for e in theirs], kind
        assert len(ours) == len(theirs) > 0, kind
    agreement = agreements(job.folder)  # sites tell theirs in the order in which they are done
    assert agreement == pytest.approx(agreements(tmp_path / "process"), abs=1e-4)


def agreements(folder: Path) -> dict[tuple[int, str, str], float]:
    told = events(folder, "similarity")
    return {(e["round"], e["student"], e["expert"]): e["value"] for e in told}


def test_counts_accuracy_and_traffic_like_a_run_in_one_process(
    job_of, tiny_run, hospitals, tmp_path
) -> None:
    job = job_of(tiny_run)
    job.conduct()
    run_in_process(tiny_run, hospitals, tmp_path / "process")
    ours, theirs = (
        json.loads((folder / "result.json").read_text())
        for folder in (job.folder, tmp_path / "process")
    )
    assert ours["metrics"]["global_accuracy"] == theirs["metrics"]["global_accuracy"]
    assert ours["metrics"]["mean_site_accuracy"] == theirs["metrics"]["mean_site_accuracy"]
    assert ours["traffic_bytes"] == theirs["traffic_bytes"]
    assert ours["participation"] == theirs["participation"]


def test_the_server_sees_one_sum_and_no_model_before_it(job_of, tiny_run) -> None:
    job = job_of(tiny_run)
    job.conduct()
    to_server = [message.header for message in job.sent if message.header.receiver == SERVER]
    assert {(header.round, header.phase) for header in to_server} == {(3, "sum")}


def test_a_site_that_throws_is_named_and_the_others_go_on(job_of, tiny_run) -> None:
    job = job_of(tiny_run)

    def break_b_once(site, task, numbers) -> None:
        if site == "hosp-b" and numbers.get("round") == 1:
            raise ZeroDivisionError("patient 4711 has no pixels")

    job.before = break_b_once
    job.conduct()
    second, third = events(job.folder, "round_finished")[1:]
    assert second["participants"] == ["hosp-a", "hosp-c"]
    assert second["missing"] == {"hosp-b": "ZeroDivisionError, see the site's own log"}
    assert "hosp-b" in third["participants"]
    assert "4711" not in (job.folder / "events.jsonl").read_text()


def test_a_dead_site_costs_one_deadline_and_not_one_a_round(job_of, make_run) -> None:
    job = job_of(make_run(rounds=5, deadline_s=2, expert_every=5))

    def kill_c(site, task, numbers) -> None:
        if numbers.get("round") == 1:
            job.dead.add("hosp-c")

    job.before = kill_c
    job.conduct()
    finished = events(job.folder, "round_finished")
    assert all("hosp-c" in event["missing"] for event in finished[2:])
    assert all(event["seconds"] < 1.9 for event in finished[3:])


def test_too_few_sites_end_the_job_with_names_and_reasons(job_of, make_run) -> None:
    job = job_of(make_run(quorum=1.0, deadline_s=1))

    def break_a(site, task, numbers) -> None:
        if site == "hosp-a" and numbers.get("round") == 1:
            raise ConfigError("the disk is gone")

    job.before = break_a
    with pytest.raises(QuorumLost, match=r"2 of 3 sites.*hosp-a \(ConfigError: the disk is gone"):
        job.conduct()
    assert events(job.folder, "run_finished")[-1]["status"] == "quorum lost"


def test_a_lost_message_is_reported_by_both_ends(job_of, make_run) -> None:
    job = job_of(make_run(deadline_s=1))
    job.lose = lambda message: (message.header.round, message.header.sender) == (2, "hosp-a")
    job.conduct()
    (lost,) = [m.header for m in job.sent if job.lose(m)]
    third = {e["site"]: e for e in events(job.folder, "round") if e["round"] == 2}
    assert third[lost.receiver]["unheard"] == ["hosp-a"]
    (refused,) = [e for e in events(job.folder, "rejected") if e["round"] == 2]
    assert refused["site"] == "hosp-a"
    assert lost.receiver in refused["reason"]


class _Killed(BaseException):
    """What a signal does to a thread."""


def test_a_killed_job_goes_on_with_the_same_numbers(job_of, make_run) -> None:
    run = make_run(rounds=4, deadline_s=1)
    whole = job_of(run, "whole")
    whole.conduct()

    killed = job_of(run, "killed")

    def stop_in_round_two(site, task, numbers) -> None:
        if numbers.get("round") == 2 and site == "hosp-a":
            killed.dead.update(killed.terms.sites)
            raise _Killed

    killed.before = stop_in_round_two
    with pytest.raises(_Killed):
        killed.conduct()

    resumed = job_of(run, "resumed", resume=True)
    resumed.conduct()
    assert events(resumed.folder, "run_started")[0]["resumed_from"] == 2
    assert_same_model(whole.folder, resumed.folder)


def test_another_runs_state_is_not_taken_for_ones_own(job_of, make_run) -> None:
    job_of(make_run()).conduct()
    other = make_run().model_copy(update={"seed": 9})
    again = job_of(other, "other", resume=True)
    again.conduct()
    assert events(again.folder, "run_started")[0]["resumed_from"] is None


def test_does_not_begin_again_in_silence_where_states_are_gone(job_of, make_run) -> None:
    job_of(make_run()).conduct()
    again = job_of(make_run(), "again", resume=True)
    again.terms = again.terms.model_copy(update={"recorded": 1})
    with pytest.raises(ProtocolError, match="no common state"):
        again.conduct()

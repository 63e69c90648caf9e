"""What a job has begun outlives its processes, and says nothing to another job."""

import pytest
import torch

from fedefm.errors import ConfigError
from nvflare_jobs.parties import places
from nvflare_jobs.parties.begun import BEGUN, Begun, read_begun, write_begun
from nvflare_jobs.parties.saved_run import SavedRun
from nvflare_jobs.parties.terms import terms_for

SITES = ("hosp-a", "hosp-b", "hosp-c")


def saved(tmp_path, run, job="job", resume=False) -> SavedRun:
    return SavedRun("hosp-a", tmp_path / "state", terms_for(run, SITES, resume), job)


def state(value: float) -> dict:
    return {"weights": {"w": torch.full((2,), value)}}


def test_it_is_read_as_it_was_written(tmp_path) -> None:
    begun = Begun("job", "run", 2, 4, 3, {"sequence": 7, "hash": "ab"})
    write_begun(tmp_path / "new", begun)
    assert read_begun(tmp_path / "new", "job") == begun
    assert read_begun(tmp_path / "new", "another job") is None
    assert read_begun(tmp_path / "new", "") is None
    assert read_begun(tmp_path / "nowhere", "job") is None


@pytest.mark.parametrize(
    ("begin_at", "played", "next_round"), [(None, None, 0), (0, None, 0), (5, None, 5), (5, 7, 8)]
)
def test_the_next_round_was_certainly_not_begun(begin_at, played, next_round) -> None:
    assert Begun("job", "run", begin_at, played).next_round == next_round


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"job": 3, "run_id": "r"}', '{"job": "job"'])
def test_where_it_cannot_be_read_nothing_is_played(tmp_path, text) -> None:
    (tmp_path / BEGUN).write_text(text)
    with pytest.raises(ConfigError, match="could be played twice"):
        read_begun(tmp_path, "job")


def test_the_next_process_of_a_job_has_the_runs_name_and_its_newest_state(
    tmp_path, tiny_run
) -> None:
    first = saved(tmp_path, tiny_run)
    assert first.begun is None
    first.begin()
    first.note(played=0)
    first.save(1, state(1.0))
    first.note(played=1)
    second = saved(tmp_path, tiny_run)
    assert second.run_id == first.run_id == places.run_id(tmp_path / "state")
    assert second.begun.next_round == 2
    newest = second.newest_of_this_job(second.begun)
    assert torch.equal(newest["weights"]["w"], torch.ones(2))
    assert saved(tmp_path, tiny_run, "another job").run_id != first.run_id


def test_a_name_is_kept_from_before_the_first_round(tmp_path, tiny_run) -> None:
    first = saved(tmp_path, tiny_run)
    first.note(known_head=None)
    assert saved(tmp_path, tiny_run).run_id == first.run_id


def test_one_that_died_before_it_saved_begins_with_nothing(tmp_path, tiny_run) -> None:
    first = saved(tmp_path, tiny_run)
    first.begin()
    first.note(played=0)
    second = saved(tmp_path, tiny_run)
    assert second.newest_of_this_job(second.begun) is None


def test_a_resumed_job_forgets_what_it_plays_anew(tmp_path, tiny_run) -> None:
    first = saved(tmp_path, tiny_run)
    first.begin()
    for rounds in (1, 2):
        first.save(rounds, state(float(rounds)))
    resumed = saved(tmp_path, tiny_run, "later", resume=True)
    assert resumed.run_id == first.run_id
    resumed.go_on(1)
    assert resumed.rounds() == [1]
    again = saved(tmp_path, tiny_run, "later", resume=True)
    assert (again.begun.begin_at, again.begun.next_round) == (1, 1)
    assert torch.equal(again.newest_of_this_job(again.begun)["weights"]["w"], torch.ones(2))


def test_simulations_are_told_apart(monkeypatch) -> None:
    assert places.job_key("simulate_job") == "simulate_job"
    keys = set()
    for number in ("1", "2"):
        monkeypatch.setenv(places.SIMULATION, number)
        keys.add(places.job_key("simulate_job"))
    assert len(keys) == 2

"""What a site remembers of its jobs when all its processes are gone."""

import stat
from pathlib import Path

from nvflare_jobs.kit.running import NOTE, RunningJob, running_jobs

FIRST, SECOND = {"auth_token": "first"}, {"auth_token": "second"}


def job_in(kit: Path, name: str = "job-1") -> RunningJob:
    (kit / name).mkdir(exist_ok=True)
    return RunningJob(kit / name)


def test_a_job_keeps_the_registration_under_which_it_began(tmp_path: Path) -> None:
    assert job_in(tmp_path).known_as(FIRST) == FIRST
    assert job_in(tmp_path).known_as(SECOND) == FIRST


def test_only_what_is_not_over_is_gone_on_with(tmp_path: Path) -> None:
    job_in(tmp_path, "job-1").known_as(FIRST)
    job_in(tmp_path, "job-2").known_as(FIRST)
    job_in(tmp_path, "job-1").is_over()
    assert [running.job for running in running_jobs(tmp_path)] == ["job-2"]


def test_a_note_that_was_not_written_to_its_end_is_none(tmp_path: Path) -> None:
    job = job_in(tmp_path)
    (tmp_path / "job-1" / NOTE).write_text('{"auth_tok')
    assert job.known_as(SECOND) == SECOND
    assert RunningJob(tmp_path / "job-1").known_as(FIRST) == SECOND


def test_nobody_else_reads_what_speaks_for_the_site(tmp_path: Path) -> None:
    job_in(tmp_path).known_as(FIRST)
    assert stat.S_IMODE((tmp_path / "job-1" / NOTE).stat().st_mode) == 0o600

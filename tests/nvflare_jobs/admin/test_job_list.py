"""The list of jobs can be read on a narrow terminal, and searched in a file."""

import pytest
from scripted_server import JOB, meta

from nvflare_jobs.admin.job_facts import JobFacts, facts_of
from nvflare_jobs.admin.job_list import job_lines

LONG = "catheters-of-all-hospitals-with-privacy"
TIMES = {"submit_time_iso": "2026-11-21T19:40:34.123+02:00", "duration": "1:02:03.456789"}


def jobs() -> list[JobFacts]:
    failed = meta("FINISHED:EXECUTION_EXCEPTION", **{**TIMES, "name": LONG})
    return [facts_of(failed), facts_of({**meta("SUBMITTED"), "duration": "N/A"})]


@pytest.mark.parametrize("width", [80, 60])
def test_on_a_narrow_terminal_a_job_has_two_lines_that_fit(width: int) -> None:
    lines = job_lines(jobs()[1:], width)
    assert lines == [f"{JOB}  tiny", "    waiting, by lead@hub.org"]
    assert max(map(len, job_lines(jobs(), 80))) <= 80


def test_no_id_is_broken_however_narrow_the_terminal() -> None:
    assert sum(line.startswith(JOB) for line in job_lines(jobs(), 20)) == 2


@pytest.mark.parametrize("width", [None, 200])
def test_in_a_file_each_job_has_one_line_with_all_of_it(width: int | None) -> None:
    head, failed, waiting = job_lines(jobs(), width)
    for said in (JOB, LONG, "failed", "2026-11-21 17:40 UTC", "1 h 02 min", "lead@hub.org"):
        assert said in failed
    for column in ("STATE", "BY", "NAME"):
        assert failed[head.index(column) - 1] == waiting[head.index(column) - 1] == " "
    assert waiting.endswith("tiny")


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("0:00:07.25", 7.25), ("2 days, 1:00:00", 176400.0), ("1 day, 0:00:01", 86401.0),
     ("N/A", None), ("", None)],
)  # fmt: skip
def test_flares_duration_is_read(written: str, seconds: float | None) -> None:
    assert facts_of(meta("RUNNING", duration=written)).seconds == seconds

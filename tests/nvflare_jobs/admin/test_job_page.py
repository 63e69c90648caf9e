"""The status page: what a reader finds on it, in every state of a job."""

from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from scripted_server import JOB, SITES, lines, meta, run_events

from fedefm.report import headline
from fedefm.report.run_report import write_report
from fedefm.train.totals import totals
from nvflare_jobs.admin.following import Look
from nvflare_jobs.admin.job_facts import facts_of
from nvflare_jobs.admin.job_page import PageFile, render
from nvflare_jobs.admin.job_rows import HEADS, rows_of
from nvflare_jobs.admin.job_view import JobView
from nvflare_jobs.admin.outcome import outcome_of

NOW = datetime.fromtimestamp(1100.0, timezone.utc)
BEGUN = {key: value for key, value in run_events()[0].items() if key not in ("time", "event")}
RELOADS = '<meta http-equiv="refresh"'


def view(
    status: str, over: bool = False, more: dict[str, Any] | None = None, **look: Any
) -> JobView:
    seen, facts = JobView(JOB), facts_of(meta(status, **(more or {})))
    seen.take(Look(facts, **look))
    seen.outcome = outcome_of(facts) if over else None
    return seen


def test_a_page_needs_nothing_from_elsewhere() -> None:
    page = render(view("RUNNING", events=tuple(run_events())), NOW)
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page
    assert "<script" not in page


@pytest.mark.parametrize(("status", "word"), [("SUBMITTED", "waiting"), ("RUNNING", "running")])
def test_a_job_that_goes_on_is_looked_at_again_by_the_browser(status: str, word: str) -> None:
    page = render(view(status), NOW)
    assert RELOADS in page
    assert f">{word}</span></h1>" in page


@pytest.mark.parametrize(
    ("status", "word"),
    [("FINISHED:COMPLETED", "finished"), ("FINISHED:FAILED_TO_RUN", "refused"),
     ("FINISHED:ABANDONED", "lost"), ("FINISHED:ABORTED", "aborted"),
     ("FINISHED:EXECUTION_EXCEPTION", "failed")],
)  # fmt: skip
def test_a_job_that_is_over_is_looked_at_no_more(status: str, word: str) -> None:
    page = render(view(status, over=True), NOW)
    assert RELOADS not in page
    assert f">{word}</span></h1>" in page


def test_a_refusal_is_on_the_page_escaped_and_once() -> None:
    why = "PolicyRefused: <b>require_dp</b> is set"
    more = {"job_deploy_detail": [f"hosp-a: NVFLARE_ERROR: {why}"]}
    page = render(view("FINISHED:FAILED_TO_RUN", over=True, more=more), NOW)
    assert page.count("PolicyRefused: &lt;b&gt;require_dp") == 1
    assert "<b>require_dp" not in page


def test_rows_say_who_is_late_absent_done_or_refused() -> None:
    standing = {
        "task": "fedefm_round", "round": 2, "seconds": 60.0, "refused": {"St-Marys": "no images"},
        "awaited": ["hosp-a", "hosp-B"], "answered": {"hosp-a": 20.0},
    }  # fmt: skip
    seen = view("RUNNING", events=tuple(run_events()), standing=standing)
    assert {row.name: row.state for row in rows_of(seen)} == {
        "hosp-a": "done", "hosp-B": "late", "St-Marys": "refused",
    }  # fmt: skip
    gone = view("RUNNING", events=tuple(run_events(silent="hosp-B")))
    assert {row.name: row.state for row in rows_of(gone)}["hosp-B"] == "absent"


def test_only_a_told_budget_is_shown_and_never_more_than_is_left() -> None:
    told = {"time": 1.0, "event": "budget", "site": "hosp-a", "left": 3.149, "cap": 8.0}
    planned = {"time": 1.0, "event": "privacy_planned", "site": "hosp-B", "epsilon": 2.401}
    seen = view("RUNNING", events=(*run_events(), told, planned))
    cells = {row.name: row.cells[-2:] for row in rows_of(seen)}
    assert cells == {"hosp-a": ("–", "3.14 of 8"), "hosp-B": ("at most 2.41", "–"),
                     "St-Marys": ("–", "–")}  # fmt: skip


def test_page_command_and_report_tell_the_same_figures_in_the_same_words(tmp_path: Path) -> None:
    ended = {"event": "run_finished", "status": "finished", "seconds": 99.0, "time": 9000.0}
    again = [  # of a run that was killed in its last round and went on
        {"time": 1100.0, "event": "run_started", **BEGUN, "resumed_from": 1},
        *(event for event in run_events() if event.get("round") == 1),
        {"time": 1101.0, "event": "published", "round": 2, "sent_bytes": 5000},
        {"time": 1102.0, "event": "published", "round": 2, "sent_bytes": 5000},
    ]
    events = [*run_events(), *again, ended]
    seen = view("FINISHED:COMPLETED", over=True, events=tuple(events))
    (tmp_path / "events.jsonl").write_text(lines(events))
    report = write_report(tmp_path).read_text()
    for value, words in (("2 of 2", "rounds done"), ("11.0\u00a0kB", "sent in all"),
                         ("4.0\u00a0s", "wall time of its rounds")):  # fmt: skip
        tile = f"<b>{value}</b><span>{words}</span>"
        assert tile in report
        assert tile in render(seen, NOW)
        assert f"{value} {words}" in headline.line(seen.record)
    sums = totals(events, SITES)  # which result.json has
    assert (sums.sent_bytes, sums.seconds) == (seen.record.sent_bytes, seen.record.seconds)


def test_what_is_over_has_no_clock_that_runs_on() -> None:
    clock = "since the sites began"
    assert clock in render(view("RUNNING", events=tuple(run_events())), NOW)
    killed = view("FINISHED:ABNORMAL", over=True, events=tuple(run_events()))
    assert clock not in render(killed, NOW)


def test_sites_of_a_job_that_never_began_do_not_wait_nor_take_part() -> None:
    more = {"job_deploy_detail": ["hosp-a: NVFLARE_ERROR: no"]}
    refused = view("FINISHED:FAILED_TO_RUN", over=True, more=more)
    assert [row.state for row in rows_of(refused)] == ["refused", "not begun", "not begun"]
    assert "<b>0 of 3</b><span>sites took part</span>" in render(refused, NOW)


def test_of_a_job_that_told_nothing_nothing_is_made_up() -> None:
    done = view("FINISHED:COMPLETED", over=True)
    assert {row.state for row in rows_of(done)} == {"not told"}
    assert "<b>\u2013</b><span>sites took part</span>" in render(done, NOW)


def test_who_is_late_stands_beside_who_takes_part() -> None:
    standing = {
        "task": "fedefm_round", "round": 2, "seconds": 60.0, "refused": {},
        "awaited": ["hosp-a", "hosp-B"], "answered": {"hosp-a": 20.0},
    }  # fmt: skip
    page = render(view("RUNNING", events=tuple(run_events()), standing=standing), NOW)
    assert "<b>3 of 3</b><span>sites take part; hosp-B is late</span>" in page


def test_every_cell_says_what_it_is_where_the_page_is_narrow() -> None:
    page = render(view("RUNNING", events=tuple(run_events())), NOW)
    for head, _ in HEADS[1:]:
        assert page.count(f'data-head="{head}"') == len(SITES)


def test_the_file_is_replaced_whole(tmp_path: Path) -> None:
    page = PageFile(tmp_path / "pages" / "status.html")
    page(view("SUBMITTED"))
    page(view("RUNNING"))
    assert ">running<" in (tmp_path / "pages" / "status.html").read_text()
    assert [path.name for path in (tmp_path / "pages").iterdir()] == ["status.html"]

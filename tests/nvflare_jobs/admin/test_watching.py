"""A job watched to its end, and why it ended."""

import json
from pathlib import Path

import pytest
from scripted_server import JOB, ScriptedServer, meta, run_events, telling

from nvflare_jobs.admin.flare_words import NotRunning
from nvflare_jobs.admin.job_view import JobView
from nvflare_jobs.admin.watching import watch_job

EMPTY = telling([])


@pytest.fixture(autouse=True)
def nobody_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nvflare_jobs.admin.following.QUICK_S", 0.0)


def watched(server: ScriptedServer) -> tuple[JobView, list[str]]:
    said: list[str] = []
    return watch_job(server.log_in, JOB, said.append), said


def failing(server: ScriptedServer, sentence: str) -> None:
    def leave(workspace: Path) -> None:
        (workspace / "fedefm_run").mkdir()
        told = {"status": "failed", "error": "QuorumLost", "sentence": sentence}
        (workspace / "fedefm_run" / "status.json").write_text(json.dumps(told))

    server.leave = leave


def test_a_job_that_did_well_is_not_downloaded_to_be_told() -> None:
    told = [telling(run_events()), EMPTY, NotRunning("over")]
    server = ScriptedServer([meta("RUNNING"), meta("FINISHED:COMPLETED")], told)
    view, said = watched(server)
    assert view.state == "finished"
    assert "download" not in server.asked
    assert said == ["job tiny is running (RUNNING)"]
    assert server.open == 0


def test_why_a_job_failed_is_read_from_what_it_left() -> None:
    server = ScriptedServer(
        [meta("RUNNING"), meta("FINISHED:EXECUTION_EXCEPTION")], [NotRunning("")]
    )
    failing(server, "start: 1 of 3 sites took part; missing: hosp-a (PolicyRefused: no DP)")
    view, _ = watched(server)
    assert view.state == "failed"
    assert view.outcome is not None
    assert "hosp-a (PolicyRefused: no DP)" in view.outcome.sentence
    assert view.outcome.error == "QuorumLost"


def test_a_site_that_refuses_at_the_start_is_named_while_the_others_go_on() -> None:
    standing = {"task": "", "answered": {}, "awaited": [], "refused": {"hosp-B": "LedgerCorrupt"}}
    told = [telling(run_events(), standing=standing), telling([], standing=standing)]
    server = ScriptedServer(
        [meta("RUNNING"), meta("FINISHED:COMPLETED")], [*told, NotRunning("over")]
    )
    view, said = watched(server)
    assert "hosp-B takes no part: LedgerCorrupt" in said
    assert view.refused == {"hosp-B": "LedgerCorrupt"}


@pytest.mark.parametrize("at_deployment", [True, False])
def test_who_has_refused_is_not_called_late(at_deployment: bool) -> None:
    standing = {
        "task": "fedefm_round", "round": 1, "seconds": 41.0, "answered": {"hosp-a": 12.0},
        "awaited": ["hosp-a", "hosp-B", "St-Marys"],
        "refused": {} if at_deployment else {"hosp-B": "LedgerCorrupt"},
    }  # fmt: skip
    detail = ["hosp-B: NVFLARE_ERROR: LedgerCorrupt"] if at_deployment else []
    told = [telling(run_events(), standing=standing), telling([], standing=standing)]
    metas = [meta("RUNNING", job_deploy_detail=detail), meta("FINISHED:COMPLETED")]
    _, said = watched(ScriptedServer(metas, [*told, NotRunning("over")]))
    assert "hosp-B takes no part: LedgerCorrupt" in said
    assert [line.partition(" is late")[0] for line in said if "late" in line] == ["St-Marys"]


@pytest.mark.parametrize(("seconds", "is_late"), [(14.0, False), (41.0, True)])
def test_who_is_silent_long_after_the_others_is_late(seconds: float, is_late: bool) -> None:
    standing = {
        "task": "fedefm_round", "round": 1, "seconds": seconds, "refused": {},
        "awaited": ["hosp-a", "hosp-B"], "answered": {"hosp-a": 12.0},
    }  # fmt: skip
    told = [telling(run_events(), standing=standing), telling([], standing=standing)]
    server = ScriptedServer(
        [meta("RUNNING"), meta("FINISHED:COMPLETED")], [*told, NotRunning("over")]
    )
    _, said = watched(server)
    assert ("hosp-B is late: others were done 29 s ago" in said) is is_late

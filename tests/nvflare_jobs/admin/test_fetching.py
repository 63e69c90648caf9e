"""A job's run folder brought here: whole, where there is one, and else why there is none."""

import json
from pathlib import Path
from typing import Any

import pytest
from scripted_server import JOB, ScriptedServer, lines, meta, run_events

from fedefm.errors import ConfigError, ProtocolError
from nvflare_jobs.admin.fetching import download, explained, job_of
from nvflare_jobs.admin.job_facts import facts_of

DONE, FAILED = facts_of(meta("FINISHED:COMPLETED")), facts_of(meta("FINISHED:EXECUTION_EXCEPTION"))


def leaving(status: dict[str, str], events: list[dict[str, Any]] | None = None) -> ScriptedServer:
    def leave(workspace: Path) -> None:
        folder = workspace / "fedefm_run"
        folder.mkdir()
        (folder / "events.jsonl").write_text(lines(run_events() if events is None else events))
        (folder / "status.json").write_text(json.dumps(status))

    server = ScriptedServer([meta("FINISHED:COMPLETED")])
    server.leave = leave
    return server


def test_table_figures_and_report_are_made_where_the_job_has_none(tmp_path: Path) -> None:
    folder, outcome = download(leaving({"status": "finished"}), DONE, tmp_path)
    assert folder == tmp_path / "tiny"
    assert outcome.done
    assert {"metrics.csv", "report.html", "tensorboard"} <= {path.name for path in folder.iterdir()}
    assert "0,hosp-a,sent_bytes,1000" in (folder / "metrics.csv").read_text().splitlines()
    assert job_of(folder) == JOB
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]  # and nothing else is left


def test_a_job_that_failed_brings_what_there_is_and_says_why(tmp_path: Path) -> None:
    server = leaving({"status": "failed", "error": "QuorumLost", "sentence": "round 3: too few"})
    folder, outcome = download(server, FAILED, tmp_path)
    assert (folder / "report.html").exists()
    assert not outcome.done
    assert "round 3: too few" in outcome.sentence


RESUMED = [{"time": 1.0, "event": "run_started", "resumed_from": 4}]


@pytest.mark.parametrize(
    ("error", "events", "can_go_on"),
    [
        ("QuorumLost", run_events(), True),
        ("QuorumLost", RESUMED, True),  # before its own first round, and others were before
        ("QuorumLost", run_events()[:4], False),
        ("QuorumLost", [], False),
        ("ModelError", run_events(), False),
    ],
)
def test_how_to_go_on_is_said_only_where_there_is_something_to_go_on_with(
    error: str, events: list[dict[str, Any]], can_go_on: bool
) -> None:
    server = leaving({"status": "failed", "error": error, "sentence": "too few"}, events)
    assert ("--resume" in explained(server, FAILED).sentence) is can_go_on


def test_a_job_for_which_too_few_came_is_to_be_submitted_again() -> None:
    told = {"status": "failed", "error": "QuorumLost", "sentence": "start: too few"}
    assert "submit it in the same way" in explained(leaving(told, []), FAILED).sentence
    assert (
        "submit it" not in explained(leaving(told | {"error": "ModelError"}, []), FAILED).sentence
    )


def test_a_job_that_was_aborted_before_it_began_is_not_gone_on_with() -> None:
    aborted = facts_of(meta("FINISHED:ABORTED"))
    assert "--resume" not in explained(ScriptedServer([]), aborted).sentence
    lost = facts_of(meta("FINISHED:ABANDONED"))  # which could tell nothing of its rounds
    assert "--resume" in explained(ScriptedServer([]), lost).sentence


def test_a_job_without_a_run_says_what_became_of_it(tmp_path: Path) -> None:
    detail = ["hosp-a: NVFLARE_ERROR: PolicyRefused: the site requires privacy.dp"]
    refused = facts_of(meta("FINISHED:FAILED_TO_RUN", job_deploy_detail=detail))
    with pytest.raises(ProtocolError, match="hosp-a refused it: PolicyRefused"):
        download(ScriptedServer([meta("FINISHED:FAILED_TO_RUN")]), refused, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_nothing_that_is_there_is_written_over(tmp_path: Path) -> None:
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "notes.txt").write_text("mine")
    server = leaving({"status": "finished"})
    with pytest.raises(ConfigError, match="something else"):
        download(server, DONE, tmp_path)
    assert "download" not in server.asked
    assert (tmp_path / "tiny" / "notes.txt").read_text() == "mine"


def test_a_second_download_says_that_the_job_is_there_already(tmp_path: Path) -> None:
    download(leaving({"status": "finished"}), DONE, tmp_path)
    with pytest.raises(ConfigError, match="this job, downloaded before"):
        download(leaving({"status": "finished"}), DONE, tmp_path)


@pytest.mark.parametrize("name", ["../elsewhere", "/etc", ".hidden"])
def test_a_name_from_the_server_leads_nowhere_else(tmp_path: Path, name: str) -> None:
    server = leaving({"status": "finished"})
    with pytest.raises(ConfigError, match="cannot be a folder"):
        download(server, facts_of(meta("FINISHED:COMPLETED") | {"name": name}), tmp_path / "out")
    assert not (tmp_path / "out").exists()

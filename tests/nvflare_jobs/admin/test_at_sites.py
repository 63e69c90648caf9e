"""A run at real sites from here, over interruptions, with a scripted server in their place."""

import json
from pathlib import Path
from typing import Any

import pytest
from scripted_server import JOB, SITES, ScriptedServer, lines, meta, run_events, telling

from fedefm.config import RunConfig, parse
from fedefm.errors import ConfigError
from nvflare_jobs.admin.at_sites import run_at_sites
from nvflare_jobs.admin.flare_words import NotRunning
from nvflare_jobs.admin.outcome import JobEnded

OVER = NotRunning("over")
EMPTY = telling([])


@pytest.fixture(autouse=True)
def nobody_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nvflare_jobs.admin.following.QUICK_S", 0.0)


@pytest.fixture
def run() -> RunConfig:
    federation = {"rounds": 2, "local_steps": 1, "host_steps": 1}
    model = {"backbone": "resnet_micro", "image_size": 16, "classes": ["a", "b"]}
    return parse({"name": "tiny", "model": model, "federation": federation}, RunConfig, "run")


def finished(events: list[dict[str, Any]]) -> Any:
    def leave(workspace: Path) -> None:
        folder = workspace / "fedefm_run"
        folder.mkdir()
        (folder / "events.jsonl").write_text(lines(events))
        result = {
            "metrics": {"global_accuracy": 0.5},
            "privacy": dict.fromkeys(SITES),
            "protection": {"end_to_end_encryption": True},
        }
        (folder / "result.json").write_text(json.dumps(result))
        (folder / "status.json").write_text(json.dumps({"status": "finished"}))
        (folder / "model.safetensors").write_bytes(b"weights")

    return leave


def perform(server: ScriptedServer, run: RunConfig, out: Path, resume: bool = False) -> Path:
    said: list[str] = []
    return run_at_sites(run, SITES, out, server.log_in, said.append, resume)


def told_rounds(out: Path) -> list[int]:
    told = [json.loads(line) for line in (out / "events.jsonl").read_text().splitlines()]
    return [event["round"] for event in told if event["event"] == "round_finished"]


def test_what_comes_home_is_a_run_folder(run: RunConfig, tmp_path: Path) -> None:
    told = [telling(run_events()), EMPTY, OVER]
    server = ScriptedServer([meta("RUNNING"), meta("FINISHED:COMPLETED")], told)
    server.leave = finished(run_events())
    out = perform(server, run, tmp_path / "run")
    result = json.loads((out / "result.json").read_text())
    assert result["participation"] == {site: [0, 1] for site in SITES}
    assert result["protection"]["end_to_end_encryption"] is True
    assert (out / "model.safetensors").read_bytes() == b"weights"
    assert told_rounds(out) == [0, 1]  # watched and downloaded, and told once


def test_too_few_sites_are_named_before_anything_is_written(run: RunConfig, tmp_path: Path) -> None:
    server = ScriptedServer([meta("RUNNING")])
    server.connected = ["hosp-a"]
    with pytest.raises(ConfigError, match="hosp-B, St-Marys are not connected"):
        perform(server, run, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert server.submitted == []


def test_for_a_site_that_is_away_the_nearest_is_proposed(run: RunConfig, tmp_path: Path) -> None:
    server = ScriptedServer([meta("RUNNING")])
    server.connected = ["hosp-a", "Saint-Marys"]
    with pytest.raises(ConfigError, match=r"do you mean Saint-Marys for St-Marys\?"):
        perform(server, run, tmp_path / "run")


def test_a_run_whose_watcher_was_lost_follows_the_job_that_still_runs(
    run: RunConfig, tmp_path: Path
) -> None:
    broken = ScriptedServer(
        [meta("RUNNING")], [telling(run_events()[:6]), EMPTY, KeyboardInterrupt()]
    )
    with pytest.raises(KeyboardInterrupt):
        perform(broken, run, tmp_path / "run")
    server = ScriptedServer(
        [meta("RUNNING"), meta("RUNNING"), meta("FINISHED:COMPLETED")],
        [telling(run_events()), EMPTY, OVER],
    )
    server.leave = finished(run_events())
    out = perform(server, run, tmp_path / "run", resume=True)
    assert server.submitted == []
    assert told_rounds(out) == [0, 1]


def test_a_run_that_ended_well_meanwhile_only_comes_home(run: RunConfig, tmp_path: Path) -> None:
    broken = ScriptedServer([meta("RUNNING")], [KeyboardInterrupt()])
    with pytest.raises(KeyboardInterrupt):
        perform(broken, run, tmp_path / "run")
    server = ScriptedServer([meta("FINISHED:COMPLETED")])
    server.leave = finished(run_events())
    out = perform(server, run, tmp_path / "run", resume=True)
    assert server.submitted == []
    assert told_rounds(out) == [0, 1]


def test_a_lost_job_is_resumed_by_another_after_the_rounds_that_are_known(
    run: RunConfig, tmp_path: Path
) -> None:
    first_round = run_events()[:7]
    assert first_round[-1]["event"] == "checkpoint"
    lost = ScriptedServer(
        [meta("RUNNING"), meta("FINISHED:ABANDONED")], [telling(first_round), EMPTY, OVER]
    )
    with pytest.raises(JobEnded, match="was lost when the server was restarted"):
        perform(lost, run, tmp_path / "run")
    rest = [run_events()[0], *run_events()[7:]]
    server = ScriptedServer(
        [meta("FINISHED:ABANDONED"), meta("RUNNING"), meta("FINISHED:COMPLETED")],
        [telling(rest), EMPTY, OVER],
    )
    terms: list[Any] = []
    submit = server.submit

    def note(job: Path) -> str:
        config = json.loads((job / "app_server/config/config_fed_server.json").read_text())
        terms.append(json.loads(config["workflows"][0]["args"]["job_terms"]))
        server.leave = finished(rest)
        return submit(job)

    server.submit = note  # type: ignore[method-assign]
    out = perform(server, run, tmp_path / "run", resume=True)
    assert (terms[0]["resume"], terms[0]["recorded"]) == (True, 1)
    assert told_rounds(out) == [0, 1]
    assert json.loads((out / "result.json").read_text())["rounds"] == 2
    assert json.loads((out / "job.json").read_text())["job"] == JOB


def test_a_run_over_a_graph_of_ones_own_is_resumed_over_it(run: RunConfig, tmp_path: Path) -> None:
    links = tmp_path / "links.txt"
    links.write_text("hosp-a hosp-B\nhosp-B St-Marys\n")
    federation = run.federation.model_copy(update={"topology": str(links)})
    chain = run.model_copy(update={"federation": federation})
    with pytest.raises(JobEnded):
        perform(ScriptedServer([meta("FINISHED:ABANDONED")]), chain, tmp_path / "run")
    server = ScriptedServer([meta("FINISHED:ABANDONED"), meta("FINISHED:COMPLETED")])
    submit = server.submit

    def begin(job: Path) -> str:
        server.leave = finished(run_events())
        return submit(job)

    server.submit = begin  # type: ignore[method-assign]
    perform(server, chain, tmp_path / "run", resume=True)
    assert len(server.submitted) == 1

"""The commands that ask a server, as far as they need none: kits, exit codes, what is printed."""

import json
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedefm.config import dump
from nvflare_jobs.cli import main
from privacy.identity import ThrowAwayRoot
from provisioning.reach import PROXIES

JOB = "946e6a37-3553-4d15-81ce-cb18f6cd9ec3"
COMMANDS = ("export", "submit", "status", "watch", "abort", "download")
EVENTS = (
    {"time": 1.0, "event": "run_started", "name": "tiny", "sites": ["hosp-a"], "rounds": 3},
    {"time": 2.0, "event": "round", "round": 0, "site": "hosp-a", "status": "ok",
     "sent_bytes": 1_500_000},
    {"time": 9.0, "event": "round_finished", "round": 0, "participants": ["hosp-a"], "seconds": 61},
)  # fmt: skip
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def fedefm(monkeypatch: Any, capsys: Any) -> Call:
    def call(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["fedefm", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr()
        return int(ended.value.code or 0), told.out, told.err

    return call


class Answers:
    """A server of which a job is known, and nothing else."""

    who = "lead@hub.org"

    def __init__(self, meta: dict[str, Any]) -> None:
        self._meta = {"job_id": JOB, "name": "tiny", **meta}

    def __enter__(self) -> "Answers":
        return self

    def __exit__(self, *ended: object) -> None: ...

    def meta(self, job: str) -> dict[str, Any]:
        return self._meta

    def jobs(self) -> list[dict[str, Any]]:
        return [self._meta]

    def progress(self, job: str, after: int) -> dict[str, Any]:
        told = "" if after else "".join(f"{json.dumps(event)}\n" for event in EVENTS)
        return {"events": told, "next": 1, "standing": {}, "ended": None}


@pytest.fixture
def server(monkeypatch: Any) -> Callable[..., None]:
    def answer(**meta: Any) -> None:
        for command in ("status", "abort", "download"):
            name = f"nvflare_jobs.commands.job_{command}.server_of"
            monkeypatch.setattr(name, lambda kit, quiet: Answers(meta))

    return answer


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_shows_an_example(fedefm: Call, command: str) -> None:
    code, out, _ = fedefm("job", command, "--help")
    assert code == 0
    assert "Example: fedefm job" in out


@pytest.mark.parametrize("command", ["status", "watch", "abort", "download"])
def test_without_a_kit_the_way_to_one_is_told(fedefm: Call, command: str, monkeypatch: Any) -> None:
    monkeypatch.delenv("FEDEFM_ADMIN_KIT", raising=False)
    code, _, error = fedefm("job", command, JOB)
    assert code == 2
    assert "FEDEFM_ADMIN_KIT" in error
    assert error.count("\n") == 1


def test_a_kit_of_a_site_is_not_taken_for_a_persons(
    fedefm: Call, tmp_path: Path, monkeypatch: Any
) -> None:
    (tmp_path / "startup").mkdir()
    (tmp_path / "startup" / "fed_client.json").write_text("{}")
    monkeypatch.setenv("FEDEFM_ADMIN_KIT", str(tmp_path))
    code, _, error = fedefm("job", "status")
    assert code == 2
    assert "startup/fed_admin.json" in error


def test_the_kit_is_looked_at_before_all_else(fedefm: Call, make_run: Any, tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text(dump(make_run()))
    code, _, error = fedefm("job", "submit", str(path), "--kit", str(tmp_path / "none"))
    assert code == 2
    assert "is not the kit of a person" in error


def test_a_run_file_is_checked_before_anybody_logs_in(
    fedefm: Call, make_run: Any, tmp_path: Path
) -> None:
    path, root, startup = tmp_path / "run.yaml", ThrowAwayRoot(), tmp_path / "kit" / "startup"
    path.write_text(dump(make_run()))
    root.issue("startup")
    root.save(startup.parent)
    (startup / "fed_admin.json").write_text('{"admin": {"uid_source": "cert"}}')  # and no server
    for command in (("job", "submit", str(path)), ("run", str(path), "--where", "prod")):
        code, _, error = fedefm(*command, "--kit", str(startup.parent))
        assert code == 2
        assert "--sites" in error


@pytest.mark.parametrize("settings", ["{}", '{"admin": {}}', '{"admin": 3}', "[]", "{"])
def test_a_kit_that_does_not_say_who_logs_in_is_refused(
    fedefm: Call, tmp_path: Path, settings: str
) -> None:
    root, startup = ThrowAwayRoot(), tmp_path / "kit" / "startup"
    root.issue("startup")
    root.save(startup.parent)
    (startup / "fed_admin.json").write_text(settings)
    code, _, error = fedefm("job", "status", "--kit", str(startup.parent))
    assert code == 2
    assert "cannot be read" in error
    assert "get it again" in error


@pytest.fixture
def nobody_there(tmp_path: Path, monkeypatch: Any) -> str:
    """The address that a kit names and at which nobody listens."""
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    root, startup = ThrowAwayRoot(), tmp_path / "kit" / "startup"
    root.issue("startup")
    root.save(startup.parent)
    settings = {"admin": {"host": "127.0.0.1", "port": port}}
    (startup / "fed_admin.json").write_text(json.dumps(settings))
    monkeypatch.setenv("FEDEFM_ADMIN_KIT", str(startup.parent))
    return f"127.0.0.1:{port}"


@pytest.mark.parametrize(
    "command",
    [("job", "status"), ("job", "status", JOB), ("job", "watch", JOB), ("job", "abort", JOB),
     ("job", "download", JOB), ("job", "submit", "RUN"), ("run", "RUN", "--where", "prod")],
    ids=lambda words: " ".join(words[:3]),
)  # fmt: skip
def test_who_is_waited_for_is_said_and_who_is_not_there_is_one_line(
    fedefm: Call, nobody_there: str, make_run: Any, tmp_path: Path, command: tuple[str, ...]
) -> None:
    path = tmp_path / "run.yaml"
    run = make_run()
    path.write_text(
        dump(run.model_copy(update={"model": run.model.model_copy(update={"classes": ("a", "b")})}))
    )
    words = [str(path) if word == "RUN" else word for word in command]
    words += ["--sites", "hosp-a,hosp-b"] if "RUN" in command else []
    words += ["--out", str(tmp_path / "out")] if command[0] == "run" else []
    code, out, error = fedefm(*words)
    said, gone = error.splitlines()
    assert (code, out) == (2, "")
    assert said == f"connecting to {nobody_there} as startup \u2026"
    assert f"{nobody_there} cannot be reached" in gone
    assert not (tmp_path / "out").exists()
    code, out, error = fedefm(*words, "--json")
    assert (code, out, "connecting" in error) == (2, "", False)


def test_a_finished_job_is_a_success_and_a_refused_one_is_not(
    fedefm: Call, server: Callable[..., None]
) -> None:
    server(status="FINISHED:COMPLETED")
    assert fedefm("job", "status", JOB)[0] == 0
    why = "PolicyRefused: the site requires privacy.dp"
    server(status="FINISHED:FAILED_TO_RUN", job_deploy_detail=[f"hosp-a: NVFLARE_ERROR: {why}"])
    code, out, error = fedefm("job", "status", JOB, "--json")
    assert code == 2
    assert json.loads(out)["refused"] == {"hosp-a": why}
    assert f"hosp-a refused it: {why}" in error


def test_what_is_over_is_not_aborted_and_what_runs_not_downloaded(
    fedefm: Call, server: Callable[..., None]
) -> None:
    server(status="FINISHED:COMPLETED")
    code, _, error = fedefm("job", "abort", JOB)
    assert (code, "nothing to abort" in error) == (2, True)
    server(status="RUNNING")
    code, _, error = fedefm("job", "download", JOB)
    assert (code, f"fedefm job watch {JOB}" in error) == (2, True)


def test_of_a_job_that_runs_the_figures_of_the_status_page_are_told(
    fedefm: Call, server: Callable[..., None]
) -> None:
    server(status="RUNNING")
    figures = "1 of 3 rounds done, 1.50 MB sent in all, 1 min 01 s wall time of its rounds"
    assert figures in fedefm("job", "status", JOB)[1].splitlines()


def test_all_jobs_are_listed(fedefm: Call, server: Callable[..., None]) -> None:
    server(status="RUNNING", submitter_name="lead@hub.org")
    code, out, _ = fedefm("job", "status")
    assert code == 0
    head, job = out.splitlines()
    assert head.split()[:2] == ["JOB", "STATE"]
    assert job.split()[:2] == [JOB, "running"]
    assert json.loads(fedefm("job", "status", "--json")[1])[0]["status"] == "RUNNING"


def test_the_command_line_still_loads_without_flare() -> None:
    check = "import sys, nvflare_jobs.cli; sys.exit('nvflare' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0

"""Runs in FLARE's simulator: the same numbers as in one process, and what a kill leaves behind."""

import json
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file

from fedefm.config import RunConfig, dump
from fedefm.errors import ConfigError, ProtocolError
from fedefm.events import EventLog, read_events
from fedefm.train.run import run_in_process
from nvflare_jobs.cli import main
from nvflare_jobs.parties.begun import BEGUN
from nvflare_jobs.parties.places import STATUS_FILE
from nvflare_jobs.simulator import _catch_up, run_in_simulator
from nvflare_jobs.simulator_process import SimulatorProcess

flare = pytest.mark.flare


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """FLARE keeps things in the home folder."""
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def events(folder: Path, kind: str) -> list[dict]:
    return [event for event in read_events(folder / "events.jsonl") if event["event"] == kind]


def client_process(site: str) -> psutil.Process:
    """The simulator's process of ``site``, among those that this test started."""
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # ended, or a zombie
            command = process.cmdline()
            if "--client" in command and command[command.index("--client") + 1] == site:
                return process
    raise AssertionError(f"{site} has no process")


@flare
def test_gives_the_model_and_figures_of_a_run_in_one_process(
    tiny_run, hospitals, tmp_path, left_behind
) -> None:
    simulated = run_in_simulator(tiny_run, hospitals, tmp_path / "a run folder")
    in_process = run_in_process(tiny_run, hospitals, tmp_path / "process")
    ours, theirs = (load_file(f / "model.safetensors") for f in (simulated, in_process))
    for name, tensor in ours.items():
        torch.testing.assert_close(tensor, theirs[name], rtol=1e-4, atol=1e-5)
    results = [json.loads((f / "result.json").read_text()) for f in (simulated, in_process)]
    assert results[0]["metrics"] == pytest.approx(results[1]["metrics"])
    assert results[0]["participation"] == results[1]["participation"]
    assert results[0]["traffic_bytes"] == results[1]["traffic_bytes"]
    assert not (simulated / "flare").exists()
    assert not left_behind()


@pytest.mark.slow
@flare
def test_goes_on_without_a_killed_site_and_resumes_after_all_are_killed(
    make_run, hospitals, tmp_path
) -> None:
    run = make_run(rounds=8, deadline_s=4)
    out = tmp_path / "run"

    def kill_one_then_all(event: dict) -> None:
        if event["event"] == "round_started" and event["round"] == 2:
            client_process("hosp-c").kill()
        if event["event"] == "round_started" and event["round"] == 6:
            for site in ("hosp-a", "hosp-b"):
                client_process(site).kill()

    with pytest.raises(ProtocolError):
        run_in_simulator(run, hospitals, out, listeners=(kill_one_then_all,))
    finished = events(out, "round_finished")
    assert finished[1]["missing"] == {}
    assert all("hosp-c" in event["missing"] for event in finished[4:6])
    assert all(event["participants"] == ["hosp-a", "hosp-b"] for event in finished[4:6])

    run_in_simulator(run, hospitals, out, resume=True)
    result = json.loads((out / "result.json").read_text())
    assert events(out, "run_started")[1]["resumed_from"] >= 6
    assert result["rounds"] == 8
    assert {7} <= set(result["participation"]["hosp-c"])
    assert events(out, "run_finished")[-1]["status"] == "finished"


def training_process(site: str) -> psutil.Process:
    """In which ``site`` trains; FLARE's own process of the site started it."""
    (process,) = client_process(site).children()
    assert "nvflare_jobs.parties.training_process" in process.cmdline()
    return process


def wait_for_the_next_round(out: Path, site: str) -> None:
    """Until ``site`` notes that it plays one; before that a death costs it none."""
    (begun,) = out.rglob(f"{site}/**/{BEGUN}")
    before = json.loads(begun.read_text())["played"]
    while json.loads(begun.read_text())["played"] == before:
        time.sleep(0.01)


@pytest.mark.slow
@flare
def test_a_training_process_that_is_killed_in_a_round_costs_that_round_alone(
    make_run, hospitals, tmp_path, left_behind
) -> None:
    run, out = make_run(rounds=12, deadline_s=60, local_steps=20), tmp_path / "run"

    def kill_one(event: dict) -> None:
        if event["event"] == "round_started" and event["round"] == 2:
            process = training_process("hosp-c")
            wait_for_the_next_round(out, "hosp-c")
            process.kill()

    run_in_simulator(run, hospitals, out, listeners=(kill_one,))
    result = json.loads((out / "result.json").read_text())
    assert all(result["participation"][site] == list(range(12)) for site in ("hosp-a", "hosp-b"))
    missed = sorted(set(range(12)) - set(result["participation"]["hosp-c"]))
    assert len(missed) == 1  # the event travels while rounds go on
    told = events(out, "round_finished")[missed[0]]["missing"]["hosp-c"]
    assert "killed by signal 9 (often: too little memory); it misses this round" in told
    assert events(out, "run_finished")[-1]["status"] == "finished"
    assert not left_behind()


@flare
def test_an_exported_job_holds_no_code_and_runs(
    make_run, hospitals, tmp_path, monkeypatch, capsys
) -> None:
    run = make_run(scenario="client_server", algorithm="fedavg", rounds=2)
    (tmp_path / "run.yaml").write_text(dump(run))
    command = ["fedefm", "job", "export", str(tmp_path / "run.yaml"), str(tmp_path / "jobs")]
    monkeypatch.setattr(sys, "argv", [*command, "--sites", "hosp-a,hosp-b,hosp-c", "--json"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 0
    job = Path(json.loads(capsys.readouterr().out)["job"])
    assert {path.suffix for path in job.rglob("*") if path.is_file()} == {".json"}
    assert str(tmp_path) not in "".join(p.read_text() for p in job.rglob("*.json"))

    folder = tmp_path / "flare"
    folder.mkdir()
    sites = ("hosp-a", "hosp-b", "hosp-c")
    with SimulatorProcess(job, folder, sites, hospitals, tmp_path / "states") as process:
        until = time.monotonic() + 120
        while not (process.server_folder / STATUS_FILE).exists() and time.monotonic() < until:
            time.sleep(0.2)
        told = json.loads((process.server_folder / STATUS_FILE).read_text())
        assert told == {"status": "finished", "error": "", "sentence": ""}
        assert (process.server_folder / "model.safetensors").exists()


def test_a_site_larger_than_secure_sums_allow_for_is_named_before_anything_is_written(
    make_run, hospitals, tmp_path
) -> None:
    run = make_run(scenario="client_server", algorithm="fedavg")
    settings = {**run.model_dump(), "privacy": {"secagg": {"largest_site": 3}}}
    with pytest.raises(ConfigError, match=r"site 'hosp-a' .*largest_site, 3, "):
        run_in_simulator(RunConfig.model_validate(settings), hospitals, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@flare
def test_secure_sums_go_on_without_a_site_that_is_killed_in_one(
    make_run, four_hospitals, tmp_path
) -> None:
    fedavg = {"scenario": "client_server", "algorithm": "fedavg"}
    run = make_run(**fedavg, rounds=3, deadline_s=10, evaluate_every=3)
    run = RunConfig.model_validate({**run.model_dump(), "privacy": {"secagg": {}}})

    def kill_one(event: dict) -> None:
        if event["event"] == "round_started" and event["round"] == 1:
            client_process("hosp-d").kill()

    out = run_in_simulator(run, four_hospitals, tmp_path / "run", listeners=(kill_one,))
    result = json.loads((out / "result.json").read_text())
    assert result["protection"]["secure_sums"]
    assert result["participation"]["hosp-d"] in ([0], [0, 1])
    assert all(result["participation"][site] == [0, 1, 2] for site in ("hosp-a", "hosp-b"))
    measured = [(e["model"], e["split"], e["sites"]) for e in events(out, "metrics")]
    assert ("own", "validation", 3) in measured
    assert ("global", "test", 3) in measured
    assert result["metrics"]["test_images"] == 18
    for kind in ("evaluated", "corpora"):
        assert not events(out, kind)
    assert not list(tmp_path.rglob("*.key"))


def test_refuses_before_it_writes_anything(make_run, hospitals, tmp_path) -> None:
    run = make_run(scenario="centralized", algorithm="none")
    with pytest.raises(ConfigError, match="--where process"):
        run_in_simulator(run, hospitals, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_run_that_was_killed_learns_what_the_coordinator_told_after_it(tmp_path) -> None:
    coordinator = tmp_path / "flare/workspace/server/simulate_job/fedefm_run"
    coordinator.mkdir(parents=True)
    told = EventLog(coordinator / "events.jsonl")
    told.emit("run_started")
    for round_index in range(4):
        told.emit("round_finished", round=round_index)
    lines = (coordinator / "events.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "events.jsonl").write_text("".join(lines[:3]))

    for _ in range(2):  # twice tells nothing twice
        log = EventLog(tmp_path / "events.jsonl")
        _catch_up(tmp_path, log)
        log.close()
        assert (tmp_path / "events.jsonl").read_text() == "".join(lines)

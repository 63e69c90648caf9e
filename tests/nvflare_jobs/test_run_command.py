"""``fedefm run`` as a person meets it: what it leaves, how it refuses, and after a kill."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from fedefm.config import dump
from fedefm.data.manifest import read_manifest, write_manifest
from fedefm.events import read_events
from nvflare_jobs import cli


@dataclass
class Result:
    """How a command ended."""

    code: int
    out: str
    err: str


Run = Callable[..., Result]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the console script on ``fedefm run ...``."""

    def command(*arguments: str | Path) -> Result:
        monkeypatch.setattr(sys, "argv", ["fedefm", "run", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = capsys.readouterr()
        return Result(int(ended.value.code or 0), printed.out, printed.err)

    return command


@pytest.fixture
def run_file(tmp_path: Path, tiny_run: Any) -> Path:
    (tmp_path / "tiny.yaml").write_text(dump(tiny_run))
    return tmp_path / "tiny.yaml"


@pytest.fixture
def own_hospitals(tmp_path: Path, hospitals: Path) -> Path:
    """A copy of the sites that a test may damage."""
    return Path(shutil.copytree(hospitals, tmp_path / "sites"))


def refused(result: Result, *words: str) -> None:
    """Exit code 2 and a sentence, without a traceback and without a patient."""
    assert result.code == 2, result
    assert result.out == ""
    assert "Traceback" not in result.err
    assert "hosp-a-bars-" not in result.err  # how patients are called here
    for word in words:
        assert word in " ".join(result.err.split())


def test_a_run_leaves_everything_that_it_promises(
    run: Run, run_file: Path, hospitals: Path, tmp_path: Path
) -> None:
    out = tmp_path / "runs" / "tiny"
    result = run(run_file, "--sites", hospitals, "--out", out)

    assert result.code == 0, result
    assert "3 rounds at 3 sites; accuracy of the global model" in result.out
    assert result.out.rstrip().endswith(f"report: {out / 'report.html'}")
    for name in (
        "run.yaml", "events.jsonl", "metrics.csv", "model.safetensors",
        "result.json", "report.html", "tensorboard", "state",
    ):  # fmt: skip
        assert (out / name).exists(), name
    assert "hosp-b" in (out / "report.html").read_text(encoding="utf-8")
    assert not list(out.rglob("*unfinished*"))


def test_scripts_get_the_result_alone(
    run: Run, run_file: Path, hospitals: Path, tmp_path: Path
) -> None:
    result = run(run_file, "--sites", hospitals, "--out", tmp_path / "run", "--json")
    assert result.code == 0
    assert json.loads(result.out) == json.loads((tmp_path / "run" / "result.json").read_text())
    assert json.loads(result.out)["protection"]["differential_privacy"] is False


def test_the_run_folder_is_named_after_the_run(
    run: Run, run_file: Path, hospitals: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(run_file, "--sites", hospitals, "--json").code == 0
    assert (tmp_path / "runs" / "tiny" / "result.json").exists()


def test_help_has_an_example(run: Run) -> None:
    result = run("--help")
    assert result.code == 0
    assert "Example: fedefm run examples/ring.yaml" in result.out


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"federation": {"rounds": 0}, "modle": {}}, ["federation.rounds = 0", "modle is not"]),
        ({"federation": {"schedule": "neighbors"}}, ["'swap' needs one partner a round"]),
        ({"federation": {"update": "literal"}}, ["distill.beta is 0"]),
        ({"privacy": {"dp": {"epsilon": 3}}}, ["'hosp-a' refuses", "no epsilon ledger", "ledger:"]),
        ({"privacy": {"dp": {}}}, ["privacy.dp", "epsilon and noise_multiplier"]),
        ({"privacy": {"secagg": {}}}, ["privacy.secagg", "the mean of two", "'grid'"]),
        ({"model": {"backbone": "resnet_nano"}}, ["'resnet_nano' is unknown", "resnet_micro"]),
        ({"model": {"classes": ["bars"]}}, ["unknown label 'disk'", "known labels: bars"]),
        ({"model": {"image_size": 18, "backbone": "vit_micro"}}, ["18"]),
        ({"dataset": "other"}, ["dataset 'other' is not in", "knows pretraining"]),
        ({"federation": {"topology": "stra"}}, ["did you mean 'star'"]),
        ({"federation": {"topology": "graph.gml"}}, ["'graph.gml' is neither"]),
        ({"federation": {"schedule": "hypercube"}}, ["'hypercube' needs 2, 4, 8"]),
        ({"distill": {"pool": 40}}, ["distill.pool"]),
        ({"name": "../../etc"}, ["name = '../../etc'"]),
    ],
)
def test_a_run_file_that_cannot_be_run_is_refused_and_nothing_is_written(
    run: Run, hospitals: Path, tmp_path: Path, changes: dict[str, Any], words: list[str]
) -> None:
    settings = {"model": {"backbone": "resnet_micro", "image_size": 16}, "distill": {"pool": 2}}
    for name, part in changes.items():
        settings[name] = {**settings.get(name, {}), **part} if isinstance(part, dict) else part
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump(settings))
    refused(run(path, "--sites", hospitals, "--out", tmp_path / "out"), *words)
    assert not (tmp_path / "out").exists()


def test_files_and_folders_that_are_not_there_are_named(
    run: Run, run_file: Path, hospitals: Path, tmp_path: Path
) -> None:
    out = ("--out", tmp_path / "out")
    refused(run(tmp_path / "no.yaml", "--sites", hospitals, *out), "no.yaml does not exist")
    refused(run(run_file, "--sites", tmp_path / "no", *out), "sites folder", "fedefm data split")
    (tmp_path / "empty").mkdir()
    refused(run(run_file, "--sites", tmp_path / "empty", *out), "holds a fedefm_site.yaml")
    refused(run(run_file, "--sites", hospitals, *out, "--resume"), "there is no run to resume")
    refused(run(run_file, "--sites", hospitals, "--where", "moon"), "'moon'")
    assert not (tmp_path / "out").exists()


def lose_image(site: Path) -> None:
    (site / "disk-1.png").unlink()


def damage_image(site: Path) -> None:
    (site / "disk-1.png").write_bytes(b"\x89PNG broken")


def empty_manifest(site: Path) -> None:
    write_manifest(site / "manifest.csv", [])


def lose_manifest(site: Path) -> None:
    (site / "manifest.csv").unlink()


def garble_manifest(site: Path) -> None:
    (site / "manifest.csv").write_text("path;label\n1.png;bars\n")


def leave_folder(site: Path) -> None:
    text = (site / "manifest.csv").read_text().replace("disk-1.png", "../hosp-b/disk-1.png")
    (site / "manifest.csv").write_text(text)


def only_test(site: Path) -> None:
    manifest = read_manifest(site / "manifest.csv")
    write_manifest(site / "manifest.csv", [r for r in manifest.rows if r.split == "test"])


def bad_site_file(site: Path) -> None:
    (site / "fedefm_site.yaml").write_text("datasets: {pretraining: {manifest: 3}}\npolcy: {}\n")


def elsewhere(site: Path) -> None:
    (site / "fedefm_site.yaml").write_text("datasets: {pretraining: {manifest: gone.csv}}\n")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lose_image, ["disk-1.png"]),
        (damage_image, ["disk-1.png"]),
        (empty_manifest, ["hosp-a", "no rows"]),
        (lose_manifest, ["manifest.csv"]),
        (garble_manifest, ["manifest.csv"]),
        (leave_folder, ["../hosp-b/disk-1.png"]),
        (only_test, ["hosp-a", "no rows for training"]),
        (bad_site_file, ["2 problems", "datasets.pretraining.manifest", "polcy is not a known"]),
        (elsewhere, ["gone.csv"]),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_site_whose_data_cannot_be_used_is_refused_and_nothing_is_written(
    run: Run,
    run_file: Path,
    own_hospitals: Path,
    tmp_path: Path,
    damage: Callable[[Path], None],
    words: list[str],
) -> None:
    damage(own_hospitals / "hosp-a")
    refused(run(run_file, "--sites", own_hospitals, "--out", tmp_path / "out"), *words)
    assert not (tmp_path / "out").exists()


def test_a_graph_with_a_stranger_is_refused(
    run: Run, make_run: Any, hospitals: Path, tmp_path: Path
) -> None:
    graph = tmp_path / "graph.csv"
    graph.write_text("hosp-a,hosp-b\nhosp-b,hosp-c\nhosp-c,hosp-x\n")
    path = tmp_path / "run.yaml"
    path.write_text(dump(make_run(topology=str(graph))))
    refused(run(path, "--sites", hospitals, "--out", tmp_path / "out"), "'hosp-x' is not a site")
    assert not (tmp_path / "out").exists()


def test_a_folder_in_use_and_another_runs_folder_are_left_alone(
    run: Run, run_file: Path, make_run: Any, hospitals: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    assert run(run_file, "--sites", hospitals, "--out", out, "--json").code == 0
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}

    refused(run(run_file, "--sites", hospitals, "--out", out), "holds a run already", "--resume")
    other = tmp_path / "other.yaml"
    other.write_text(dump(make_run(local_steps=7)))
    refused(
        run(other, "--sites", hospitals, "--out", out, "--resume"),
        "federation.local_steps was 1 and is now 7",
    )
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_an_out_that_is_a_file_is_one_sentence(
    run: Run, run_file: Path, hospitals: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("mine")
    refused(run(run_file, "--sites", hospitals, "--out", tmp_path / "file"), str(tmp_path / "file"))
    assert (tmp_path / "file").read_text() == "mine"


def start(*arguments: str | Path) -> subprocess.Popen[bytes]:
    code = "from nvflare_jobs.cli import main; main()"
    return subprocess.Popen(
        [sys.executable, "-c", code, "run", *map(str, arguments), "--json"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


@pytest.mark.slow
def test_a_run_that_was_killed_resumes_to_the_same_model_and_figures(
    run: Run, make_run: Any, hospitals: Path, tmp_path: Path
) -> None:
    settings = make_run(rounds=12)
    path = tmp_path / "run.yaml"
    path.write_text(dump(settings))
    process = start(path, "--sites", hospitals, "--out", tmp_path / "cut")
    events = tmp_path / "cut" / "events.jsonl"
    deadline = time.monotonic() + 120
    while not (events.exists() and events.read_text().count('"checkpoint"') >= 3):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = sum(event["event"] == "checkpoint" for event in read_events(events))
    assert 3 <= done < 12
    assert not (tmp_path / "cut" / "result.json").exists()

    arguments = ("--sites", hospitals, "--out")
    assert run(path, *arguments, tmp_path / "cut", "--resume", "--json").code == 0
    assert run(path, *arguments, tmp_path / "whole", "--json").code == 0

    def outcome(name: str) -> tuple[bytes, dict[str, Any]]:
        result = json.loads((tmp_path / name / "result.json").read_text())
        del result["seconds"]
        return (tmp_path / name / "model.safetensors").read_bytes(), result

    assert outcome("cut") == outcome("whole")
    resumed = [e for e in read_events(events) if e["event"] == "run_started"][1]
    assert resumed["resumed_from"] >= 2

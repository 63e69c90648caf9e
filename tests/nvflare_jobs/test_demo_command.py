"""``fedefm demo``, shortened: the whole path from simulated images to a report."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fedefm.errors import DataError
from nvflare_jobs import cli
from nvflare_jobs.commands import demonstration


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Runs ``fedefm demo ...`` on few small images; gives the exit code."""
    monkeypatch.setattr(demonstration, "PATIENTS", 10)
    monkeypatch.setattr(demonstration, "MASKED_PATIENTS", 10)
    monkeypatch.setattr(demonstration, "MASKED_FRAMES", 1)
    monkeypatch.setattr(demonstration, "SIZE", 64)
    federation = {"rounds": 3, "local_steps": 1, "host_steps": 1}
    monkeypatch.setattr(demonstration, "RUN", {**demonstration.RUN, "federation": federation})
    monkeypatch.setattr(demonstration, "FINETUNE", {**demonstration.FINETUNE, "steps": 4})

    def command(*arguments: str | Path) -> int:
        monkeypatch.setattr(sys, "argv", ["fedefm", "demo", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return int(ended.value.code or 0)

    return command


@pytest.mark.slow
def test_the_demo_goes_from_images_to_a_report(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "demo"
    assert run("--out", out, "--seed", "3") == 0
    printed = capsys.readouterr().out
    page = out / "run" / "report.html"
    assert printed.rstrip().endswith(f"report: {page.resolve()}")
    for site in demonstration.SITES:
        assert site in printed

    result = json.loads((out / "run" / "result.json").read_text())
    assert (result["algorithm"], result["rounds"]) == ("fedefm-swap", 3)
    assert sorted(result["sites"]) == sorted(demonstration.SITES)
    assert result["metrics"]["test_images"] > 0
    assert list((out / "segmenter").glob("*.safetensors"))
    text = page.read_text(encoding="utf-8")
    assert "fine-tuned on a public set with masks" in text
    for site in demonstration.SITES:
        assert (
            0 < result["privacy"][site]["epsilon"] <= demonstration.RUN["privacy"]["dp"]["epsilon"]
        )
    assert "epsilon" in (out / "privacy" / "privacy.html").read_text(encoding="utf-8")
    assert "https://" not in text.replace("https://arxiv.org", "")  # one offline file

    assert run("--out", out) == 2
    assert "replace it with --again" in capsys.readouterr().err
    assert page.read_text(encoding="utf-8") == text


def test_an_earlier_demo_makes_room_only_when_asked(
    run: Callable[..., int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that was killed before its run began."""

    def stop(*_: object) -> None:
        raise DataError("enough for this test")

    monkeypatch.setattr(demonstration, "write_dataset", stop)
    assert run("--out", tmp_path) == 2
    (tmp_path / "data").mkdir()
    assert run("--out", tmp_path) == 2
    assert (tmp_path / "data").exists()
    assert run("--out", tmp_path, "--again") == 2
    assert not (tmp_path / "data").exists()


def test_another_run_folder_is_not_replaced(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "events.jsonl").touch()
    assert run("--out", tmp_path, "--again") == 2
    assert "not the folder of an earlier demo" in capsys.readouterr().err
    assert (tmp_path / "run" / "events.jsonl").exists()


def test_a_folder_that_is_no_demo_is_not_replaced(
    run: Callable[..., int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    for arguments in (["--out", tmp_path], ["--out", tmp_path, "--again"]):
        assert run(*arguments) == 2
    assert "not the folder of an earlier demo" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]

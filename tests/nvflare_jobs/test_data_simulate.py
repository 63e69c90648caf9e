"""`fedefm data simulate` as a person meets it."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fedefm.data.manifest import read_manifest
from nvflare_jobs import cli

Run = Callable[..., tuple[int, str, str]]
SMALL = ("--domains", "cardiac", "--patients", "2", "--frames", "3", "--size", "48")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def command(*arguments: str | Path) -> tuple[int, str, str]:
        argv = ["fedefm", "data", "simulate", *map(str, arguments)]
        monkeypatch.setattr(sys, "argv", argv)
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err

    return command


def test_help_shows_an_example(run: Run) -> None:
    code, out, _ = run("--help")
    assert code == 0
    assert "Example: fedefm data simulate" in out


def test_a_sequence_is_one_file_a_patient_and_tells_its_rate(run: Run, tmp_path: Path) -> None:
    code, out, _ = run(tmp_path / "sim", *SMALL, "--sequence", "--rate", "7.5")
    assert code == 0
    assert "each patient is one run of 3 frames, 7.5 a second" in out
    rows = read_manifest(tmp_path / "sim" / "manifest.csv").rows
    assert [row.frame for row in rows] == [0, 1, 2, 0, 1, 2]
    assert len({row.path for row in rows}) == 2


def test_json_tells_the_rate_of_a_sequence_and_none_of_stills(run: Run, tmp_path: Path) -> None:
    moving = run(tmp_path / "a", *SMALL, "--sequence", "--json")[1]
    still = run(tmp_path / "b", *SMALL, "--json")[1]
    assert json.loads(moving)["frames_per_second"] == 15
    assert json.loads(still)["frames_per_second"] is None
    assert json.loads(moving)["images"] == json.loads(still)["images"] == 6


def test_distractors_and_negatives_reach_the_frames(run: Run, tmp_path: Path) -> None:
    assert run(tmp_path / "a", *SMALL)[0] == 0
    assert run(tmp_path / "b", *SMALL, "--distractors", "--negatives", "0")[0] == 0
    first, second = (read_manifest(tmp_path / name / "manifest.csv").rows for name in "ab")
    assert all(a.sha256 != b.sha256 for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize(
    ("wish", "reason"),
    [
        (("--rate", "5"), "add --sequence"),
        (("--sequence", "--rate", "0"), "frame rate"),
        (("--sequence", "--rate", "61"), "frame rate"),
        (("--negatives", "2"), "negatives"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(
    run: Run, tmp_path: Path, wish: tuple[str, ...], reason: str
) -> None:
    code, _, err = run(tmp_path / "sim", *SMALL, *wish)
    assert code == 2
    assert reason in err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []

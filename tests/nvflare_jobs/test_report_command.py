"""``fedefm report RUN_FOLDER``."""

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from fedefm.errors import ConfigError, DataError
from fedefm.events import EventLog
from nvflare_jobs.commands import report


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    app.callback()(lambda: None)
    report.register(app)
    return app


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    log = EventLog(tmp_path / "events.jsonl")
    log.emit("run_started", name="small", sites=["a", "b"], rounds=2, edges=[["a", "b"]])
    log.close()
    return tmp_path


def test_makes_the_report_and_says_where_it_is(app: typer.Typer, run_folder: Path) -> None:
    outcome = CliRunner().invoke(app, ["report", str(run_folder)])

    assert outcome.exit_code == 0
    assert outcome.stdout.strip() == str(run_folder / "report.html")
    assert "small" in (run_folder / "report.html").read_text()


def test_tells_scripts_in_json(app: typer.Typer, run_folder: Path) -> None:
    outcome = CliRunner().invoke(app, ["report", str(run_folder), "--json"])

    assert json.loads(outcome.stdout) == {"report": str(run_folder / "report.html")}


def test_help_has_an_example(app: typer.Typer) -> None:
    assert "fedefm report runs/demo" in CliRunner().invoke(app, ["report", "--help"]).stdout


@pytest.mark.parametrize("name", ["missing", "."])
def test_a_folder_without_a_run_is_one_sentence(
    app: typer.Typer, tmp_path: Path, name: str
) -> None:
    outcome = CliRunner().invoke(app, ["report", str(tmp_path / name)])

    assert isinstance(outcome.exception, DataError)
    assert not (tmp_path / "report.html").exists()


def test_two_run_folders_are_compared_in_one_page(
    app: typer.Typer, run_folder: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "events.jsonl").write_bytes((run_folder / "events.jsonl").read_bytes())
    page = tmp_path / "both.html"
    outcome = CliRunner().invoke(
        app, ["report", str(run_folder), str(other), "--out", str(page), "--json"]
    )

    assert json.loads(outcome.stdout) == {"report": str(page), "difference": None}
    assert "Two runs compared" in page.read_text()
    assert not (other / "report.html").exists()


@pytest.mark.parametrize(
    ("given", "why"), [(("a", "b", "c"), "two at a time"), (("a", "--out", "x.html"), "--out is")]
)
def test_more_than_two_or_a_page_for_one_is_refused(
    app: typer.Typer, given: tuple[str, ...], why: str
) -> None:
    outcome = CliRunner().invoke(app, ["report", *given])

    assert isinstance(outcome.exception, ConfigError)
    assert why in str(outcome.exception)


def told_of_two_starts(folder: Path) -> Path:
    score = {"way": "linear probe", "domain": "eye", "seed": 0, "first": 0.1, "second": 0.2}
    told = {"starts": ["a", "b"], "measures": {"eye": "Dice"}, "scores": [score]}
    path = folder / "told.json"
    path.write_text(json.dumps(told))
    return path


def test_two_starts_are_told_in_the_report_of_a_run(app: typer.Typer, run_folder: Path) -> None:
    told = told_of_two_starts(run_folder)
    outcome = CliRunner().invoke(app, ["report", str(run_folder), "--transfer", str(told)])

    assert outcome.exit_code == 0
    assert 'id="transfer"' in (run_folder / "report.html").read_text()


def test_two_starts_belong_to_one_run_that_is_there(app: typer.Typer, tmp_path: Path) -> None:
    told = told_of_two_starts(tmp_path)
    outcome = CliRunner().invoke(app, ["report", "a", "b", "--transfer", str(told)])
    assert isinstance(outcome.exception, ConfigError)
    outcome = CliRunner().invoke(app, ["report", str(tmp_path), "--transfer", str(told)])
    assert isinstance(outcome.exception, DataError)
    assert not (tmp_path / "transfer.json").exists()

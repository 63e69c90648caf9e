"""Two runs side by side: what differs, and no more than one run of each can show."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from fedefm.errors import ConfigError, DataError
from fedefm.report.compare import write_comparison

Maker = Callable[..., Any]


def run_with(
    make: Maker, folder: Path, accuracy: tuple[float, float, float] | None, **settings: Any
) -> Path:
    """A run whose shared model has ``accuracy`` (value, low, high), with other ``settings``."""
    run = make(sites=3, rounds=4).tell()
    run.write(folder)
    metrics = dict(zip(("", "_low", "_high"), accuracy or (), strict=False))
    result = run.result() | {"metrics": {f"global_accuracy{k}": v for k, v in metrics.items()}}
    (folder / "result.json").write_text(json.dumps(result))
    told = yaml.safe_load((folder / "run.yaml").read_text())
    for key, value in settings.items():
        section, _, name = key.partition("__")
        if name:
            told[section][name] = value
        else:
            told[section] = value
    (folder / "run.yaml").write_text(yaml.safe_dump(told))
    return folder


@pytest.fixture
def compared(example_run: Maker, tmp_path: Path) -> Callable[..., tuple[str, dict[str, Any]]]:
    def compare(first: Any, second: Any, **settings: Any) -> tuple[str, dict[str, Any]]:
        a = run_with(example_run, tmp_path / "a", first)
        b = run_with(example_run, tmp_path / "b", second, **settings)
        told = write_comparison(a, b, tmp_path / "out" / "c.html")
        return (tmp_path / "out" / "c.html").read_text().replace("\u00a0", " "), told

    return compare


def test_a_difference_beyond_chance_is_told_as_one_and_of_these_models_alone(compared: Any) -> None:
    page, told = compared((0.5, 0.45, 0.55), (0.8, 0.75, 0.85), training__learning_rate=0.3)

    assert told["beyond_chance"] is True
    assert told["difference"] == pytest.approx(0.3)
    assert "more than the choice of test patients would give by chance" in page
    assert "They differ in 1 setting: training.learning_rate." in page
    assert "one run of each cannot show how far" in page
    assert "+30.0 points (+22.9 to +37.1)" in page
    assert "+30.0 points (95 % interval over patients: +22.9 to +37.1)" in page


def test_the_sentence_and_the_table_tell_a_loss_with_the_same_signs(compared: Any) -> None:
    page, _ = compared((0.8, 0.75, 0.85), (0.5, 0.45, 0.55))
    assert "\u221230.0 points (\u221237.1 to \u221222.9)" in page
    assert "\u221230.0 points (95 % interval over patients: \u221237.1 to \u221222.9)" in page


def test_a_difference_within_chance_is_told_as_that(compared: Any) -> None:
    page, told = compared((0.52, 0.45, 0.6), (0.5, 0.43, 0.57))

    assert told["beyond_chance"] is False
    assert "could give as much by chance" in page
    assert "All settings are the same." in page
    assert "\u22122.0 points" in page


def test_equal_accuracies_are_called_the_same_and_not_better_or_worse(compared: Any) -> None:
    page, told = compared((0.5, 0.4, 0.6), (0.5, 0.4, 0.6))
    assert told["difference"] == 0
    assert "With both shared models the accuracy on test images is 50.0 %" in page
    assert "could hide a difference of \u221214.1 to +14.1 points" in page
    assert "the same (\u221214.1 to +14.1)" in page  # the table
    assert "0.0 points" not in page
    assert "as much by chance" not in page


def test_another_seed_alone_shows_what_chance_in_training_does(compared: Any) -> None:
    page, _ = compared((0.5, 0.4, 0.6), (0.5, 0.4, 0.6), seed=9)
    assert "how far chance in training moves a run" in page


def test_without_an_interval_nothing_is_said_of_chance(compared: Any) -> None:
    page, told = compared((0.5,), (0.8, 0.7, 0.9))

    assert told["difference"] is None
    assert "an interval is missing" in page
    assert "by chance." not in page


def test_other_sites_or_an_unfinished_run_are_warned_of(example_run: Maker, tmp_path: Path) -> None:
    whole = example_run(sites=3, rounds=3).tell().write(tmp_path / "whole")
    cut = example_run(sites=2, rounds=3)
    cut.start()
    cut.tell_round(0)
    cut.write(tmp_path / "cut", result=False)
    write_comparison(whole, tmp_path / "cut", tmp_path / "c.html")
    page = (tmp_path / "c.html").read_text()

    assert "cut is not finished (interrupted)" in page
    assert "They had other sites" in page


def test_what_both_promised_to_patients_stands_side_by_side(
    example_run: Maker, tmp_path: Path
) -> None:
    spent = {"epsilon": 3.251, "delta": 1e-5, "unit": "patient"}
    for name, privacy in (("a", spent), ("b", None)):
        run = example_run(sites=2, rounds=2).tell()
        folder = run.write(tmp_path / name)
        result = run.result() | {"privacy": dict.fromkeys(run.sites, privacy)}
        result["protection"]["differential_privacy"] = privacy is not None
        (folder / "result.json").write_text(json.dumps(result))
    write_comparison(tmp_path / "a", tmp_path / "b", tmp_path / "c.html")
    page = (tmp_path / "c.html").read_text()

    assert "3.26 at delta 1e-05, each patient" in page
    assert "no guarantee" in page
    assert "Nothing limits what the models reveal" in page


def test_runs_of_one_name_go_by_their_folders_and_names_harm_nothing(
    example_run: Maker, tmp_path: Path
) -> None:
    for name in ("<b>one", "two & three"):
        example_run(sites=2, rounds=2).tell().write(tmp_path / name)
    write_comparison(tmp_path / "<b>one", tmp_path / "two & three", tmp_path / "c.html")
    page = (tmp_path / "c.html").read_text()

    assert "&lt;b&gt;one" in page
    assert "<b>" not in page
    assert "two &amp; three" in page


def test_what_is_no_comparison_is_refused_before_anything_is_written(
    example_run: Maker, tmp_path: Path
) -> None:
    run = example_run(sites=2, rounds=2).tell().write(tmp_path / "run")
    (tmp_path / "empty").mkdir()
    page = tmp_path / "new" / "c.html"
    with pytest.raises(ConfigError, match="given twice"):
        write_comparison(run, tmp_path / "empty" / ".." / "run", page)
    with pytest.raises(DataError, match=r"no events\.jsonl"):
        write_comparison(run, tmp_path / "empty", page)
    with pytest.raises(ConfigError, match=r"ends in \.html"):
        write_comparison(run, tmp_path / "empty", tmp_path / "run" / "events.jsonl")
    assert not page.parent.exists()


def test_runs_that_measure_different_things_are_not_compared(
    example_run: Maker, tmp_path: Path
) -> None:
    kinds = run_with(example_run, tmp_path / "kinds", (0.5, 0.4, 0.6))
    painting = run_with(example_run, tmp_path / "painting", None)
    events = painting / "events.jsonl"
    events.write_text(
        events.read_text().replace('"run_started"', '"run_started", "measure": "explained"')
    )
    with pytest.raises(ConfigError, match=r"accuracy, and .* explained variance; compare runs"):
        write_comparison(kinds, painting, tmp_path / "c.html")
    assert not (tmp_path / "c.html").exists()

"""A run of which only sums were told: its curves are there, and nobody's own number."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from fedefm.report.metrics_csv import rows_of
from fedefm.report.progress import progress
from fedefm.report.record import POOLED, RunRecord, read_record
from fedefm.report.run_report import write_report
from fedefm.report.tables import agreement, loss_series, score_series, sent_by_round, site_table

Maker = Callable[..., Any]


@pytest.fixture
def run(example_run: Maker) -> Any:
    return example_run(sites=3, rounds=9).tell().hide_single_numbers()


@pytest.fixture
def record(run: Any, tmp_path: Path) -> RunRecord:
    return read_record(run.write(tmp_path / "run"))


def test_each_curve_is_one_of_all_sites_together(record: RunRecord) -> None:
    split, accuracies = score_series(record)
    assert split == "validation"
    assert accuracies == {POOLED: [(n, pytest.approx(0.3 + (n - 1) / 40)) for n in (3, 6, 9)]}
    assert loss_series(record) == {
        POOLED: [(n, pytest.approx(2 - (n - 1) / 10)) for n in (3, 6, 9)]
    }
    (points,) = agreement(record).values()
    assert points == [(n, pytest.approx(0.9 - (n - 1) / 100)) for n in (3, 6, 9)]


def test_the_table_of_the_sites_says_that_nothing_was_told(record: RunRecord) -> None:
    _, accuracies = score_series(record)
    for row in site_table(record, accuracies):
        assert row[1:6] == ["not told"] * 5


def test_the_page_draws_the_curves_and_says_whose_they_are(record: RunRecord) -> None:
    page = write_report(record.folder).read_text(encoding="utf-8").replace("\u00a0", " ")
    for drawn in (
        "Accuracy by round",
        "Training loss by round",
        "EMD similarity by round",
    ):
        assert drawn in page.split("<main>")[1]
    assert "own models, all sites" in page
    assert "no site's own accuracy is known" in page
    assert "Together, 3 sites trained on 640 images" in page
    assert "lay between 0.82 and 0.88" in page
    assert "Mean similarity of each pair" not in page


@pytest.mark.parametrize(
    ("accuracy", "said"),
    [(0.42, "one round only, round 3: together"), (None, "Accuracy by round: not told in this")],
)
def test_what_was_told_in_one_round_stands_in_words_since_no_table_has_it(
    run: Any, tmp_path: Path, accuracy: float | None, said: str
) -> None:
    sums = [event for event in run.events if event["event"] == "metrics"]
    run.events = [event for event in run.events if event["event"] != "metrics"]
    run.events.append({**sums[0], "accuracy": accuracy})
    page = write_report(run.write(tmp_path / "run", result=False)).read_text(encoding="utf-8")
    page = page.replace("\u00a0", " ")
    assert "The accuracy of the shared model was not measured" in page
    assert said in page
    assert ("42.0 %" in page) is (accuracy is not None)
    assert "the table has it" not in page


def test_no_time_is_told_for_training_where_no_site_told_it(record: RunRecord) -> None:
    untold = {"seconds": {"total": 60.0, "train": None, "exchange": None}}
    (record.folder / "result.json").write_text(json.dumps({**record.result, **untold}))
    page = write_report(record.folder).read_text(encoding="utf-8")
    assert "The rounds took" in page
    assert "went into training" not in page


def test_metrics_csv_has_the_sums_under_all_and_the_final_model_under_global(run: Any) -> None:
    rows = [row for event in run.events for row in rows_of(event)]
    values = {row[:3]: row[3] for row in rows}
    assert values[2, "all", "accuracy/validation"] == pytest.approx(0.35)
    assert values[2, "all", "loss"] == pytest.approx(1.8)
    assert values[2, "all", "similarity"] == pytest.approx(0.88)
    assert values[2, "all", "trained_on"] == 640
    assert values[8, "global", "accuracy/test"] == pytest.approx(0.5)
    told_by_sites = {kind for _, site, kind in values if site in run.sites}
    assert not told_by_sites & {"loss", "accuracy/validation", "accuracy/test"}


@pytest.mark.parametrize("terminal", [True, False])
def test_the_display_shows_them(run: Any, terminal: bool) -> None:
    shown = Console(file=io.StringIO(), force_terminal=terminal, width=120, legacy_windows=False)
    with progress(shown) as listener:
        for event in run.events:
            listener(event)
    assert isinstance(shown.file, io.StringIO)
    text = shown.file.getvalue().replace("\u00a0", " ")
    assert ("own models: 50.0 %" if terminal else "own models 35.0 %") in text
    assert terminal or "loss 1.800" in text


def test_the_bytes_of_the_sums_are_in_the_traffic(record: RunRecord) -> None:
    by_round = dict(sent_by_round(record))
    turns = sum(event.get("sent_bytes") or 0 for event in record.of("round") if event["round"] == 3)
    assert by_round[3] == turns + 100


def test_sums_of_a_round_that_was_repeated_count_once(run: Any, tmp_path: Path) -> None:
    again = [event for event in run.events if event.get("round") == 2]
    end = run.position("round_started", 3)
    run.events[end:end] = [{**event, "accuracy": 0.9} for event in again]
    record = read_record(run.write(tmp_path / "resumed"))
    _, accuracies = score_series(record)
    assert accuracies[POOLED][0] == (3, 0.9)

"""metrics.csv: every number once, also when a run was interrupted and resumed."""

import csv
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedefm.errors import DataError
from fedefm.report.metrics_csv import COLUMNS, MetricsCsv

Maker = Callable[..., Any]


def rows(path: Path) -> list[tuple[str, ...]]:
    with path.open(newline="", encoding="utf-8") as file:
        return [tuple(row) for row in csv.reader(file)]


def tell(path: Path, events: list[dict[str, Any]]) -> None:
    listener = MetricsCsv(path)
    for event in events:
        listener(event)


def test_every_number_of_a_run_is_there(example_run: Maker, tmp_path: Path) -> None:
    run = example_run(sites=2, rounds=3).tell()
    tell(tmp_path / "metrics.csv", run.events)
    head, *values = rows(tmp_path / "metrics.csv")
    first = next(event for event in run.events if event["event"] == "round")

    assert head == COLUMNS
    assert ("0", "Aachen", "loss", str(first["loss"])) in values
    assert {(v[1], v[2]) for v in values} >= {
        ("global", "accuracy/validation"), ("Aachen", "similarity/Bern"), ("all", "participants"),
    }  # fmt: skip
    assert len({v[:3] for v in values}) == len(values)


def test_a_resumed_run_leaves_the_same_file_as_an_uninterrupted_one(
    example_run: Maker, tmp_path: Path
) -> None:
    whole, resumed = tmp_path / "whole.csv", tmp_path / "resumed.csv"
    run = example_run(sites=3, rounds=5).tell()
    events = run.events
    cut = run.position("evaluated", 3)
    start = run.position("round_started", 2)
    tell(whole, events)
    tell(resumed, events[:cut])
    with resumed.open("a") as file:
        file.write("3,Aachen,lo")  # killed in the middle of a line
    tell(resumed, events[start:])

    assert rows(resumed) == rows(whole)


def test_names_with_commas_and_quotes_survive(tmp_path: Path) -> None:
    event = {"event": "evaluated", "round": 0, "site": 'a,"b"', "split": "test", "accuracy": 0.5}
    tell(tmp_path / "metrics.csv", [event])
    tell(tmp_path / "metrics.csv", [])

    assert rows(tmp_path / "metrics.csv")[1] == ("0", 'a,"b"', "accuracy/test", "0.5")


def test_a_loss_that_is_not_a_number_is_kept_as_such(tmp_path: Path) -> None:
    tell(tmp_path / "m.csv", [{"event": "round", "round": 0, "site": "a", "loss": math.nan}])

    assert rows(tmp_path / "m.csv")[1] == ("0", "a", "loss", "nan")


def test_another_file_of_that_name_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "metrics.csv").write_text("my,own,table\n")

    with pytest.raises(DataError, match="move it away"):
        MetricsCsv(tmp_path / "metrics.csv")
    assert (tmp_path / "metrics.csv").read_text() == "my,own,table\n"

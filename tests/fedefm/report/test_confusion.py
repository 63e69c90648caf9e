"""What the report says of corpora that are taken for each other."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedefm.report.confusion import Confusion, confusion_of
from fedefm.report.record import read_record

Maker = Callable[..., Any]


def test_the_best_and_the_worst_are_named_with_what_the_worst_is_taken_for() -> None:
    counts = ((9, 1, 0), (0, 10, 0), (3, 5, 2))
    told = Confusion("test", ("eye", "skin", "lung"), counts).meaning().replace("\u00a0", " ")

    assert told == (
        "The shared model recognizes 100.0 % of skin, the most, and 20.0 % of lung, the least, "
        "which it most often takes for skin (50.0 %)."
    )


def test_equals_are_told_together_and_a_corpus_without_images_not_at_all() -> None:
    zeros = tuple((10, 0, 0, 0, 0) for _ in range(4))
    told = Confusion("test", tuple("abcde"), (*zeros, (0,) * 5))

    assert "the least" in told.meaning()
    assert "each of 3 corpora" not in told.meaning()
    assert "b, c and d" in told.meaning()
    assert "e" not in told.recognized()
    assert Confusion("test", ("a", "b"), ((4, 0), (0, 4))).meaning().endswith("every corpus.")


@pytest.mark.parametrize(
    "counts",
    [[[1, 0]], [[1], [2]], [[0, 0], [0, 0]], [[1, -1], [0, 1]], [["x", 0], [0, 1]], "no"],
)
def test_a_damaged_table_is_passed_over(example_run: Maker, tmp_path: Path, counts: Any) -> None:
    run = example_run(sites=2, rounds=1)
    run.start()
    run.add("confusion", round=0, split="test", classes=["a", "b"], counts=counts)

    assert confusion_of(read_record(run.write(tmp_path, result=False))) is None

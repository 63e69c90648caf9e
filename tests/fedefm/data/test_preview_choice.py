from pathlib import Path

import pytest

from fedefm.data.manifest import Manifest, Row
from fedefm.data.preview_choice import Strip, spread_over_patients, strips_of
from fedefm.errors import DataError


def test_frames_are_of_as_many_patients_as_fit() -> None:
    rows = tuple(Row(f"{k}.png", 0, f"p{k // 10}", "c") for k in range(60))  # 6 patients of 10
    some = Manifest(Path(), rows)
    positions = range(60)
    assert spread_over_patients(some, positions, 3) == [5, 25, 45]
    assert {k // 10 for k in spread_over_patients(some, positions, 6)} == set(range(6))
    eight = spread_over_patients(some, positions, 8)
    assert len(set(eight)) == 8
    assert {k // 10 for k in eight} == set(range(6))
    assert spread_over_patients(some, positions, 100) == list(positions)
    assert spread_over_patients(some, [7, 3], 8) == [3, 7]


def test_strips_are_by_corpus_and_class_and_only_of_what_is_asked_for() -> None:
    rows = (
        Row("0.png", 0, "p", "b", "x|y", split="train"),
        Row("1.png", 0, "q", "b", "y", split="test"),
        Row("2.png", 0, "r", "a", split="test"),
    )
    some = Manifest(Path("/set"), rows)
    a, x, y = Strip("a", "", (2,)), Strip("b", "x", (0,)), Strip("b", "y", (0, 1))
    assert strips_of(some, None, None) == [a, x, y]
    assert strips_of(some, "a", None) == [a]
    assert strips_of(some, None, "test") == [a, Strip("b", "y", (1,))]
    with pytest.raises(DataError, match="no rows of split 'validation'; its corpora are a, b"):
        strips_of(some, None, "validation")

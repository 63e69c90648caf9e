"""What is wrong with rows, told in few words."""

from pathlib import Path

import pytest

from fedefm.data.manifest import Manifest, Row
from fedefm.data.row_faults import FEW, told

MANIFEST = Manifest(Path(), tuple(Row(f"{k}.png") for k in range(9)))


@pytest.mark.parametrize("many", [1, FEW])
def test_a_few_rows_are_named_each(many):
    faults = [(place, "has no mask") for place in range(many)]
    assert told(MANIFEST, faults) == [f"row {k + 2} ({k}.png) has no mask" for k in range(many)]


def test_many_rows_of_one_fault_are_one_sentence_and_rows_without_a_fault_are_none():
    faults = [(place, "has no mask" if place % 2 == 0 else "") for place in range(9)]
    assert told(MANIFEST, faults) == [
        "5 rows (row 2 (0.png), row 4 (2.png), row 6 (4.png) and 2 more): each has no mask"
    ]


def test_each_fault_is_told_by_itself():
    faults = [(0, "has no mask"), (0, "has no label"), (1, "has no mask")]
    assert told(MANIFEST, faults) == [
        "row 2 (0.png) has no mask",
        "row 3 (1.png) has no mask",
        "row 2 (0.png) has no label",
    ]

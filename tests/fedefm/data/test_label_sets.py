from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedefm.data.kinds import names_in
from fedefm.data.label_sets import MOST_LABELS, load_label_sets, memberships
from fedefm.data.manifest import Manifest, Row
from fedefm.errors import ConfigError, DataError

MakeManifest = Callable[..., Manifest]
LINES = ("ETT - Normal", "CVC - Normal", "Swan Ganz")
ROWS = (
    Row("a.png", 0, "p1", "ranzcr", "ETT - Normal|Swan Ganz", split="train"),
    Row("b.png", 0, "p1", "ranzcr", "", split="train"),
    Row("c.png", 0, "p2", "ranzcr", "CVC - Normal", split="train"),
)


def test_each_frame_has_all_of_its_labels_or_none(make_manifest: MakeManifest) -> None:
    dataset = load_label_sets(make_manifest(ROWS), "train", LINES, 16)
    assert dataset.labels.shape == (3,)
    assert memberships(dataset.labels, 3).tolist() == [
        [True, False, True],
        [False, False, False],
        [False, True, False],
    ]
    assert dataset.classes == LINES
    assert dataset.patients.tolist() == [0, 0, 1]


@given(st.lists(st.booleans(), min_size=1, max_size=MOST_LABELS))
def test_a_set_is_a_number_with_one_bit_a_label(held: list[bool]) -> None:
    number = torch.tensor([sum(1 << k for k, has in enumerate(held) if has)])
    assert memberships(number, len(held)).tolist() == [held]


def test_spaces_and_empty_parts_of_a_label_are_nothing() -> None:
    assert names_in(" ETT | |CVC|") == ("ETT", "CVC")
    assert names_in("") == ()


def test_unknown_labels_are_told_all_at_once(make_manifest: MakeManifest) -> None:
    with pytest.raises(DataError, match=r"(?s)known labels: Swan Ganz.*'ETT.*'CVC"):
        load_label_sets(make_manifest(ROWS), "train", ("Swan Ganz",), 16)


def test_an_absent_split_and_too_many_labels_are_refused(make_manifest: MakeManifest) -> None:
    manifest = make_manifest(ROWS)
    with pytest.raises(DataError, match="no rows in split 'test'"):
        load_label_sets(manifest, "test", LINES, 16)
    many = [str(k) for k in range(MOST_LABELS + 1)]
    with pytest.raises(ConfigError, match="too many"):
        load_label_sets(manifest, "train", many, 16)

"""One kind a frame, whatever labels it has."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedefm.config import RunConfig
from fedefm.data.corpora import split_corpora
from fedefm.data.dataset import FrameDataset
from fedefm.data.kinds import kinds_of, names_in
from fedefm.data.manifest import Manifest, Row
from fedefm.errors import DataError
from fedefm.train.workshop import resolve

TUBES = (
    Row("a.png", 0, "p1", "tubes", "ETT|CVC", split="train"),
    Row("b.png", 0, "p2", "tubes", "CVC", split="train"),
    Row("c.png", 0, "p3", "tubes", "", split="train"),
    Row("d.png", 0, "p4", "chest", "normal", split="train"),
    Row("e.png", 0, "p5", "angio", "", split="train"),
)


def rows_of(*pairs: tuple[str, str]) -> list[Row]:
    return [Row("a.png", 0, "p", corpus, label) for corpus, label in pairs]


def test_a_kind_is_the_label_or_else_the_corpus() -> None:
    assert kinds_of(rows_of(("angio", ""), ("angio", "wire"))) == ["angio", "wire"]


def test_a_corpus_with_several_labels_of_one_frame_is_one_kind() -> None:
    assert kinds_of(TUBES) == ["tubes", "tubes", "tubes", "normal", "angio"]


def test_a_run_may_take_a_corpus_for_one_kind() -> None:
    rows = rows_of(("chest", "normal"), ("chest", "ill"), ("angio", ""))
    assert kinds_of(rows, ("chest", "angio")) == ["chest", "chest", "angio"]
    assert kinds_of(rows, ("normal", "angio")) == ["normal", "ill", "angio"]
    both = kinds_of(rows, ("chest", "normal", "angio"))  # a slip in a label is not hidden
    assert both == ["normal", "ill", "angio"]


def test_a_site_without_a_frame_of_several_labels_follows_the_run() -> None:
    assert kinds_of(TUBES[1:3]) == ["CVC", "tubes"]
    assert kinds_of(TUBES[1:3], ("angio", "tubes")) == ["tubes", "tubes"]


labels = st.lists(st.sampled_from(["A", "B", "C"]), max_size=3).map("|".join)


@given(st.lists(st.tuples(st.sampled_from(["x", "y"]), labels), max_size=12))
def test_no_kind_joins_labels_and_equal_corpora_are_treated_alike(
    pairs: list[tuple[str, str]],
) -> None:
    rows = rows_of(*pairs)
    for row, kind in zip(rows, kinds_of(rows), strict=True):
        assert "|" not in kind
        assert kind == row.corpus or (kind,) == names_in(row.label)
        if any(len(names_in(other.label)) > 1 for other in rows if other.corpus == row.corpus):
            assert kind == row.corpus


def test_a_run_learns_the_corpus_and_not_each_set_of_labels(
    make_manifest: Callable[..., Manifest],
) -> None:
    sites = {"one": make_manifest(TUBES[:2], "one"), "two": make_manifest(TUBES[1:], "two")}
    run = RunConfig.model_validate({"name": "a", "federation": {"topology": "ring", "rounds": 1}})
    classes = resolve(run, sites).model.classes
    assert classes == ("angio", "normal", "tubes")
    for manifest, expected in zip(sites.values(), ([2, 2], [2, 2, 1, 0]), strict=True):
        dataset = FrameDataset.from_manifest(manifest, "train", classes, 12)
        assert dataset.labels.tolist() == expected
    with pytest.raises(DataError, match=r"row 2 \(a.png\) has the unknown label 'tubes'"):
        FrameDataset.from_manifest(sites["one"], "train", ("CVC", "ETT"), 12)


def test_sites_are_dealt_the_corpus_and_not_each_set_of_labels() -> None:
    rows = [
        Row(f"{n}.png", 0, f"p{n}", "tubes", ("A|B", "A", "B", "")[n % 4]) for n in range(12)
    ] + [Row(f"x{n}.png", 0, f"x{n}", "angio") for n in range(12)]
    done = split_corpora([Manifest(Path(), tuple(rows))], 2, 1.0, 1)
    assert sorted(kind for own in done.private.values() for kind in own) == ["angio", "tubes"]
    assert done.left_out == 0

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedefm.data.holdout import hold_out, parse_fractions, write_holdout
from fedefm.data.manifest import SPLITS, Manifest, Row, read_manifest
from fedefm.errors import DataError

MakeManifest = Callable[..., Manifest]
fractions = st.tuples(st.integers(1, 60), st.integers(0, 30), st.integers(0, 30)).map(
    lambda parts: tuple(part / sum(parts) for part in parts)
)
many_labels = st.lists(st.sets(st.sampled_from("abcde"), min_size=1), min_size=1, max_size=40)


def rows_of(labels: list[set[str]], images: int = 2) -> list[Row]:
    """A patient for each set of labels; each image has some of them, and together all."""
    return [
        Row(f"{p}-{i}", 0, f"p{p}", "c", "|".join(sorted(names)) if i else min(names))
        for p, names in enumerate(labels)
        for i in range(images)
    ]


def patients(rows: list[Row]) -> dict[str, str]:
    """The split of each patient, who has no more than one."""
    split_of: dict[str, str] = {}
    for row in rows:
        assert split_of.setdefault(row.patient_id, row.split) == row.split
    return split_of


@given(many_labels, fractions, st.integers(0, 99), st.data())
def test_nobody_is_in_two_splits_and_given_ones_stay(labels, shares, seed, data) -> None:
    fixed = data.draw(st.dictionaries(st.integers(0, 40), st.sampled_from(SPLITS), max_size=4))
    rows = [
        replace(row, split=fixed.get(int(row.patient_id[1:]), "") if row.path.endswith("1") else "")
        for row in rows_of(labels)
    ]
    done = hold_out(rows, shares, seed)
    split_of = patients(done)
    assert [replace(row, split="") for row in done] == [replace(row, split="") for row in rows]
    for patient, split in split_of.items():
        allowed = [name for name, share in zip(SPLITS, shares, strict=True) if share]
        given_split = fixed.get(int(patient[1:]))
        assert split == given_split if given_split else split in allowed


@given(st.lists(st.integers(1, 30), min_size=1, max_size=4), fractions, st.integers(0, 99))
def test_every_class_keeps_its_shares_to_within_a_patient(counts, shares, seed) -> None:
    labels = [{"abcd"[k]} for k, count in enumerate(counts) for _ in range(count)]
    split_of = patients(hold_out(rows_of(labels, images=1), shares, seed))
    positive = [share for share in shares if share]
    for k, count in enumerate(counts):
        mine = [f"p{p}" for p, names in enumerate(labels) if names == {"abcd"[k]}]
        got = Counter(split_of[patient] for patient in mine)
        for split, share in zip(SPLITS, shares, strict=True):
            if share and count >= len(positive):
                assert got[split] >= 1
            if min(positive) * count >= 1 or count < len(positive):
                assert abs(got[split] - share * count) <= 1 + 1e-9


@given(many_labels, st.integers(0, 99))
def test_the_seed_decides(labels, seed) -> None:
    rows = rows_of(labels)
    assert hold_out(rows, (0.7, 0.15, 0.15), seed) == hold_out(rows, (0.7, 0.15, 0.15), seed)


def test_another_seed_gives_another_division() -> None:
    rows = rows_of([{"a"}] * 30)
    assert (
        len({tuple(patients(hold_out(rows, (0.5, 0.25, 0.25), s)).items()) for s in range(5)}) > 1
    )


@given(st.integers(0, 99), st.integers(0, 99))
def test_rare_labels_among_common_ones_are_in_every_split(rare, seed) -> None:
    labels = [
        {"common"}
        | ({"rare"} if p in {rare % 40, (rare * 7 + 1) % 40, 39} else set())
        | ({"other"} if p % 9 == 0 else set())
        for p in range(40)
    ]
    done = hold_out(rows_of(labels), (0.7, 0.15, 0.15), seed)
    holders = Counter(name for names in labels for name in names)
    for name, count in holders.items():
        if count >= 3:
            assert {row.split for row in done if name in row.label.split("|")} == set(SPLITS), name


def test_shares_of_many_labels_stay_close() -> None:
    labels = [
        {name for k, name in enumerate("abcdef") if (p * (k + 3)) % (k + 2) == 0} or {"z"}
        for p in range(200)
    ]
    split_of = patients(hold_out(rows_of(labels), (0.6, 0.2, 0.2), 3))
    for name in {name for names in labels for name in names}:
        mine = [f"p{p}" for p, names in enumerate(labels) if name in names]
        got = Counter(split_of[patient] for patient in mine)
        for split, share in zip(SPLITS, (0.6, 0.2, 0.2), strict=True):
            assert abs(got[split] / len(mine) - share) < 0.06, (name, got)


def test_fractions_are_three_numbers_that_add_up() -> None:
    assert parse_fractions("70/15/15") == pytest.approx((0.7, 0.15, 0.15))
    assert parse_fractions("0.8/0/0.2") == pytest.approx((0.8, 0, 0.2))
    for wrong in ("", "70/30", "a/b/c", "70/15/16", "-10/100/10", "nan/1/1", "0/50/50", "inf/1/1"):
        with pytest.raises(DataError, match="fractions"):
            parse_fractions(wrong)


def test_the_manifest_is_written_whole_in_its_folder(
    make_manifest: MakeManifest, tmp_path: Path
) -> None:
    rows = [Row(f"{k}.png", 0, f"p{k}", "c") for k in range(9)]
    folder = make_manifest(rows).folder
    source, shares = folder / "manifest.csv", (0.6, 0.2, 0.2)
    before = source.read_bytes()
    write_holdout(source, folder / "new.csv", shares, 1)
    assert source.read_bytes() == before
    assert {row.split for row in read_manifest(folder / "new.csv").rows} == set(SPLITS)
    for out, reason in (
        (tmp_path / "else.csv", "must be in the folder"),
        (folder / "new.csv", "exists already"),
        (folder / "no" / "new.csv", "must be in the folder"),
    ):
        with pytest.raises(DataError, match=reason):
            write_holdout(source, out, shares, 1)
    write_holdout(source, source, shares, 1)
    assert source.read_bytes() == (folder / "new.csv").read_bytes()
    with pytest.raises(DataError, match=r"every row of .* has a split; --anew"):
        write_holdout(source, source, shares, 1)
    write_holdout(source, source, shares, 2, anew=True)
    assert source.read_bytes() != (folder / "new.csv").read_bytes()

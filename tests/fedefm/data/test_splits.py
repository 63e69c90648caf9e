from collections.abc import Callable, Sequence
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from fedefm.data.manifest import Row
from fedefm.data.splits import assign_splits

MakeRows = Callable[[Sequence[str], int, int], list[Row]]
patients = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 12)), min_size=1, max_size=60)


@given(
    pairs=patients,
    seed=st.integers(0, 99),
    given_splits=st.dictionaries(
        st.integers(0, 12), st.sampled_from(["train", "validation", "test"]), max_size=4
    ),
)
def test_every_patient_has_one_split_and_given_ones_stay(
    pairs: list[tuple[str, int]], seed: int, given_splits: dict[int, str]
) -> None:
    rows = [
        Row(f"{i}.png", 0, f"p{p}", corpus, split=given_splits.get(p, ""))
        for i, (corpus, p) in enumerate(pairs)
    ]
    done = assign_splits(rows, seed)
    assert [replace(row, split="") for row in done] == [replace(row, split="") for row in rows]
    split_of: dict[str, str] = {}
    for before, row in zip(rows, done, strict=True):
        assert row.split in ("train", "validation", "test")
        assert split_of.setdefault(row.patient_id, row.split) == row.split
        assert before.split in ("", row.split)


def test_each_label_is_divided_by_the_shares(corpora_rows: MakeRows) -> None:
    done = assign_splits(corpora_rows(["a", "b"], 20, 2), seed=1, shares=(0.1, 0.25))
    for corpus in ("a", "b"):
        splits = [row.split for row in done if row.corpus == corpus]
        assert [splits.count(s) for s in ("train", "validation", "test")] == [26, 4, 10]


def test_few_patients_still_give_some_to_test(corpora_rows: MakeRows) -> None:
    for count, expected in ((1, ["train"]), (2, ["test", "train"])):
        done = assign_splits(corpora_rows(["a"], count, 1), seed=1)
        assert sorted(row.split for row in done) == expected
    three = assign_splits(corpora_rows(["a"], 3, 1), seed=1)
    assert sorted(row.split for row in three) == ["test", "train", "validation"]


def test_seed_and_label_decide_not_the_company(corpora_rows: MakeRows) -> None:
    rows = corpora_rows(["a"], 10, 1)
    alone = assign_splits(rows, seed=1)
    together = assign_splits([*corpora_rows(["b"], 7, 1), *rows], seed=1)
    assert together[7:] == alone
    assert assign_splits(rows, seed=2) != alone

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedefm.data.corpora import Division, deal_labels, site_names, split_corpora
from fedefm.data.kinds import kinds_of
from fedefm.data.manifest import Manifest, Row
from fedefm.errors import DataError

MakeRows = Callable[[Sequence[str], int, int], list[Row]]
NAMES = [f"c{i:02d}" for i in range(12)]


def division(rows: list[Row], sites: int, unseen: float, seed: int = 1) -> Division:
    return split_corpora([Manifest(Path(), tuple(rows))], sites, unseen, seed)


def labels(done: Division, site: str) -> set[str]:
    return {held.kind for held in done.held[site]}


@st.composite
def some_rows(draw: st.DrawFn) -> list[Row]:
    """Corpora with some patients each, a few of whom occur in two corpora."""
    rows = []
    for corpus in NAMES[: draw(st.integers(1, 12))]:
        for number in range(draw(st.integers(1, 9))):
            rows.append(Row(f"{corpus}-{number}.png", 0, f"{corpus}-{number}", corpus))
    for number in range(draw(st.integers(0, 3))):
        corpus = draw(st.sampled_from([row.corpus for row in rows]))
        patient = draw(st.sampled_from([row.patient_id for row in rows]))
        rows.append(Row(f"extra-{number}.png", 0, patient, corpus))
    return rows


@given(rows=some_rows(), sites=st.integers(1, 6), unseen=st.floats(0, 1), seed=st.integers(0, 9))
def test_whatever_is_divided_holds_what_was_promised(
    rows: list[Row], sites: int, unseen: float, seed: int
) -> None:
    try:
        done = division(rows, sites, unseen, seed)
    except DataError:
        return
    home: dict[str, str] = {}
    splits: dict[str, str] = {}
    places = set()
    for site in done.sites:
        for held in done.held[site]:
            assert held.row.path == rows[held.position].path
            assert home.setdefault(held.row.patient_id, site) == site
            assert splits.setdefault(held.row.patient_id, held.row.split) == held.row.split
            places.add(held.position)
        assert labels(done, site) <= {*done.common, *done.private[site]}
        assert any(held.row.split == "train" for held in done.held[site])
    assert len(places) + done.left_out == len(rows)
    everyone = [label for own in done.private.values() for label in own] + list(done.common)
    assert sorted(everyone) == sorted({*kinds_of(rows)})
    assert abs(done.reached - unseen) <= 0.25


@pytest.mark.parametrize("sites", [2, 4, 5, 12])
def test_all_unseen_means_no_label_at_two_sites(corpora_rows: MakeRows, sites: int) -> None:
    done = division(corpora_rows(NAMES, 6, 2), sites, 1.0)
    held = [labels(done, site) for site in done.sites]
    assert sum(map(len, held)) == len(set().union(*held)) == 12
    assert max(map(len, held)) - min(map(len, held)) <= 1
    assert done.reached == 1
    assert done.left_out == 0


def test_none_unseen_means_every_label_everywhere(corpora_rows: MakeRows) -> None:
    done = division(corpora_rows(NAMES, 8, 2), 4, 0.0)
    for site in done.sites:
        assert labels(done, site) == set(NAMES)
        assert len(done.held[site]) == 12 * 2 * 2  # patients are divided evenly
    assert done.reached == 0


@pytest.mark.parametrize(
    ("count", "sites", "unseen", "common", "private"),
    [(12, 4, 0.5, 2, [3, 3, 2, 2]), (10, 4, 0.5, 2, [2, 2, 2, 2]), (11, 2, 0.8, 1, [5, 5])],
)
def test_in_between_the_nearest_share_is_taken(
    count: int, sites: int, unseen: float, common: int, private: list[int]
) -> None:
    shared, own = deal_labels(dict.fromkeys(NAMES[:count], 20), site_names(sites), unseen, 1)
    assert len(shared) == common
    assert [len(labels) for labels in own.values()] == private


def test_labels_with_few_patients_are_never_common() -> None:
    patients = dict.fromkeys(NAMES, 20) | {"c03": 2, "c07": 1}
    for seed in range(20):
        common, _ = deal_labels(patients, site_names(4), 0.3, seed)
        assert not {"c03", "c07"} & set(common)


def test_the_seed_decides(corpora_rows: MakeRows) -> None:
    rows = corpora_rows(NAMES, 5, 1)
    assert division(rows, 4, 1.0, 1) == division(rows, 4, 1.0, 1)
    assert division(rows, 4, 1.0, 1).private != division(rows, 4, 1.0, 2).private


def test_the_test_images_do_not_depend_on_the_division(corpora_rows: MakeRows) -> None:
    rows = corpora_rows(NAMES, 12, 1)
    found = set()
    for sites, unseen in ((2, 0.0), (4, 0.5), (4, 1.0), (12, 1.0)):
        done = division(rows, sites, unseen)
        held = [item.row for items in done.held.values() for item in items]
        found.add(frozenset(row.path for row in held if row.split == "test"))
    assert len(found) == 1


def test_a_patient_of_two_private_labels_stays_at_one_site(corpora_rows: MakeRows) -> None:
    rows = [*corpora_rows(["a", "b"], 3, 3), Row("x.png", 0, "a-patient-0", "b")]
    done = division(rows, 2, 1.0)
    assert done.left_out == 1
    kept = {item.row.path for items in done.held.values() for item in items}
    assert "x.png" not in kept


def test_several_manifests_keep_their_number(corpora_rows: MakeRows) -> None:
    sources = [Manifest(Path(name), tuple(corpora_rows([name], 3, 1))) for name in ("a", "b")]
    done = split_corpora(sources, ["north", "south"], 1.0, 1)
    assert done.sites == ("north", "south")
    for items in done.held.values():
        for item in items:
            assert sources[item.source].rows[item.position].path == item.row.path


@pytest.mark.parametrize(
    ("corpora", "patients", "sites", "unseen", "sentence"),
    [
        (3, 5, 4, 1.0, "3 labels are too few for 4 sites with an unseen share of 1.0"),
        (1, 5, 4, 0.6, "1 label is too few for 4 sites"),
        (2, 3, 4, 0.0, "has 1 patients to train on, too few for 4 sites"),
        (2, 3, 0, 0.0, "0 sites is too few"),
        (2, 3, 2, 1.5, "the unseen share is 1.5; it must lie between 0 and 1"),
        (2, 3, 2, float("nan"), "it must lie between 0 and 1"),
    ],
)
def test_impossible_wishes_are_refused_in_one_sentence(
    corpora_rows: MakeRows, corpora: int, patients: int, sites: int, unseen: float, sentence: str
) -> None:
    with pytest.raises(DataError, match=sentence):
        division(corpora_rows(NAMES[:corpora], patients, 1), sites, unseen)


def test_a_site_without_images_to_train_on_is_refused() -> None:
    rows = [Row(f"{s}.png", 0, s, s, split=s) for s in ("train", "test")]
    with pytest.raises(DataError, match="would have no images to train on"):
        division(rows, 2, 1.0)


@pytest.mark.parametrize("names", [[], ["a", "a"]])
def test_site_names_must_differ(corpora_rows: MakeRows, names: list[str]) -> None:
    source = Manifest(Path(), tuple(corpora_rows(["a"], 3, 1)))
    with pytest.raises(DataError, match="names that differ"):
        split_corpora([source], names, 0.0, 1)

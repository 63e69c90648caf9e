"""Runs with 1, 5, 10, 20 and 100 % of the labels compare more labels, never other ones."""

from itertools import pairwise
from pathlib import Path

import torch
from hypothesis import given
from hypothesis import strategies as st

from fedefm.data.manifest import Manifest, Row
from fedefm.finetune.labels import labeled_manifest, labeled_rows

SHARES = (0.01, 0.05, 0.1, 0.2, 1.0)
patients_of_rows = st.lists(st.integers(0, 200), min_size=1, max_size=300)


@given(patients_of_rows, st.integers(0, 1000))
def test_each_share_holds_the_patients_of_the_smaller_ones_whole(owners, seed):
    patients = torch.tensor(owners)
    chosen = [set(labeled_rows(patients, share, seed).tolist()) for share in SHARES]
    for fewer, more in pairwise(chosen):
        assert fewer <= more
    for rows in chosen:
        inside = {owners[row] for row in rows}
        assert rows == {row for row, owner in enumerate(owners) if owner in inside}
    assert chosen[-1] == set(range(len(owners)))
    whole = len(set(owners))
    counts = [len({owners[row] for row in rows}) for rows in chosen]
    assert counts == [max(1, round(share * whole)) for share in SHARES]


@given(patients_of_rows, st.integers(0, 1000), st.randoms())
def test_which_patients_does_not_depend_on_the_order_of_their_images(owners, seed, random):
    mixed = random.sample(owners, len(owners))
    for share in SHARES:
        a, b = (torch.tensor(each) for each in (owners, mixed))
        assert a[labeled_rows(a, share, seed)].unique().tolist() == (
            b[labeled_rows(b, share, seed)].unique().tolist()
        )


@given(patients_of_rows, st.integers(0, 1000))
def test_of_private_training_the_shares_are_nested_and_of_whole_patients_too(owners, seed):
    rows = [Row(f"{k}.png", 0, f"p{who}", split="train") for k, who in enumerate(owners)]
    whole = Manifest(Path("/nowhere"), tuple(rows))
    chosen = [labeled_manifest(whole, share, seed).rows for share in SHARES]
    for fewer, more in pairwise(chosen):
        assert set(fewer) <= set(more)
    for kept in chosen:
        inside = {row.patient_id for row in kept}
        assert kept == tuple(row for row in rows if row.patient_id in inside)
    assert chosen[-1] == whole.rows

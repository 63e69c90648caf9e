from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedefm.data.manifest import Manifest, Row
from fedefm.errors import ConfigError
from fedefm.finetune.labels import labeled_manifest, labeled_rows

patient_lists = st.lists(st.integers(0, 30), min_size=1, max_size=80).map(torch.tensor)


@given(patient_lists, st.floats(0.01, 1), st.floats(0.01, 1), st.integers(0, 5))
def test_smaller_fractions_are_inside_larger_ones_and_patients_stay_whole(patients, a, b, seed):
    small, large = (labeled_rows(patients, f, seed) for f in sorted((a, b)))
    assert set(small.tolist()) <= set(large.tolist())
    assert len(small) > 0
    inside = torch.zeros(len(patients), dtype=torch.bool)
    inside[small] = True
    assert not set(patients[inside].tolist()) & set(patients[~inside].tolist())


def test_the_share_is_of_patients_and_the_seed_decides_which():
    patients = torch.arange(40).repeat_interleave(3)
    rows = labeled_rows(patients, 0.1, seed=1)
    assert len(rows) == 4 * 3
    assert not torch.equal(rows, labeled_rows(patients, 0.1, seed=2))
    assert len(labeled_rows(patients, 1.0, seed=1)) == 120


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.2])
def test_an_impossible_fraction_is_one_sentence(fraction):
    with pytest.raises(ConfigError, match="label fraction"):
        labeled_rows(torch.arange(3), fraction, seed=0)


def manifest_of(patients: int) -> Manifest:
    """Two training rows of each patient, and one patient for the test."""
    rows = [
        Row(f"{p}-{k}.png", 0, f"p{p}", "c", split="train") for p in range(patients) for k in "ab"
    ]
    return Manifest(Path("/nowhere"), (*rows, Row("t.png", 0, "t", "c", split="test")))


def patients_of(manifest: Manifest) -> set[str]:
    return {row.patient_id for row in manifest.rows}


def test_of_private_labels_each_patient_is_drawn_whatever_the_others_are() -> None:
    for seed in range(5):
        kept = patients_of(labeled_manifest(manifest_of(50), 0.4, seed))
        fewer = patients_of(labeled_manifest(manifest_of(49), 0.4, seed))
        assert kept - {"p49"} == fewer
        assert "t" in kept


def test_private_labels_are_a_share_of_whole_patients_and_nested() -> None:
    whole = manifest_of(400)
    tenth, half = (labeled_manifest(whole, share, seed=1) for share in (0.1, 0.5))
    assert 20 < len(patients_of(tenth)) < 65
    assert 160 < len(patients_of(half)) < 240
    assert patients_of(tenth) < patients_of(half)
    assert all(sum(row.patient_id == p for row in half.rows) in (1, 2) for p in patients_of(half))
    assert labeled_manifest(whole, 1.0, seed=1) == whole


@pytest.mark.parametrize("fraction", [0, -1, 1.01])
def test_a_share_of_private_labels_that_is_none_is_refused(fraction: float) -> None:
    with pytest.raises(ConfigError, match="label fraction"):
        labeled_manifest(manifest_of(2), fraction, seed=1)

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedefm.errors import ConfigError
from fedefm.finetune.labels import labeled_rows

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

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedefm.finetune.bootstrap import by_patient, patient_intervals, pooled_intervals


def column(*scores):
    return np.array(scores, float)[:, None]


def test_patients_count_alike_in_one_mean_and_by_their_images_in_the_other():
    sums = by_patient(column(1, 1, 1, 0), np.array([7, 7, 7, 3]))
    assert pooled_intervals(sums)[0].value == 0.75
    assert patient_intervals(sums)[0].value == 0.5


def test_undefined_scores_are_left_out_and_their_patient_is_not_counted():
    sums = by_patient(column(1, np.nan, 0.5, np.nan), np.array([0, 0, 1, 2]))
    interval = patient_intervals(sums)[0]
    assert (interval.value, interval.patients) == (0.75, 2)


@given(st.lists(st.tuples(st.integers(0, 4), st.floats(0, 1)), min_size=1, max_size=30))
def test_the_interval_holds_the_extremes_of_the_patients_and_its_order(rows):
    patients, scores = map(np.array, zip(*rows, strict=True))
    sums = by_patient(scores[:, None], patients)
    interval = patient_intervals(sums, draws=200)[0]
    means = [scores[patients == p].mean() for p in np.unique(patients)]
    assert interval.value == pytest.approx(np.mean(means))
    if len(means) > 1:
        assert min(means) - 1e-9 <= interval.low <= interval.high <= max(means) + 1e-9
    else:
        assert np.isnan(interval.low)


def test_intervals_are_those_of_drawing_patients_in_a_loop():
    rng = np.random.default_rng(1)
    patients = rng.integers(0, 12, 80)
    scores = rng.random(80)
    sums = by_patient(scores[:, None], patients)
    means = np.array([scores[patients == p].mean() for p in np.unique(patients)])
    drawn = [rng.choice(means, len(means)).mean() for _ in range(4000)]
    interval = patient_intervals(sums, draws=4000)[0]
    assert interval.low == pytest.approx(np.quantile(drawn, 0.025), abs=0.01)
    assert interval.high == pytest.approx(np.quantile(drawn, 0.975), abs=0.01)


def test_many_alike_images_of_few_patients_make_no_narrower_interval():
    few = by_patient(column(0.2, 0.4, 0.9), np.arange(3))
    many = by_patient(np.repeat(column(0.2, 0.4, 0.9), 50, axis=0), np.repeat(np.arange(3), 50))
    assert pooled_intervals(few)[0].low == pytest.approx(pooled_intervals(many)[0].low)


def test_the_interval_covers_the_truth_about_as_often_as_it_says():
    rng = np.random.default_rng(2)
    covered = 0
    for trial in range(200):
        centers = rng.normal(0.5, 0.1, 30)  # one level per patient, three alike images each
        sums = by_patient(np.repeat(centers, 3)[:, None], np.repeat(np.arange(30), 3))
        interval = pooled_intervals(sums, seed=trial, draws=300)[0]
        covered += interval.low <= 0.5 <= interval.high
    assert 0.87 <= covered / 200 <= 0.99


def test_same_seed_same_interval():
    sums = by_patient(np.random.default_rng(0).random((20, 2)), np.arange(20))
    assert patient_intervals(sums, seed=3) == patient_intervals(sums, seed=3)
    assert patient_intervals(sums, seed=3) != patient_intervals(sums, seed=4)

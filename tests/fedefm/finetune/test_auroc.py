import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import mannwhitneyu

from fedefm.finetune.auroc import auroc, auroc_intervals


def by_pairs(scores, truth):
    """The share of pairs in the right order, a tie counting half."""
    pairs = [(a, b) for a in scores[truth] for b in scores[~truth]]
    return np.mean([1.0 if a > b else 0.5 if a == b else 0.0 for a, b in pairs])


rows = st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=2, max_size=25)


@given(rows)
def test_it_is_the_share_of_pairs_in_the_right_order(pairs):
    scores, truth = (np.array(column)[:, None] for column in zip(*pairs, strict=True))
    area = auroc(scores.astype(float), truth)[0]
    if truth.all() or not truth.any():
        assert np.isnan(area)
    else:
        assert area == pytest.approx(by_pairs(scores[:, 0], truth[:, 0]))


def test_it_is_mann_and_whitneys_statistic_for_one_pair():
    rng = np.random.default_rng(0)
    scores, truth = rng.normal(size=(300, 4)).round(1), rng.random((300, 4)) < 0.2
    theirs = [
        mannwhitneyu(score[has], score[~has]).statistic / (has.sum() * (~has).sum())
        for score, has in zip(scores.T, truth.T, strict=True)
    ]
    np.testing.assert_allclose(auroc(scores, truth), theirs)


@given(rows)
def test_only_the_order_of_scores_counts(pairs):
    scores, truth = (np.array(column)[:, None] for column in zip(*pairs, strict=True))
    there, mirrored = auroc(np.exp(scores), truth), auroc(-scores.astype(float), truth)
    np.testing.assert_allclose(auroc(scores.astype(float), truth), there)
    np.testing.assert_allclose(there, 1 - mirrored)


def test_intervals_are_those_of_drawing_patients_in_a_loop():
    rng = np.random.default_rng(1)
    patients = rng.integers(0, 40, 160)
    truth = rng.random((160, 2)) < 0.3
    scores = truth + rng.normal(size=truth.shape)
    macro, each = auroc_intervals(scores, truth, patients, draws=1500)
    drawn = []
    for _ in range(1500):
        picked = rng.choice(np.unique(patients), 40)
        rows = np.concatenate([np.flatnonzero(patients == p) for p in picked])
        drawn.append(auroc(scores[rows], truth[rows]))
    for k in (0, 1):
        low, high = np.nanquantile([areas[k] for areas in drawn], (0.025, 0.975))
        assert (each[k].low, each[k].high) == pytest.approx((low, high), abs=0.02)
    low, high = np.nanquantile(np.mean(drawn, axis=1), (0.025, 0.975))
    assert (macro.low, macro.high) == pytest.approx((low, high), abs=0.02)
    assert macro.value == pytest.approx(np.mean([one.value for one in each]))


def test_a_label_that_nobody_has_is_left_out_of_the_mean():
    truth = np.array([[1, 0], [0, 0], [1, 0], [0, 0]], bool)
    scores = np.array([[3.0, 1], [1, 2], [2, 3], [0, 4]])
    macro, each = auroc_intervals(scores, truth, np.arange(4), draws=50)
    assert (macro.value, each[0].value) == (1, 1)
    assert np.isnan(each[1].value)
    assert np.isnan(each[1].low)


def test_one_patient_has_no_interval():
    truth = np.array([[True], [False]])
    macro, _ = auroc_intervals(np.array([[1.0], [0]]), truth, np.zeros(2, int))
    assert macro.value == 1
    assert np.isnan(macro.low)

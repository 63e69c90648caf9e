import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedefm.finetune.auprc import _weighted, auprc, auprc_intervals


def by_image(scores, truth):
    """Of each image with the label the share of those that score no lower and have it, too."""
    return np.mean([truth[scores >= score].mean() for score in scores[truth]])


rows = st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=1, max_size=25)


@given(rows)
def test_it_is_the_mean_precision_at_the_images_with_the_label(pairs):
    scores, truth = (np.array(column)[:, None] for column in zip(*pairs, strict=True))
    area = auprc(scores.astype(float), truth)[0]
    if truth.any():
        assert area == pytest.approx(by_image(scores[:, 0], truth[:, 0]))
    else:
        assert np.isnan(area)


def test_it_is_what_torchmetrics_calls_average_precision():
    import fedefm.model  # noqa: F401 - torchmetrics imports torchvision, which needs a repair

    metrics = pytest.importorskip("torchmetrics.functional.classification")
    rng = np.random.default_rng(0)
    scores, truth = rng.random((300, 4)).round(2), rng.random((300, 4)) < 0.2
    theirs = [
        metrics.binary_average_precision(torch.from_numpy(score), torch.from_numpy(has.astype(int)))
        for score, has in zip(scores.T, truth.T, strict=True)
    ]
    np.testing.assert_allclose(auprc(scores, truth), theirs, rtol=1e-6)


@given(rows)
def test_only_the_order_of_scores_counts(pairs):
    scores, truth = (np.array(column)[:, None] for column in zip(*pairs, strict=True))
    np.testing.assert_allclose(auprc(scores.astype(float), truth), auprc(np.exp(scores), truth))


def test_who_gives_all_the_same_score_gets_the_share_of_images_with_the_label():
    truth = np.array([[True], [False], [False], [True], [False]])
    assert auprc(np.zeros((5, 1)), truth)[0] == pytest.approx(0.4)


@given(rows, st.integers(0, 1000))
def test_intervals_weigh_images_as_often_as_they_are_drawn(pairs, seed):
    """To draw an image twice is to have it twice."""
    scores, truth = (np.array(column)[:, None] for column in zip(*pairs, strict=True))
    times = np.random.default_rng(seed).integers(0, 4, len(scores))
    drawn = np.repeat(np.arange(len(scores)), times)
    expected = np.array([np.nan])
    if len(drawn):
        expected = auprc(scores[drawn].astype(float), truth[drawn])
    weighted = _weighted(scores.astype(float), truth, times[None].astype(float))[0]
    np.testing.assert_allclose(weighted, expected)


def test_intervals_are_those_of_drawing_patients_in_a_loop():
    rng = np.random.default_rng(1)
    patients = rng.integers(0, 40, 160)
    truth = rng.random((160, 2)) < 0.3
    scores = truth + rng.normal(size=truth.shape)
    macro, each = auprc_intervals(scores, truth, patients, draws=1500)
    drawn = []
    for _ in range(1500):
        picked = rng.choice(np.unique(patients), 40)
        rows = np.concatenate([np.flatnonzero(patients == p) for p in picked])
        drawn.append(auprc(scores[rows], truth[rows]))
    for k in (0, 1):
        low, high = np.nanquantile([areas[k] for areas in drawn], (0.025, 0.975))
        assert (each[k].low, each[k].high) == pytest.approx((low, high), abs=0.03)
    low, high = np.nanquantile(np.mean(drawn, axis=1), (0.025, 0.975))
    assert (macro.low, macro.high) == pytest.approx((low, high), abs=0.03)
    assert macro.value == pytest.approx(np.mean([one.value for one in each]))


def test_a_label_that_nobody_has_is_left_out_of_the_mean():
    truth = np.array([[1, 0], [0, 0], [1, 0], [0, 0]], bool)
    scores = np.array([[3.0, 1], [1, 2], [2, 3], [0, 4]])
    macro, each = auprc_intervals(scores, truth, np.arange(4), draws=50)
    assert (macro.value, each[0].value) == (1, 1)
    assert np.isnan(each[1].value)
    assert np.isnan(each[1].low)


def test_one_patient_has_no_interval():
    truth = np.array([[True], [False]])
    macro, _ = auprc_intervals(np.array([[1.0], [0]]), truth, np.zeros(2, int))
    assert macro.value == 1
    assert np.isnan(macro.low)

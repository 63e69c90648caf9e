import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.distance import cdist

from fedefm.finetune.hausdorff import hd95

CLASSES = 3
label_maps = hnp.arrays(np.int64, (1, 9, 12), elements=st.integers(0, CLASSES - 1))
PIXELS = np.ones((1, 2))


def outline_points(mask):
    """Pixels with a neighbor outside the mask, one at a time."""
    padded = np.pad(mask, 1)
    return np.array(
        [
            (r, c)
            for r, c in np.argwhere(mask)
            if not all(
                padded[r + 1 + dr, c + 1 + dc] for dr, dc in ((0, 1), (1, 0), (0, -1), (-1, 0))
            )
        ]
    )


def brute_force(predicted, truth, spacing):
    between = cdist(outline_points(predicted) * spacing, outline_points(truth) * spacing)
    return max(np.percentile(between.min(axis=k), 95) for k in (0, 1))


@given(label_maps, label_maps, st.floats(0.1, 4), st.floats(0.1, 4))
def test_it_is_the_distance_of_all_pairs_of_points(predicted, truth, high, wide):
    spacing = np.array([[high, wide]])
    scores = hd95(predicted, truth, CLASSES, spacing)
    for k in (1, 2):
        found, true = predicted[0] == k, truth[0] == k
        if not true.any():
            assert np.isnan(scores[0, k - 1])
        elif found.any():
            assert scores[0, k - 1] == pytest.approx(brute_force(found, true, spacing[0]))


@given(label_maps, label_maps)
def test_it_is_the_same_from_both_sides_and_zero_for_the_truth(predicted, truth):
    there, back = (hd95(a, b, CLASSES, PIXELS) for a, b in ((predicted, truth), (truth, predicted)))
    both = ~np.isnan(there) & ~np.isnan(back)
    np.testing.assert_allclose(there[both], back[both])
    assert np.nansum(hd95(truth, truth, CLASSES, PIXELS)) == 0


def test_a_missed_device_is_as_far_away_as_the_frame_is_large():
    truth = np.zeros((1, 31, 41), int)
    truth[0, 5] = 1
    nothing = np.zeros_like(truth)
    assert hd95(nothing, truth, 3, PIXELS)[0, 0] == 50
    assert hd95(nothing, truth, 3, np.array([[0.5, 0.5]]))[0, 0] == 25
    assert np.isnan(hd95(truth, nothing, 3, PIXELS)).all()


def test_one_stray_pixel_in_a_hundred_does_not_decide():
    truth = np.zeros((1, 120, 120), int)
    truth[0, 10, :100] = 1
    stray = truth.copy()
    stray[0, 110, 5] = 1
    assert hd95(stray, truth, 2, PIXELS)[0, 0] == 0


def test_an_unknown_pixel_size_gives_no_distance():
    truth = np.ones((2, 6, 6), int)
    spacing = np.array([[np.nan, np.nan], [1, 1]])
    assert np.isnan(hd95(truth, truth, 2, spacing)).tolist() == [[True], [False]]

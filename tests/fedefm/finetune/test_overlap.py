import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedefm.finetune.overlap import overlap

CLASSES = 3
label_maps = hnp.arrays(np.int64, (2, 4, 5), elements=st.integers(0, CLASSES - 1))


def pixels_of(label_map, k):
    return {tuple(p) for p in np.argwhere(label_map == k)}


@given(predicted=label_maps, truth=label_maps)
def test_scores_equal_those_of_brute_force_pixel_sets(predicted, truth):
    counts = overlap(predicted, truth, CLASSES)
    dice, jaccard = counts.dice(), counts.jaccard()
    for image in range(len(truth)):
        for k in range(CLASSES):
            p, t = pixels_of(predicted[image], k), pixels_of(truth[image], k)
            if not p | t:
                assert np.isnan(dice[image, k])
                assert np.isnan(jaccard[image, k])
                continue
            assert dice[image, k] == pytest.approx(2 * len(p & t) / (len(p) + len(t)))
            assert jaccard[image, k] == pytest.approx(len(p & t) / len(p | t))


@given(predicted=label_maps, truth=label_maps)
def test_jaccard_and_dice_say_the_same_in_two_scales(predicted, truth):
    counts = overlap(predicted, truth, CLASSES)
    dice, jaccard = counts.dice(), counts.jaccard()
    np.testing.assert_allclose(jaccard, dice / (2 - dice))


def test_torchmetrics_agrees_where_the_class_is_present():
    import fedefm.model  # noqa: F401 - torchmetrics imports torchvision, which needs a repair

    metrics = pytest.importorskip("torchmetrics.functional.segmentation")
    import torch

    rng = np.random.default_rng(0)
    predicted, truth = rng.integers(0, CLASSES, (2, 3, 16, 16))
    theirs = metrics.mean_iou(
        torch.from_numpy(predicted),
        torch.from_numpy(truth),
        num_classes=CLASSES,
        per_class=True,
        input_format="index",
    )
    np.testing.assert_allclose(overlap(predicted, truth, CLASSES).jaccard(), theirs, rtol=1e-6)


def test_a_class_in_only_one_of_the_masks_scores_zero_and_in_neither_is_undefined():
    truth = np.zeros((1, 4, 4), dtype=int)
    predicted = truth.copy()
    predicted[0, 0, 0] = 1
    np.testing.assert_array_equal(overlap(predicted, truth, 3).dice()[0, 1:], [0.0, np.nan])


def test_masks_of_different_size_are_refused():
    with pytest.raises(ValueError, match="differ in shape"):
        overlap(np.zeros((1, 4, 4), int), np.zeros((1, 4, 5), int), 2)

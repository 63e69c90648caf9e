import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from fedefm.finetune.centerline import centerline, cldice

EIGHT = np.ones((3, 3))
masks = hnp.arrays(np.bool_, st.tuples(st.integers(1, 12), st.integers(1, 12)))


def pieces(mask):
    return ndimage.label(mask, EIGHT)[1]


def holes(mask):
    return ndimage.label(~np.pad(mask, 1))[1] - 1  # 4-connected background, less the outside


@settings(max_examples=200)
@given(mask=masks)
def test_a_center_line_keeps_pieces_and_holes_and_lies_inside(mask):
    line = centerline(mask)
    assert not (line & ~mask).any()
    assert pieces(line) == pieces(mask)
    assert holes(line) == holes(mask)


@given(mask=masks)
def test_a_center_line_is_its_own_center_line(mask):
    line = centerline(mask)
    np.testing.assert_array_equal(centerline(line), line)


def test_the_mask_handed_in_is_not_changed():
    mask = np.ones((5, 9), bool)
    centerline(mask)
    assert mask.all()


@pytest.mark.parametrize("width", [1, 2, 3, 5])
def test_a_bar_becomes_one_pixel_thin_and_keeps_about_its_length(width):
    mask = np.zeros((20, 60), bool)
    mask[8 : 8 + width, 5:55] = True
    line = centerline(mask)
    assert line.sum(axis=0).max() == 1
    assert 50 - width <= line.sum() <= 50


def test_a_two_pixel_diagonal_and_a_block_do_not_vanish():
    diagonal = np.eye(12, dtype=bool) | np.eye(12, k=1, dtype=bool)
    assert 11 <= centerline(diagonal).sum() <= 12
    assert centerline(np.ones((2, 2), bool)).any()


def test_a_ring_becomes_a_thin_ring():
    y, x = np.mgrid[-20:21, -20:21]
    radius = np.hypot(x, y)
    line = centerline((radius > 12) & (radius < 18))
    assert pieces(line) == 1
    assert holes(line) == 1
    assert 60 <= line.sum() <= 130  # a digital circle of radius 15
    assert np.abs(np.hypot(*np.argwhere(line).T - 20.0) - 15).max() < 3


def device(columns, rows, size=40):
    mask = np.zeros((1, size, size), int)
    mask[0, rows, columns] = 1
    return mask


def test_one_pixel_of_offset_costs_dice_dearly_and_cldice_little():
    truth = device(slice(5, 35), slice(20, 22))
    wider = device(slice(5, 35), slice(19, 23))
    assert cldice(truth, truth, 2)[0, 1] == 1
    assert cldice(wider, truth, 2)[0, 1] == 1


def test_half_a_track_scores_by_hand():
    truth, half = device(slice(0, 40), 20), device(slice(0, 20), 20)
    assert cldice(half, truth, 2)[0, 1] == pytest.approx(2 * 1 * 0.5 / 1.5)


def test_a_false_branch_costs_precision_and_a_miss_scores_zero():
    truth = device(slice(0, 40), 20)
    branch = truth.copy()
    branch[0, 21:40, 5] = 1
    assert 0.6 < cldice(branch, truth, 2)[0, 1] < 1
    assert cldice(device(slice(0, 40), 30), truth, 2)[0, 1] == 0


def test_absent_from_both_is_undefined_absent_from_one_is_zero():
    truth, nothing = device(slice(5, 35), 20), np.zeros((1, 40, 40), int)
    assert np.isnan(cldice(nothing, nothing, 3)).all()
    assert cldice(nothing, truth, 2)[0, 1] == 0
    assert cldice(truth, nothing, 2)[0, 1] == 0
    assert np.isnan(cldice(truth, truth, 2)[0, 0])  # the background has no center line

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from fedefm.finetune.tip import find_tip, tip_distance

PIXELS = np.ones((1, 2))


def drawn(points, size=64, width=1, label=1, on=None):
    """A polyline of ``width`` pixels through ``points`` (row, column)."""
    labels = np.zeros((size, size), int) if on is None else on.copy()
    line = np.zeros(labels.shape, bool)
    for (r, c), (s, d) in pairwise(points):
        steps = 2 * max(abs(s - r), abs(d - c)) + 1
        rows, columns = np.linspace(r, s, steps).round(), np.linspace(c, d, steps).round()
        line[rows.astype(int), columns.astype(int)] = True
    labels[ndimage.binary_dilation(line, iterations=width // 2) if width > 1 else line] = label
    return labels


@given(st.integers(8, 55), st.integers(20, 50), st.sampled_from([1, 3]))
def test_the_tip_of_a_straight_device_is_the_end_inside_the_frame(row, column, width):
    assert find_tip(drawn([(row, 0), (row, column)], width=width), 1) == pytest.approx(
        (row, column), abs=width // 2 + 1
    )


@pytest.mark.parametrize("turns", range(4))
def test_it_does_not_matter_from_which_border_it_comes(turns):
    labels = np.rot90(drawn([(20, 0), (20, 30), (40, 40)]), turns)
    at = np.zeros((64, 64), int)
    at[40, 40] = 1
    assert find_tip(labels, 1) == tuple(np.argwhere(np.rot90(at, turns))[0])


def test_a_curl_that_comes_back_near_the_entry_ends_where_the_device_ends():
    curl = [(0, 10), (50, 10), (50, 30), (12, 30), (12, 16)]
    assert find_tip(drawn(curl), 1) == (12, 16)


def test_a_catheter_ends_where_its_wire_leaves_it_and_the_wire_where_it_ends():
    catheter = drawn([(30, 0), (30, 40)], width=3)
    both = drawn([(30, 43), (30, 62)], on=catheter, label=2)  # nearer to the border than the entry
    both[30, 42] = 2
    assert find_tip(both, 1) == pytest.approx((30, 41), abs=1)
    assert find_tip(both, 2) == pytest.approx((30, 62), abs=1)


def test_the_distance_is_that_of_the_ends_in_pixels_or_millimeters():
    truth, short = drawn([(20, 0), (20, 40)])[None], drawn([(20, 0), (20, 30)])[None]
    assert tip_distance(short, truth, 2, PIXELS)[0, 0] == 10
    assert tip_distance(short, truth, 2, np.array([[9.0, 0.2]]))[0, 0] == pytest.approx(2)
    assert tip_distance(truth, truth, 2, PIXELS)[0, 0] == 0


def test_a_prediction_enters_where_the_truth_does():
    truth = drawn([(5, 0), (5, 30), (40, 30)])[None]
    late = drawn([(12, 30), (58, 30)])[None]  # its lower end is the nearest to a border
    assert tip_distance(late, truth, 2, PIXELS)[0, 0] == 18


def test_what_is_not_in_the_truth_has_no_tip_and_what_is_missed_is_a_diagonal_away():
    truth, nothing = drawn([(20, 0), (20, 40)])[None], np.zeros((1, 64, 64), int)
    assert np.isnan(tip_distance(truth, nothing, 3, PIXELS)).all()
    found = tip_distance(nothing, truth, 3, PIXELS)[0]
    assert found[0] == pytest.approx(63 * 2**0.5)
    assert np.isnan(found[1])
    assert find_tip(nothing[0], 1) is None


def test_a_closed_line_and_a_single_pixel_have_a_tip():
    ring = drawn([(10, 10), (10, 20), (20, 20), (20, 10), (10, 10)])
    assert find_tip(ring, 1) is not None
    dot = np.zeros((9, 9), int)
    dot[4, 5] = 2
    assert find_tip(dot, 2) == (4, 5)


@given(st.integers(0, 10_000))
def test_any_two_label_maps_have_distances_within_the_frame(seed):
    rng = np.random.default_rng(seed)
    predicted, truth = (
        (ndimage.gaussian_filter(rng.normal(size=(1, 24, 24)), 1.5) * 9).clip(0, 2).astype(int)
        for _ in range(2)
    )
    found = tip_distance(predicted, truth, 3, PIXELS)[0]
    for k in (1, 2):
        assert np.isnan(found[k - 1]) == (not (truth == k).any())
    assert (found[~np.isnan(found)] <= 23 * 2**0.5 + 1e-9).all()
    assert np.nansum(tip_distance(truth, truth, 3, PIXELS)) == 0

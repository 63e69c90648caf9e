"""The angle that was drawn is the one that is measured; see ``scans``."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedefm.data.dataset import resize_mask
from fedefm.finetune.angle_of_progression import (
    FEWEST_PIXELS,
    angle_errors,
    angles_of_progression,
)
from tests.fedefm.finetune.scans import SIZE, Scan, bounds, draw, draw_parts


def fits(scan):
    """Whether all of it is in the frame, and symphysis and head are apart."""
    low, high = bounds(scan)
    bone, head = draw_parts(scan, (2.0, 2.0))
    return (high - low < SIZE - 4).all() and not (bone & head).any()


def measured(labels, pixel=(1.0, 1.0), mirrored=False):
    return angles_of_progression(labels[None], np.array([pixel]), mirrored)[0]


scans = st.builds(
    Scan,
    angle=st.floats(70, 165),
    turned=st.floats(-180, 180),
    symphysis=st.tuples(st.floats(18, 32), st.floats(6, 10)),
    head=st.tuples(st.floats(50, 70), st.floats(38, 50)),
    leaning=st.floats(0, 180),
    away=st.floats(40, 90),
).filter(fits)


@given(scans)
def test_the_angle_is_the_one_that_was_drawn_however_the_picture_is_turned(scan):
    assert measured(draw(scan)) == pytest.approx(scan.angle, abs=1)


@pytest.mark.parametrize("angle", range(75, 190, 15))
def test_it_is_right_over_the_whole_range_of_labor_and_beyond_180_degrees(angle):
    scan = Scan(angle=angle, away=85)
    assert fits(scan)
    assert measured(draw(scan)) == pytest.approx(angle, abs=1)


@given(scans, st.sampled_from([(1.0, 0.5), (0.6, 1.0), (1.3, 0.8)]))
def test_pixels_need_not_be_square(scan, pixel):
    labels = draw(scan, pixel)
    assert measured(labels, pixel) == pytest.approx(scan.angle, abs=1)
    larger = tuple(7 * side for side in pixel)
    assert measured(labels, larger) == pytest.approx(measured(labels, pixel))


def test_taking_pixels_for_square_that_are_not_gives_another_angle():
    labels = draw(Scan(turned=60), (1.0, 0.5))
    assert abs(measured(labels) - 115) > 5


@given(scans)
def test_a_mirrored_picture_has_the_same_angle_where_one_says_so(scan):
    labels = draw(scan)
    assert measured(labels[:, ::-1], mirrored=True) == pytest.approx(measured(labels))


def test_a_mirrored_picture_is_measured_from_the_other_end_where_nobody_says_so():
    assert abs(measured(draw(Scan())[:, ::-1]) - 115) > 5


@given(scans, st.integers(1, 3))
def test_a_quarter_turn_changes_nothing(scan, turns):
    labels = draw(scan)
    assert measured(np.rot90(labels, turns)) == pytest.approx(measured(labels))


@given(scans, st.integers(0, 100))
def test_specks_beside_the_structures_change_nothing(scan, seed):
    labels = draw(scan)
    spots = np.zeros_like(labels)
    for row, column in np.random.default_rng(seed).integers(0, SIZE - 3, (12, 2)):
        spots[row : row + 3, column : column + 3] = 1 + (row + column) % 2
    near = np.zeros_like(labels, bool)
    for shift in range(-4, 5):
        near |= np.roll(labels, shift, 0) > 0
    near |= np.any([np.roll(near, shift, 1) for shift in range(-4, 5)], axis=0)
    assert measured(np.where(near, labels, spots)) == pytest.approx(measured(labels))


def test_there_is_no_angle_without_both_structures_or_of_a_speck():
    whole = draw(Scan())
    speck = np.where(whole == 1, 0, whole)
    speck[5, 5 : 5 + FEWEST_PIXELS - 1] = 1
    more = speck.copy()
    more[5, 5 : 5 + FEWEST_PIXELS] = 1
    assert np.isnan(measured(np.where(whole == 1, 0, whole)))
    assert np.isnan(measured(np.where(whole == 2, 0, whole)))
    assert np.isnan(measured(np.zeros_like(whole)))
    assert np.isnan(measured(speck))
    assert not np.isnan(measured(more))


def test_there_is_no_angle_of_a_round_symphysis_or_one_that_ends_within_the_head():
    assert np.isnan(measured(draw(Scan(symphysis=(12.0, 11.0)))))
    within = np.full((SIZE, SIZE), 2)
    within[120:136, 100:150] = 1
    assert np.isnan(measured(within))


def test_there_is_no_angle_where_pixels_have_no_size():
    assert np.isnan(measured(draw(Scan()), (np.nan, 1.0)))


def test_errors_are_per_image_and_those_without_an_angle_are_counted():
    truth = [draw(Scan(angle=angle)) for angle in (100, 110, 120, 130)]
    found = [draw(Scan(angle=angle)) for angle in (104, 110, 114, 130)]
    nothing = np.zeros_like(truth[0])
    predicted = np.stack([*found, nothing, found[0], nothing])
    true = np.stack([*truth, truth[0], nothing, nothing])
    scores = angle_errors(predicted, true, np.array([0, 0, 1, 2, 2, 3, 3]))
    assert scores.image_errors[:4] == pytest.approx((4, 0, 6, 0), abs=1)
    assert np.isnan(scores.image_errors[4:]).all()
    assert (scores.images, scores.patients, scores.missed, scores.without) == (7, 4, 1, 2)
    # means of patients 0, 1 and 2, of whom each counts once
    per_patient = [np.mean(scores.image_errors[:2]), *scores.image_errors[2:4]]
    assert scores.error.value == pytest.approx(np.mean(per_patient))
    assert scores.error.patients == 3
    assert 0 <= scores.error.low < scores.error.value < scores.error.high <= 7


def test_errors_know_the_size_of_pixels_and_which_pictures_are_mirrored():
    pixel = np.array([[1.0, 0.5]])
    truth, found = (draw(Scan(angle=angle), (1.0, 0.5))[None, :, ::-1] for angle in (100, 125))
    scores = angle_errors(found, truth, np.zeros(1, int), pixel, mirrored=True)
    assert scores.error.value == pytest.approx(25, abs=1)
    assert np.isnan(scores.error.low)


def test_the_values_of_the_masks_may_be_others():
    truth, found = (draw(Scan(angle=angle))[None] for angle in (100, 115))
    plain = angle_errors(found, truth, np.zeros(1, int))
    renamed = [np.array([0, 7, 3])[labels] for labels in (found, truth)]
    assert angle_errors(*renamed, np.zeros(1, int), values=(7, 3)) == plain
    assert angle_errors(*renamed, np.zeros(1, int)).without == 1


def test_no_image_and_other_shapes():
    nothing = np.zeros((0, 8, 8), int)
    scores = angle_errors(nothing, nothing, np.zeros(0, int))
    assert (scores.images, scores.missed) == (0, 0)
    assert np.isnan(scores.error.value)
    with pytest.raises(ValueError, match="shape"):
        angle_errors(nothing, np.zeros((0, 8, 9), int), np.zeros(0, int))


@pytest.mark.parametrize("angle", [90, 115, 140])
def test_a_head_that_the_frame_cuts_off_is_measured_a_little_wrong(angle):
    """A limit that is told, not a promise."""
    labels = draw(Scan(angle=angle, away=85))
    rows, _ = np.nonzero(labels == 2)
    seen = labels[: int(np.quantile(rows, 0.85))]
    assert 0.1 < abs(measured(seen) - angle) < 6


@pytest.mark.parametrize(("size", "most"), [(256, 1.6), (128, 3.2)])
def test_a_frame_that_was_made_smaller_is_measured_a_little_wrong(size, most):
    """A limit that is told, not a promise."""
    off = []
    for angle in range(80, 165, 5):
        for turned in (0, 30, 60):
            labels = np.pad(draw(Scan(angle=angle, turned=turned)), ((0, 0), (72, 72)))
            small, pixel = resize_mask(labels, size, size).numpy(), np.array(labels.shape) / size
            off.append(abs(measured(small, pixel) - angle))
    assert 1 < max(off) < most

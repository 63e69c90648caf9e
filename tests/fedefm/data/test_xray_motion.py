"""Breath and heartbeat: periodic, bounded, and alike for points and for pictures."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import center_of_mass

from fedefm.data.xray_motion import (
    HEART,
    REACH,
    Motion,
    contracted,
    contracted_image,
    draw_rhythm,
)

BEATING = Motion(beat=(0.01, 0.02))
times = st.floats(0, 60)
seeds = st.integers(0, 1000)


@given(seed=seeds, seconds=times)
def test_breath_and_beat_stay_within_what_was_drawn(seed, seconds):
    rhythm = draw_rhythm(BEATING, np.random.default_rng(seed))
    x, y = rhythm.shift(seconds)
    assert 0 <= x <= y <= BEATING.breath[1]
    assert 0 <= rhythm.squeeze(seconds) <= BEATING.beat[1]


@given(seed=seeds, seconds=times)
def test_breath_and_beat_repeat(seed, seconds):
    rhythm = draw_rhythm(BEATING, np.random.default_rng(seed))
    again = rhythm.shift(seconds + 1 / rhythm.breaths)
    assert rhythm.shift(seconds) == pytest.approx(again, abs=1e-8)
    later = rhythm.squeeze(seconds + 1 / rhythm.beats)
    assert rhythm.squeeze(seconds) == pytest.approx(later, abs=1e-8)


def test_the_heart_contracts_fully_rests_and_never_jumps():
    rhythm = draw_rhythm(BEATING, np.random.default_rng(1))
    beat = np.linspace(0, 1 / rhythm.beats, 400)
    course = np.array([rhythm.squeeze(t) for t in beat])
    assert course.max() == pytest.approx(rhythm.beat, rel=1e-3)
    assert course.min() == pytest.approx(0, abs=1e-6)
    assert np.abs(np.diff(course)).max() < 0.02 * rhythm.beat


@given(angle=st.floats(0, 6.28), squeeze=st.floats(0.001, 0.03))
def test_the_border_of_the_heart_moves_inward_most(angle, squeeze):
    away = np.array([np.cos(angle), np.sin(angle)])
    border = np.array(HEART) + REACH * away
    moved = contracted(border, squeeze) - border
    np.testing.assert_allclose(moved, -squeeze * away, atol=1e-5)
    far = np.array(HEART) + 4 * REACH * away
    assert np.hypot(*(contracted(far, squeeze) - far)) < 0.01 * squeeze
    np.testing.assert_allclose(contracted(np.array(HEART), squeeze), HEART, atol=1e-6)


@settings(max_examples=20, deadline=None)
@given(x=st.floats(0.25, 0.75), y=st.floats(0.3, 0.8))
def test_a_picture_moves_as_points_do(x, y):
    size, margin = 160, 0.03
    rows, columns = (np.mgrid[:size, :size] + 0.5) / size
    at = np.array([x, y]) * (1 - 2 * margin) + margin
    blob = np.exp(-((columns - at[0]) ** 2 + (rows - at[1]) ** 2) / 2 / 0.015**2)
    row, column = center_of_mass(contracted_image(blob.astype(np.float32), 0.02, margin))
    there = (np.array([column, row]) + 0.5) / size
    np.testing.assert_allclose(
        (there - margin) / (1 - 2 * margin), contracted(np.array([x, y]), 0.02), atol=0.003
    )


def test_a_heart_at_rest_leaves_everything_where_it_is():
    image = np.random.default_rng(0).random((20, 20), np.float32)
    assert contracted_image(image, 0.0, 0.03) is image

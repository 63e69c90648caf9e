"""The estimators find what was put in."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from fedefm.data.xray_measures import (
    TILE,
    autocorrelation,
    field_of_view,
    gray_levels,
    noise_by_gray,
    noise_power,
    noise_tiles,
    single_frame_noise,
)

SIZE = 256
EVERYWHERE = np.ones((SIZE, SIZE), bool)


def noisy(level: float, spread: float, blur: float, seed: int) -> np.ndarray:
    noise = np.random.default_rng(seed).standard_normal((SIZE, SIZE))
    noise = gaussian_filter(noise, blur) if blur else noise
    return level + spread * noise / noise.std()


@settings(max_examples=15, deadline=None)
@given(spread=st.floats(0.5, 8), level=st.floats(70, 180))
def test_noise_between_two_frames_is_told_with_its_gray_level(spread, level):
    gray, noise = noise_tiles(noisy(level, spread, 0, 1), noisy(level, spread, 0, 2), EVERYWHERE)
    assert len(gray) == (SIZE // TILE) ** 2
    (mean_square, median), nothing = noise_by_gray(gray, noise, ((level - 10, level + 10), (0, 20)))
    assert mean_square == pytest.approx(spread, rel=0.02)
    assert median == pytest.approx(spread, rel=0.02)
    assert np.isnan(nothing).all()


def test_what_moves_in_a_few_tiles_does_not_raise_the_median():
    before, after = noisy(120, 2, 0, 1), noisy(120, 2, 0, 2)
    after[:40, :40:2] -= 60
    mean_square, median = noise_by_gray(*noise_tiles(before, after, EVERYWHERE), ((60, 200),))[0]
    assert mean_square > 3
    assert median == pytest.approx(2, rel=0.05)


@pytest.mark.parametrize("blur", [0.6, 0.9, 1.2])
def test_correlated_noise_is_told_from_white_noise(blur):
    found = autocorrelation(
        noise_tiles(noisy(120, 3, blur, 1), noisy(120, 3, blur, 2), EVERYWHERE)[1]
    )
    lags = np.arange(3)
    whole = noisy(0, 1, blur, 3)
    truth = [(whole[:, lag:] * whole[:, : SIZE - lag]).mean() for lag in lags]
    np.testing.assert_allclose(found[:3], truth, atol=0.06)
    white = autocorrelation(noise_tiles(noisy(120, 3, 0, 1), noisy(120, 3, 0, 2), EVERYWHERE)[1])
    assert np.abs(white[1:]).max() < 0.05


def test_the_spectrum_of_white_noise_is_flat_and_holds_its_power():
    frequency, power = noise_power(
        noise_tiles(noisy(120, 3, 0, 1), noisy(120, 3, 0, 2), EVERYWHERE)[1]
    )
    assert frequency[-1] == 0.5
    np.testing.assert_allclose(power[2:], 9, rtol=0.25)  # the calmer half is a little below


def test_noise_of_one_frame_is_that_of_immerkaer():
    assert single_frame_noise(noisy(120, 3, 0, 1), EVERYWHERE) == pytest.approx(3, rel=0.03)


def test_gray_levels_are_of_the_field_of_view_alone():
    frames = np.zeros((2, 64, 64), np.float32)
    frames[:, 10:50, 10:50] = np.linspace(50, 150, 40)
    inside = field_of_view(frames)
    assert inside[30, 30]
    assert not inside[5, 5]
    assert not inside[10, 30]  # half-dark where blades end
    found = gray_levels(frames, inside)
    assert found.mean == pytest.approx(100, abs=1)
    assert found.percentiles == tuple(sorted(found.percentiles))

"""Tubes on a pixel grid, against volumes and geometry."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import label

from fedefm.data.xray_raster import Tube, covered_pixels, path_lengths, smooth_field, tube


def bent_tube(turn: float, radius: float) -> Tube:
    """Half a frame of arc, well inside the frame."""
    heading = np.linspace(-turn, turn, 60)
    steps = 0.5 / 60 * np.stack([np.cos(heading), np.sin(heading)], 1)
    points = np.cumsum(steps, axis=0)
    return tube(points - points.mean(0) + 0.5, radius)


@settings(max_examples=25, deadline=None)
@given(
    turn=st.floats(0, 1.5),
    radius=st.floats(0.002, 0.03),
    lumen=st.sampled_from([0.0, 0.6]),
    size=st.integers(48, 256),
)
def test_a_tube_lays_down_its_own_volume(turn, radius, lumen, size):
    drawn = path_lengths(size, [bent_tube(turn, radius)], lumen).mean()
    length = 0.5 * 59 / 60
    walls = math.pi * radius**2 * (1 - lumen**2) * length
    ball = 4 / 3 * math.pi * radius**3 * (1 - lumen**3)  # the round ends
    # Half a pixel at each end is a matter of rounding.
    assert drawn == pytest.approx(walls + ball, rel=0.02 + 1 / (size * length))


def test_the_axis_of_a_thick_rod_is_crossed_over_its_diameter():
    lengths = path_lengths(200, [tube([(0.1, 0.5025), (0.9, 0.5025)], 0.05)])
    assert lengths[100, 100] == pytest.approx(0.1, rel=1e-3)
    assert lengths[:, 100].max() == lengths[100, 100]
    assert lengths[115, 100] == 0


def test_a_hollow_tube_is_darkest_at_its_walls():
    lengths = path_lengths(200, [tube([(0.1, 0.5025), (0.9, 0.5025)], 0.05)], lumen=0.8)
    profile = lengths[90:111, 100]
    assert profile[10] == pytest.approx(0.02, rel=1e-2)
    assert profile.max() > 2 * profile[10]


def test_tubes_that_join_count_once():
    halves = [tube([(0.1, 0.5), (0.5, 0.5)], 0.03), tube([(0.5, 0.5), (0.9, 0.5)], 0.03)]
    whole = tube([(0.1, 0.5), (0.9, 0.5)], 0.03)
    np.testing.assert_allclose(path_lengths(96, halves), path_lengths(96, [whole]), atol=2e-4)


@settings(max_examples=40, deadline=None)
@given(turn=st.floats(0, 3.0), radius=st.floats(1e-4, 0.01), size=st.integers(32, 300))
def test_a_mask_is_connected_however_thin_the_tube(turn, radius, size):
    covered = covered_pixels(size, bent_tube(turn, radius))
    assert covered.sum() >= 0.1 * size
    assert label(covered, np.ones((3, 3)))[1] == 1


def test_what_leaves_the_frame_is_cut_off():
    outside = tube([(-0.5, -0.5), (-0.1, 1.5)], 0.02)
    assert not covered_pixels(64, outside).any()
    assert not path_lengths(64, [outside]).any()
    assert not path_lengths(64, []).any()


def test_a_smooth_field_is_standardized_at_every_size():
    for size in (32, 100):
        field = smooth_field(np.random.default_rng(0), size, 5)
        assert field.shape == (size, size)
        assert field.dtype == np.float32
        assert abs(field.mean()) < 1e-4
        assert field.std() == pytest.approx(1, abs=1e-3)

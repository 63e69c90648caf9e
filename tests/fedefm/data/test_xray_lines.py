"""The estimators find the device that was put in."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from fedefm.data.xray_lines import contrast_and_width, profiles, trace
from fedefm.data.xray_raster import path_lengths, tube

SIZE = 256


@pytest.mark.parametrize("contrast", [0.12, 0.3])
@pytest.mark.parametrize("width", [2.5, 5.0])
def test_a_planted_device_is_traced_and_measured(contrast, width):
    t = np.linspace(0, 1, 50)
    axis = np.stack([0.2 + 0.5 * t, 0.3 + 0.25 * np.sin(3 * t)], 1)
    bar = path_lengths(SIZE, [tube(axis, width / 2 / SIZE)]) * SIZE / width
    tilt = 100 + 0.2 * np.arange(SIZE)
    frame = tilt * np.exp(-contrast * gaussian_filter(bar, 0.5))
    frame += np.random.default_rng(0).normal(0, 1, frame.shape)
    line = trace(frame, tuple(axis[0] * SIZE), tuple(axis[-1] * SIZE))
    off = line[:, 1] - np.interp(line[:, 0], axis[:, 0] * SIZE, axis[:, 1] * SIZE)
    assert np.abs(off).max() < 2
    found = np.array([contrast_and_width(profile) for profile in profiles(frame, line)])
    drawn = contrast * gaussian_filter(bar, 0.5).max()
    # sampling between pixels flattens a thin line by a tenth
    assert np.median(found[:, 0]) == pytest.approx(0.95 * drawn, rel=0.15)
    # half the depth of a round bar lies at 0.87 of its width; blur and waver add to it
    assert 0.8 * width < np.median(found[:, 1]) < 1.15 * width + 0.8

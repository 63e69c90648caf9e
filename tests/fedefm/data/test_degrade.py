"""Faults against SciPy's filters, and how often each of them comes."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from fedefm.data.degrade import (
    DENSITY,
    RADIUS,
    degraded,
    drawn_faults,
    gaussian_blur,
    motion_blur,
    salt_and_pepper,
)


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def some(count: int = 4, side: int = 32, seed: int = 9) -> torch.Tensor:
    return torch.rand(count, 1, side, side, generator=rng(seed))


@given(st.integers(0, 2**20), st.integers(8, 40))
def test_blur_is_scipys_gaussian(seed, side):
    images = some(2, side, seed).double()
    for image, ours in zip(images, gaussian_blur(images), strict=True):
        theirs = ndimage.gaussian_filter(image[0].numpy(), RADIUS, mode="nearest", truncate=4.0)
        torch.testing.assert_close(ours[0], torch.from_numpy(theirs))


@pytest.mark.parametrize(("side", "length"), [(224, 24), (112, 12), (64, 7), (16, 2)])
def test_motion_is_a_line_of_45_degrees_that_goes_with_the_side(side, length):
    image = some(1, side).double()
    line = np.fliplr(np.eye(length)) / length
    theirs = ndimage.correlate(image[0, 0].numpy(), line, mode="nearest")
    torch.testing.assert_close(motion_blur(image)[0, 0], torch.from_numpy(theirs))


def test_a_point_that_moves_becomes_a_line_that_rises():
    image = torch.zeros(1, 1, 112, 112)
    image[0, 0, 50, 50] = 1
    rows, columns = motion_blur(image)[0, 0].nonzero().unbind(1)
    assert len(rows) == 12
    assert (rows + columns).unique().numel() == 1  # each step to the right is one up


def test_specks_are_black_and_white_in_equal_parts_and_in_every_image():
    images = torch.full((50, 1, 64, 64), 0.5)
    worse = salt_and_pepper(images, rng())
    for value in (0.0, 1.0):
        share = (worse == value).float().mean(dim=(1, 2, 3))
        assert float((share - DENSITY / 2).abs().max()) < 0.02  # 6 deviations of an image
        assert float(share.mean() - DENSITY / 2) == pytest.approx(0, abs=0.003)
    assert ((worse == 0.5) | (worse == 0.0) | (worse == 1.0)).all()
    assert len(worse.flatten(1).unique(dim=0)) == 50


def test_half_of_the_images_have_faults_and_those_at_least_one():
    faults = drawn_faults(100_000, rng())
    bad = faults.any(dim=1)
    assert float(bad.float().mean()) == pytest.approx(0.5, abs=0.01)
    # each with 1/2, and one of three where none came of it: 1/2 + 1/8 * 1/3
    chances = faults[bad].float().mean(dim=0)
    torch.testing.assert_close(chances, torch.full((3,), 13 / 24), rtol=0, atol=0.01)
    several = torch.bincount(faults[bad].sum(dim=1), minlength=4) / int(bad.sum())
    torch.testing.assert_close(several, torch.tensor([0, 4, 3, 1]) / 8, rtol=0, atol=0.01)


def test_images_without_faults_are_as_they_were_and_the_others_are_not():
    images = some(200)
    bad = drawn_faults(200, rng(3)).any(dim=1)
    worse = degraded(images, rng(3))
    for image, other, faulty in zip(images, worse, bad.tolist(), strict=True):
        assert torch.equal(image, other) == (not faulty)


@given(st.integers(0, 2**20), st.integers(0, 6))
def test_range_shape_and_the_input_stay(seed, count):
    images = some(count)
    before = images.clone()
    worse = degraded(images, rng(seed))
    assert worse.shape == images.shape
    assert torch.equal(images, before)
    assert not len(worse) or (worse.min() >= 0 and worse.max() <= 1 + 1e-6)


def test_a_constant_image_has_no_fault_but_specks():
    images = torch.full((3, 1, 32, 32), 0.4)
    torch.testing.assert_close(motion_blur(images), images)
    torch.testing.assert_close(gaussian_blur(images), images)


def test_the_generator_decides_and_nothing_else():
    torch.manual_seed(1)
    first = degraded(some(20), rng(5))
    torch.manual_seed(2)
    assert torch.equal(first, degraded(some(20), rng(5)))
    assert not torch.equal(first, degraded(some(20), rng(6)))

"""Noise on a grid: its distribution, the grid itself, and what rounding may cost."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fedefm.errors import PrivacyError
from privacy.dp.gradients import ROUNDING
from privacy.dp.noise import GridNoise
from privacy.dp.randomness import SecretStream

CERTAIN = 1e-9  # a right grid fails a statistical test about once in a billion runs
BOUNDS = st.floats(1e-3, 1e3)
MULTIPLIERS = st.floats(0.01, 100)


class Fixed(SecretStream):
    """Draws what a test says."""

    def __init__(self, *normals):
        super().__init__()
        self.normals = np.array(normals)

    def normal(self, count):
        return np.resize(self.normals, count)


def noise(bound=1.0, multiplier=1.0, numbers=1000, most=50, stream=None):
    return GridNoise(bound, multiplier, numbers, most, stream or SecretStream())


def doubles(grid_noise, numbers):
    """What is released before it becomes float32."""
    return grid_noise._on_grid(np.array(numbers, dtype=np.float64))


@given(BOUNDS, MULTIPLIERS, st.integers(1, 2**33))
def test_the_grid_is_a_power_of_two_far_below_noise_and_bound(bound, multiplier, numbers):
    grid = noise(bound, multiplier, numbers).grid
    assert math.frexp(grid)[0] == 0.5
    assert grid <= multiplier * bound * 2.0**-20
    # rounding moves two sums apart by less than a sixteenth of the margin that clipping leaves
    assert math.sqrt(numbers) * grid <= bound * ROUNDING / 16


@given(BOUNDS, MULTIPLIERS, st.integers(1, 300), st.integers(0, 2**32 - 1))
def test_everything_released_lies_on_the_grid_exactly(bound, multiplier, numbers, seed):
    sums = np.random.default_rng(seed).normal(size=numbers) * bound * 50
    drawn = noise(bound, multiplier, numbers)
    released = doubles(drawn, sums)
    steps = released / drawn.grid  # exact, by a power of two
    assert np.array_equal(steps, np.rint(steps))
    assert np.abs(steps).max() < 2**53


@given(
    st.lists(st.floats(-50, 50), min_size=1, max_size=20),
    st.lists(st.floats(-9.5, 9.5), min_size=1, max_size=20),
    MULTIPLIERS,
    st.integers(-(2**30), 2**30),
)
def test_moving_the_sum_by_the_grid_moves_the_release_by_the_same(sums, normals, multiplier, far):
    """So the release is a function of the rounded sum plus noise alone, and shows no low bits."""
    drawn = noise(1.0, multiplier, len(sums), stream=Fixed(*normals))
    on_grid = np.floor(np.array(sums) / drawn.grid + 0.5) * drawn.grid
    here = doubles(drawn, sums)
    assert np.array_equal(here, doubles(drawn, on_grid))
    assert np.array_equal(here + far * drawn.grid, doubles(drawn, on_grid + far * drawn.grid))


@given(st.integers(1, 400), st.integers(0, 2**32 - 1))
def test_two_sums_are_as_good_as_no_further_apart_on_the_grid(numbers, seed):
    rng = np.random.default_rng(seed)
    drawn = noise(1.0, 1.0, numbers, stream=Fixed(0.0))
    apart = rng.normal(size=numbers)
    apart *= (1 - ROUNDING) / np.linalg.norm(apart)
    sums = rng.normal(size=numbers)
    distance = np.linalg.norm(doubles(drawn, sums + apart) - doubles(drawn, sums))
    assert distance <= 1 - ROUNDING + 2.0**-16 < 1


@pytest.mark.parametrize(("bound", "multiplier"), [(1.0, 1.0), (0.03, 0.6), (20.0, 8.0)])
def test_noise_is_normal_with_the_deviation_asked_for(bound, multiplier):
    total = torch.linspace(-3, 3, 200_000).reshape(400, 500)
    released = noise(bound, multiplier, total.numel()).add({"w": total})["w"]
    assert released.dtype == torch.float32
    assert released.shape == total.shape
    drawn = (released.double() - total.double()).flatten().numpy() / (bound * multiplier)
    assert stats.kstest(drawn, "norm").pvalue > CERTAIN
    size = drawn.size
    assert abs(drawn.mean()) < 6 / size**0.5
    assert abs(drawn.var() - 1) < 6 * (2 / size) ** 0.5


def test_noise_of_different_numbers_tensors_and_calls_is_independent():
    drawn, zeros = noise(numbers=60_000), torch.zeros(30_000)
    calls = [drawn.add({"a": zeros, "b": zeros}) for _ in range(2)]
    columns = [call[name].double().numpy() for call in calls for name in "ab"]
    columns.append(np.roll(columns[0], 1))
    for place, here in enumerate(columns):
        for there in columns[:place]:
            assert stats.pearsonr(here, there).pvalue > CERTAIN
            assert stats.pearsonr(np.abs(here), np.abs(there)).pvalue > CERTAIN
            assert not (here == there).all()


def test_noise_does_not_depend_on_the_sum():
    total = torch.randn(100_000, generator=torch.Generator().manual_seed(1))
    released = noise(1.0, 1.0, total.numel()).add({"w": total})["w"]
    added = (released.double() - total.double()).numpy()
    assert stats.pearsonr(added, total.numpy()).pvalue > CERTAIN
    assert stats.pearsonr(np.abs(added), np.abs(total.numpy())).pvalue > CERTAIN


def test_every_number_of_every_tensor_gets_noise_and_the_sum_itself_stays():
    total = {"matrix": torch.zeros(300, 400), "scalar": torch.zeros(()), "vector": torch.zeros(7)}
    released = noise(numbers=120_008).add(total)
    assert released.keys() == total.keys()
    assert all((released[name] != 0).all() for name in total)
    assert all((value == 0).all() for value in total.values())
    assert released["scalar"].shape == ()


@given(st.lists(st.floats(-100, 100, width=32), min_size=1, max_size=50))
def test_without_noise_the_sum_comes_back_to_within_the_grid(numbers):
    drawn = noise(numbers=len(numbers), most=100, stream=Fixed(0.0))
    total = torch.tensor(numbers)
    released = drawn.add({"w": total})["w"]
    assert (released.double() - total.double()).abs().max() <= drawn.grid


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_sum_that_is_not_finite_is_never_released(bad):
    with pytest.raises(PrivacyError, match="not finite"):
        noise().add({"w": torch.tensor([0.0, bad])})


@pytest.mark.parametrize(
    ("bound", "multiplier", "numbers"),
    [(1.0, 0.0, 5), (0.0, 1.0, 5), (1.0, -1.0, 5), (1.0, math.nan, 5), (1.0, 1.0, 0)],
)
def test_noise_that_is_none_is_refused(bound, multiplier, numbers):
    with pytest.raises(PrivacyError, match="can be drawn"):
        noise(bound, multiplier, numbers)


def test_noise_that_float64_cannot_hold_exactly_is_refused():
    with pytest.raises(PrivacyError, match="lower it"):
        noise(1.0, 1e9, 10**8)

"""Intervals against scipy's, and against how often they hold what they should."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from fedefm.report.intervals import difference, wilson


@given(st.integers(1, 2000), st.floats(0, 1))
def test_a_share_has_the_interval_that_scipy_gives_it(images: int, share: float) -> None:
    right = round(share * images)
    known = binomtest(right, images).proportion_ci(method="wilson")

    assert wilson(right / images, images) == pytest.approx((known.low, known.high), abs=1e-5)


def test_without_images_nothing_is_known() -> None:
    assert wilson(0.0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(("one", "other"), [(0.5, 0.5), (0.7, 0.9), (0.05, 0.02)])
def test_the_interval_of_a_difference_holds_it_in_95_of_100_trials(
    one: float, other: float
) -> None:
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(2000):
        first, second = rng.binomial(120, one) / 120, rng.binomial(120, other) / 120
        found = difference(first, second, wilson(first, 120), wilson(second, 120))
        held += found.low <= other - one <= found.high
    assert 0.935 <= held / 2000 <= 0.985


@given(st.integers(0, 80), st.integers(0, 80))
def test_a_difference_changes_its_sign_with_the_order(a: int, b: int) -> None:
    first, second = a / 80, b / 80
    there = difference(first, second, wilson(first, 80), wilson(second, 80))
    back = difference(second, first, wilson(second, 80), wilson(first, 80))

    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))
    assert there.beyond_chance == back.beyond_chance
    assert a != b or not there.beyond_chance

"""Numbers carry their unit and never pretend."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedefm.report.numbers import (
    count,
    data_size,
    decimal,
    duration,
    epsilon,
    listed,
    percent,
    ranges,
)


@pytest.mark.parametrize("tell", [percent, decimal, count, data_size, duration])
@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_what_was_not_measured_is_said_to_be_so(tell, value) -> None:  # type: ignore[no-untyped-def]
    assert tell(value) == "not measured"


@pytest.mark.parametrize(
    ("size", "said"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.00 kB"), (999_600, "1.00 MB"), (12_345_678, "12.3 MB")],
)
def test_sizes_have_three_figures(size: int, said: str) -> None:
    assert data_size(size).replace("\u00a0", " ") == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.42, "0.4 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (3599.6, "1 h 00 min"),
        (7260, "2 h 01 min"),
    ],
)
def test_durations_never_say_sixty(seconds: float, said: str) -> None:
    assert duration(seconds).replace("\u00a0", " ") == said


@given(st.sets(st.integers(1, 60), min_size=1))
def test_ranges_tell_exactly_the_numbers(numbers: set[int]) -> None:
    told: set[int] = set()
    for part in ranges(numbers).split(", "):
        first, _, last = part.partition("–")
        told |= set(range(int(first), int(last or first) + 1))
    assert told == numbers


def test_lists_read_as_part_of_a_sentence() -> None:
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c"]) == "a, b and c"


@given(st.floats(0, 1e6))
def test_an_epsilon_is_never_shown_smaller_than_it_is(value: float) -> None:
    assert float(epsilon(value)) >= value - 1e-9
    assert float(epsilon(value)) < value + 0.01 + 1e-9


def test_an_epsilon_without_bound_is_said_to_be_so() -> None:
    assert {epsilon(None), epsilon(math.inf)} == {"without bound"}
    assert epsilon(8.001) == "8.01"

"""The search finds the first number that is not negative, whatever rises there."""

import math

from hypothesis import given
from hypothesis import strategies as st

from privacy.search import first_not_negative

heights = st.one_of(st.floats(-5, 5), st.just(-math.inf), st.just(math.inf))


@given(st.lists(heights, min_size=2, max_size=200), st.integers(-1000, 1000))
def test_it_finds_what_looking_everywhere_finds(values: list[float], start: int) -> None:
    rising = [-math.inf, *sorted(values), math.inf]
    found = first_not_negative(lambda n: rising[n - start], start, start + len(rising) - 1)
    assert found - start == next(i for i, value in enumerate(rising) if value >= 0)


def test_it_asks_seldom() -> None:
    asked = []

    def rising(n: int) -> float:
        asked.append(n)
        return math.log(n / 123_456.5)

    assert first_not_negative(rising, 1, 10**7) == 123_457
    assert len(asked) < 40

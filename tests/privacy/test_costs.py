"""Costs and what is left are counted jointly, and both ways round agree."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedefm.errors import PrivacyError
from privacy.accountant import epsilon
from privacy.calibrate import Sampling, noise_for
from privacy.costs import affordable_steps, costs, largest_epsilon
from privacy.mechanism import Mechanism, Spend, together

DELTA, ADJACENCY = 1e-5, "add_or_remove_one"
SAMPLING = Sampling(0.01, 3200, 3200)
MECHANISM = SAMPLING.mechanism(1.0)


def test_the_table_counts_each_line_as_a_whole() -> None:
    table = costs(MECHANISM, 1000, 10, 200, DELTA, ADJACENCY, {MECHANISM: 500})
    assert table.step == epsilon({MECHANISM: 1}, DELTA)
    assert table.round == epsilon({MECHANISM: 10}, DELTA)
    assert table.run == epsilon({MECHANISM: 1000}, DELTA)
    assert table.run + table.guest == pytest.approx(epsilon({MECHANISM: 1200}, DELTA))
    assert table.total == epsilon({MECHANISM: 1500}, DELTA)


@given(st.integers(1, 2000), st.integers(1, 50), st.integers(0, 500))
@settings(max_examples=8)
def test_a_part_costs_less_than_the_whole_and_parts_more_than_their_share(
    run: int, share: int, guest: int
) -> None:
    one_round = max(1, run // share)
    table = costs(MECHANISM, run, one_round, guest, DELTA, ADJACENCY)
    assert table.step <= table.round <= table.run == table.total
    assert table.run <= table.round * (-(-run // one_round)) * (1 + 1e-6) + 1e-3
    assert table.guest >= 0


@settings(max_examples=5)
@given(
    cap=st.floats(0.1, 10.0),
    sigma=st.floats(0.7, 3.0),
    before=st.integers(0, 2000),
)
def test_one_step_more_than_affordable_exceeds_the_cap(
    cap: float, sigma: float, before: int
) -> None:
    spend: Spend = {MECHANISM: before}
    mechanism = SAMPLING.mechanism(sigma)
    steps = affordable_steps(spend, mechanism, cap, DELTA, ADJACENCY)
    needed = [epsilon(together(spend, {mechanism: n}), DELTA) for n in (steps, steps + 1)]
    assert needed[1] > cap
    assert steps == 0 or needed[0] <= cap


def test_a_cap_that_is_just_reached_is_not_exceeded() -> None:
    cap = epsilon({MECHANISM: 300}, DELTA)
    assert affordable_steps({}, MECHANISM, cap, DELTA, ADJACENCY) == 300
    assert affordable_steps({MECHANISM: 100}, MECHANISM, cap, DELTA, ADJACENCY) == 200
    assert affordable_steps({MECHANISM: 300}, MECHANISM, cap, DELTA, ADJACENCY) == 0


def test_nobody_plans_more_than_ten_million_steps() -> None:
    silent = Mechanism(1000.0, 1e-4, 10_000, 10_000)
    assert affordable_steps({}, silent, 8.0, DELTA, ADJACENCY) == 10_000_000


@pytest.mark.parametrize("before", [0, 1500])
def test_a_run_of_the_largest_epsilon_fits_and_a_larger_one_does_not(before: int) -> None:
    spend: Spend = {MECHANISM: before}

    def committed(promise: float) -> float:
        noise = noise_for(promise, DELTA, ADJACENCY, 0.01, 3200, 3200, 500)
        return epsilon(together(spend, {SAMPLING.mechanism(noise): 500}), DELTA)

    largest = largest_epsilon(spend, SAMPLING, 500, 4.0, DELTA, ADJACENCY)
    assert committed(largest) <= 4.0 < committed(largest * 1.02)


def test_nothing_fits_where_the_cap_is_spent() -> None:
    assert largest_epsilon({MECHANISM: 3000}, SAMPLING, 10, 3.0, DELTA, ADJACENCY) == 0.0


@pytest.mark.parametrize("cap", [0.0, -1.0, float("nan"), float("inf")])
def test_a_cap_that_is_none_is_refused(cap: float) -> None:
    with pytest.raises(PrivacyError, match="cap"):
        affordable_steps({}, MECHANISM, cap, DELTA, ADJACENCY)

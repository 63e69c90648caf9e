"""Epsilon is what the definition says, never less, and counts everything together."""

import math

import pytest
from dp_accounting import NeighboringRelation
from dp_accounting.pld import PLDAccountant
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fedefm.config import Adjacency
from fedefm.errors import PrivacyError
from privacy.accountant import (
    CERTIFICATE_INTERVAL,
    SMALLEST_DELTA,
    epsilon,
    epsilon_prv,
    epsilon_rdp,
)
from privacy.mechanism import Mechanism, Spend, together
from tests.privacy.exact import many_gaussians, one_step, truncated

DELTA = 1e-5
ADJACENCIES: tuple[Adjacency, ...] = ("add_or_remove_one", "replace_one")
PLAIN = Mechanism(1.0, 0.01, 1000, 1000)

sigmas = st.floats(0.5, 8.0)
rates = st.floats(1e-3, 0.9)
plain = st.builds(Mechanism, sigmas, rates, st.just(1000), st.just(1000))
capped = st.builds(Mechanism, sigmas, rates, st.integers(20, 400), st.integers(5, 60))
few = settings(max_examples=15)
# Only what somebody might promise: epsilons in the thousands overflow to infinity one by one.
calm = st.floats(1.0, 8.0), st.floats(1e-3, 0.5)
steps_of = st.one_of(
    st.builds(Mechanism, *calm, st.just(1000), st.just(1000)),
    st.builds(Mechanism, *calm, st.integers(20, 400), st.integers(5, 60)),
)
spends = st.dictionaries(steps_of, st.integers(1, 100), min_size=1, max_size=3)


def coarse(spend: Spend, delta: float, adjacency: Adjacency = "add_or_remove_one") -> float:
    """The same count on a grid ten times as wide, for what holds on any grid."""
    return epsilon(spend, delta, adjacency, interval=1e-2)


# --- against the definition ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sigma", "steps"), [(1.0, 1), (4.0, 100), (0.5, 1), (10.0, 3000), (50.0, 1)]
)
def test_without_sampling_it_is_the_gaussian_mechanism(sigma: float, steps: int) -> None:
    mechanism = Mechanism(sigma, 1.0, 20, 20)
    truth = many_gaussians(sigma, steps, DELTA)
    assert truth * (1 - 1e-9) <= epsilon({mechanism: steps}, DELTA) <= truth * 1.001 + 1e-6
    twice = many_gaussians(sigma, steps, DELTA, sensitivity=2.0)
    counted = epsilon({mechanism: steps}, DELTA, "replace_one")
    assert twice * (1 - 1e-9) <= counted <= twice * 1.001 + 1e-6


def test_the_smallest_delta_is_counted_without_loss() -> None:
    """Below it, what the Fourier transform rounds away is no longer small."""
    for sigma, steps in ((10.0, 3000), (4.0, 100)):
        truth = many_gaussians(sigma, steps, SMALLEST_DELTA)
        counted = epsilon({Mechanism(sigma, 1.0, 20, 20): steps}, SMALLEST_DELTA)
        assert truth <= counted <= truth * 1.001


@settings(max_examples=20)
@given(sigmas, rates, st.sampled_from([1e-3, 1e-5, 1e-7]))
def test_one_sampled_step_is_the_integral_of_its_divergence(
    sigma: float, rate: float, delta: float
) -> None:
    step = {Mechanism(sigma, rate, 1000, 1000): 1}
    nobody, up, down = {0: 1.0}, {0: 1 - rate, 1: rate}, {0: 1 - rate, -1: rate}
    for adjacency, first, second in zip(ADJACENCIES, (nobody, down), (up, up), strict=True):
        truth = one_step(first, second, sigma, delta)
        counted = epsilon(step, delta, adjacency)
        assert truth - 1e-6 <= counted <= truth * 1.001 + 2e-3  # twice the grid


@settings(max_examples=15)
@given(
    sigma=st.floats(0.5, 4.0),
    rate=st.floats(0.05, 1.0),
    size=st.integers(2, 12),
    fewer=st.integers(0, 3),
    cap=st.integers(1, 8),
    others=st.sampled_from([-1, 0, 1]),
    mine=st.sampled_from([-1, 1]),
)
def test_a_truncated_step_never_costs_more_than_counted(
    sigma: float, rate: float, size: int, fewer: int, cap: int, others: int, mine: int
) -> None:
    """Whatever the other units give, and also at a site with fewer units than it says."""
    step = {Mechanism(sigma, rate, size, cap): 1}
    held, most = max(1, size - fewer), cap if cap < size else size + 1
    without = truncated(held, rate, most, others, None)
    added = truncated(held, rate, most, others, mine)
    assert one_step(without, added, sigma, 1e-4) <= epsilon(step, 1e-4) + 1e-6
    this, that = (truncated(held - 1, rate, most, others, unit) for unit in (mine, -mine))
    assert one_step(this, that, sigma, 1e-4) <= epsilon(step, 1e-4, "replace_one") + 1e-6


def test_forgetting_truncation_would_tell_too_little() -> None:
    """Where one unit of two stays, it stands in for the other: the sum moves by 2 C."""
    full, cap = 1.0, 1
    truth = one_step(truncated(2, full, cap, -1, None), truncated(2, full, cap, -1, 1), 1.0, 1e-4)
    forgotten = epsilon({Mechanism(1.0, 1 / 3, 2, 2): 1}, 1e-4)
    assert forgotten < truth <= epsilon({Mechanism(1.0, full, 2, cap): 1}, 1e-4)


@pytest.mark.parametrize("adjacency", ADJACENCIES)
def test_a_cap_far_above_the_expected_number_costs_nothing(adjacency: Adjacency) -> None:
    free = epsilon({Mechanism(1.0, 0.01, 3200, 3200): 1000}, DELTA, adjacency)
    capped_far = epsilon({Mechanism(1.0, 0.01, 3200, 32 + 29): 1000}, DELTA, adjacency)
    assert free <= capped_far * (1 + 1e-9) <= free * 1.005


@settings(max_examples=10)
@given(sigmas, rates, st.integers(30, 300), st.integers(5, 29), st.sampled_from(ADJACENCIES))
def test_more_units_under_the_same_cap_cost_more(
    sigma: float, rate: float, size: int, cap: int, adjacency: Adjacency
) -> None:
    """So the size that the site publishes may stand for every smaller one."""
    fewer = epsilon({Mechanism(sigma, rate, size, cap): 10}, DELTA, adjacency, 1e-2)
    more = epsilon({Mechanism(sigma, rate, size + 1, cap): 10}, DELTA, adjacency, 1e-2)
    assert fewer <= more + 1e-6


# --- against other accountants ------------------------------------------------------------------


@pytest.mark.parametrize("adjacency", ADJACENCIES)
@pytest.mark.parametrize(
    ("mechanism", "looser"),
    [
        (PLAIN, 0.0),
        (Mechanism(1.0, 0.01, 3200, 61), 0.001),  # the cap of a site file that names none
        (Mechanism(1.0, 0.1, 300, 45), 0.02),
        (Mechanism(0.8, 0.3, 30, 12), 0.25),  # a third of the steps leave somebody out
    ],
)
def test_it_is_never_below_what_dp_accounting_counts_for_the_event(
    mechanism: Mechanism, looser: float, adjacency: Adjacency
) -> None:
    relation = {
        "add_or_remove_one": NeighboringRelation.ADD_OR_REMOVE_ONE,
        "replace_one": NeighboringRelation.REPLACE_ONE,
    }[adjacency]
    theirs = PLDAccountant(relation, 1e-3).compose(mechanism.event(), 100).get_epsilon(DELTA)
    counted = epsilon({mechanism: 100}, DELTA, adjacency)
    assert theirs * (1 - 1e-8) <= counted <= theirs * (1 + looser + 1e-8)


@pytest.mark.parametrize(
    ("sigma", "rate", "steps"), [(1.0, 0.01, 1000), (2.0, 0.05, 500), (0.7, 0.01, 300)]
)
def test_prv_agrees_within_a_percent_and_rdp_lies_above(
    sigma: float, rate: float, steps: int
) -> None:
    spend = {Mechanism(sigma, rate, 10_000, 10_000): steps}
    counted = epsilon(spend, DELTA)
    upper = epsilon_prv(spend, DELTA)  # Opacus adds its error bound of 0.01
    assert upper - 0.021 <= counted <= upper
    assert upper == pytest.approx(counted, rel=0.01)
    assert epsilon_rdp(spend, DELTA) > counted


def test_the_finer_grid_of_a_certificate_is_only_tighter() -> None:
    online, certified = (
        epsilon({PLAIN: 1000}, DELTA),
        epsilon({PLAIN: 1000}, DELTA, interval=CERTIFICATE_INTERVAL),
    )
    assert certified <= online <= certified * 1.001


# --- composition --------------------------------------------------------------------------------


@few
@given(spends, spends)
def test_together_costs_more_than_each_and_less_than_the_sum(one: Spend, other: Spend) -> None:
    first, second = coarse(one, DELTA / 2), coarse(other, DELTA / 2)
    both = coarse(together(one, other), DELTA)
    assert max(coarse(one, DELTA), coarse(other, DELTA)) <= both * (1 + 1e-6) + 1e-6
    assert both <= (first + second) * (1 + 1e-3) + 1e-3


def test_three_equal_jobs_cost_far_less_than_their_sum() -> None:
    one = epsilon({PLAIN: 1000}, DELTA)
    assert epsilon(together(*[{PLAIN: 1000}] * 3), DELTA) < 0.6 * 3 * one


@few
@given(spends)
def test_the_order_does_not_matter(spend: Spend) -> None:
    backwards = dict(reversed(list(spend.items())))
    assert coarse(spend, DELTA) == coarse(backwards, DELTA)


@few
@given(st.one_of(plain, capped), st.integers(1, 500), st.integers(1, 500))
def test_a_run_in_two_parts_costs_what_it_costs_in_one(
    mechanism: Mechanism, first: int, second: int
) -> None:
    parts = together({mechanism: first}, {mechanism: second})
    assert coarse(parts, DELTA) == coarse({mechanism: first + second}, DELTA)


# --- what moves it ------------------------------------------------------------------------------


@few
@given(st.one_of(plain, capped), st.integers(1, 300), st.integers(1, 300))
@example(Mechanism(1.125, 0.796875, 20, 5), 241, 6)
def test_it_grows_with_steps(mechanism: Mechanism, steps: int, more: int) -> None:
    assert coarse({mechanism: steps}, DELTA) <= coarse({mechanism: steps + more}, DELTA) + 1e-9


@few
@given(sigmas, st.floats(1.01, 3.0), rates, st.integers(1, 1000))
def test_it_falls_with_noise(sigma: float, factor: float, rate: float, steps: int) -> None:
    less, more = (Mechanism(s, rate, 1000, 1000) for s in (sigma, sigma * factor))
    assert coarse({more: steps}, DELTA) <= coarse({less: steps}, DELTA) + 1e-9


@few
@given(spends)
def test_it_falls_with_delta(spend: Spend) -> None:
    assert coarse(spend, 1e-4) <= coarse(spend, 1e-6)


@few
@given(spends)
def test_replacing_one_costs_more_than_removing_one(spend: Spend) -> None:
    assert coarse(spend, DELTA) <= coarse(spend, DELTA, "replace_one") * (1 + 1e-6)


# --- edges --------------------------------------------------------------------------------------


@pytest.mark.parametrize("adjacency", ADJACENCIES)
def test_nothing_done_costs_nothing(adjacency: Adjacency) -> None:
    assert epsilon({}, DELTA, adjacency) == 0.0
    assert epsilon({PLAIN: 0}, DELTA, adjacency) == 0.0
    assert epsilon_prv({}, DELTA) == epsilon_rdp({PLAIN: 0}, DELTA) == 0.0


@settings(max_examples=15)
@given(
    st.floats(0.3, 50.0),
    st.floats(1e-4, 1.0),
    st.sampled_from([1, 100, 10_000, 100_000]),
    st.sampled_from(ADJACENCIES),
)
def test_a_wide_range_of_settings_has_an_epsilon(
    sigma: float, rate: float, steps: int, adjacency: Adjacency
) -> None:
    value = epsilon({Mechanism(sigma, rate, 1000, 1000): steps}, DELTA, adjacency)
    assert 0 <= value < math.inf


def test_a_coarsened_grid_only_raises_it() -> None:
    """A hundred thousand steps of hardly any noise, where the fine grid would fill the memory."""
    counted = epsilon({Mechanism(0.3, 1.0, 20, 20): 100_000}, DELTA)
    truth = 100_000 / (2 * 0.3**2)  # the mean of the loss; its deviation is a thousandth of that
    assert truth < counted < 1.02 * truth


def test_noise_of_next_to_nothing_is_no_protection() -> None:
    assert epsilon({Mechanism(1e-4, 0.5, 100, 100): 10}, DELTA) == math.inf


def test_losses_beyond_floating_point_are_infinite_not_wrong() -> None:
    assert epsilon({Mechanism(0.05, 0.01, 100, 100): 5}, 0.5) >= 0


@pytest.mark.parametrize("delta", [0.0, -1e-5, 1.0, math.nan, 1e-11])
def test_a_delta_without_epsilon_is_refused(delta: float) -> None:
    with pytest.raises(PrivacyError, match="delta"):
        epsilon({PLAIN: 1}, delta)


@pytest.mark.parametrize("steps", [-1, 1.5, True])
def test_a_count_that_is_none_is_refused(steps: int) -> None:
    with pytest.raises(PrivacyError, match="steps"):
        epsilon({PLAIN: steps}, DELTA)


def test_what_is_no_mechanism_has_no_epsilon() -> None:
    with pytest.raises(PrivacyError, match="mechanism"):
        epsilon({"shuffled": 10}, DELTA)  # type: ignore[dict-item]


def test_an_unknown_adjacency_is_refused() -> None:
    with pytest.raises(PrivacyError, match="adjacency"):
        epsilon({PLAIN: 1}, DELTA, "zero_out")  # type: ignore[arg-type]

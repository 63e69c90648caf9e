"""The noise that is found keeps the promise, and a little less would not."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedefm.config import Adjacency, DpConfig
from fedefm.errors import PrivacyError
from privacy.accountant import epsilon as epsilon_of
from privacy.calibrate import Sampling, noise_for, sampling_for
from privacy.mechanism import Mechanism, Spend, together
from tests.privacy.exact import many_gaussians

DELTA = 1e-5
ADJACENCIES: tuple[Adjacency, ...] = ("add_or_remove_one", "replace_one")


@settings(max_examples=8)
@given(
    epsilon=st.floats(0.3, 20.0),
    rate=st.floats(1e-3, 1.0),
    cap=st.integers(50, 300),
    steps=st.integers(1, 2000),
    adjacency=st.sampled_from(ADJACENCIES),
)
def test_the_least_noise_is_found(
    epsilon: float, rate: float, cap: int, steps: int, adjacency: Adjacency
) -> None:
    noise = noise_for(epsilon, DELTA, adjacency, rate, 200, cap, steps)
    less = float(f"{noise:.3e}") - 10.0 ** (int(f"{noise:e}".split("e")[1]) - 3)

    def needed(sigma: float) -> float:
        return epsilon_of({Mechanism(sigma, rate, 200, cap): steps}, DELTA, adjacency)

    assert needed(noise) <= epsilon < needed(less)
    assert noise == float(f"{noise:.3e}")


def test_without_sampling_it_is_the_analytic_gaussian() -> None:
    noise = noise_for(3.0, DELTA, "add_or_remove_one", 1.0, 20, 20, 100)
    assert many_gaussians(noise, 100, DELTA) <= 3.0 < many_gaussians(noise * 0.998, 100, DELTA)


def test_what_was_spent_counts_together_with_what_is_planned() -> None:
    spent: Spend = {Mechanism(1.0, 0.01, 3200, 3200): 1000}
    noise = noise_for(3.0, DELTA, "add_or_remove_one", 0.01, 3200, 61, 1000, spent)
    plan = {Mechanism(noise, 0.01, 3200, 61): 1000}
    assert epsilon_of(together(spent, plan), DELTA) <= 3.0
    assert noise > noise_for(3.0, DELTA, "add_or_remove_one", 0.01, 3200, 61, 1000)


def test_a_new_plan_after_lost_steps_takes_more_noise_and_keeps_the_promise() -> None:
    before = noise_for(3.0, DELTA, "add_or_remove_one", 0.01, 3200, 3200, 1000)
    lost: Spend = {Mechanism(before, 0.01, 3200, 3200): 420}  # 400 trained, 20 died
    after = noise_for(3.0, DELTA, "add_or_remove_one", 0.01, 3200, 3200, 600, lost)
    assert after > before
    everything = together(lost, {Mechanism(after, 0.01, 3200, 3200): 600})
    assert epsilon_of(everything, DELTA) <= 3.0


def test_equal_questions_have_equal_answers() -> None:
    spends = [
        {Mechanism(1.0, 0.01, 100, 100): 10, Mechanism(2.0, 0.1, 100, 100): 20},
        {Mechanism(2.0, 0.1, 100, 100): 20, Mechanism(1.0, 0.01, 100, 100): 10},
    ]
    first, second = (
        noise_for(5.0, DELTA, "add_or_remove_one", 0.1, 100, 30, 100, s) for s in spends
    )
    assert first == second


def test_three_thousand_steps_are_calibrated_within_seconds() -> None:
    started = time.process_time()
    noise_for(3.0, 1.3e-5, "add_or_remove_one", 0.01, 3200, 61, 3000)
    assert time.process_time() - started < 6  # under 2 on an idle machine


def test_what_is_spent_beyond_the_promise_cannot_be_taken_back() -> None:
    spent: Spend = {Mechanism(1.0, 0.01, 1000, 1000): 3000}
    with pytest.raises(PrivacyError, match="already spent"):
        noise_for(3.0, DELTA, "add_or_remove_one", 0.01, 1000, 1000, 10, spent)


def test_a_promise_out_of_reach_is_refused_with_a_way_out() -> None:
    with pytest.raises(PrivacyError, match="fewer steps"):
        noise_for(1e-3, DELTA, "add_or_remove_one", 1.0, 10, 10, 10_000)


@pytest.mark.parametrize("epsilon", [0.0, -1.0, float("nan"), float("inf")])
def test_no_promise_is_none(epsilon: float) -> None:
    with pytest.raises(PrivacyError, match="epsilon"):
        noise_for(epsilon, DELTA, "add_or_remove_one", 0.1, 100, 100, 10)


@pytest.mark.parametrize("steps", [0, -3])
def test_no_steps_need_no_noise(steps: int) -> None:
    with pytest.raises(PrivacyError, match="steps"):
        noise_for(1.0, DELTA, "add_or_remove_one", 0.1, 100, 100, steps)


# --- sampling -----------------------------------------------------------------------------------


@given(st.integers(1, 10**6), st.integers(1, 5000))
def test_the_expected_number_is_what_was_asked_for_or_everybody(units: int, wanted: int) -> None:
    sampling = sampling_for(DpConfig(epsilon=1.0, patients_per_step=wanted), units)
    assert sampling.expected == pytest.approx(min(wanted, units))
    assert 0 < sampling.rate <= 1
    assert sampling.expected <= sampling.cap * (1 + 1e-12)
    assert sampling.cap <= units
    assert sampling.mechanism(1.0) == Mechanism(1.0, sampling.rate, units, sampling.cap)


def test_the_default_cap_hardly_ever_leaves_anybody_out() -> None:
    sampling = sampling_for(DpConfig(epsilon=1.0, patients_per_step=32), 3200)
    free = epsilon_of({Mechanism(1.0, sampling.rate, 3200, 3200): 3000}, DELTA)
    assert epsilon_of({sampling.mechanism(1.0): 3000}, DELTA) <= free * 1.005


def test_a_cap_in_the_run_file_is_kept() -> None:
    dp = DpConfig(epsilon=1.0, patients_per_step=32, max_patients_per_step=40)
    assert sampling_for(dp, 3200) == Sampling(0.01, 3200, 40)
    assert sampling_for(dp, 20) == Sampling(1.0, 20, 20)


def test_a_site_without_patients_is_refused() -> None:
    with pytest.raises(PrivacyError, match="at least one"):
        sampling_for(DpConfig(epsilon=1.0), 0)

"""What a run would cost, and what would fit in its place: always the ledger's own sums."""

import pytest

from fedefm.config import DpConfig
from privacy.accountant import epsilon
from privacy.calibrate import noise_for, sampling_for
from privacy.ledger import Budget, Dataset
from privacy.mechanism import Mechanism, together
from privacy.policy import Promise
from privacy.what_if import Answer, Planned, Way, answer

DELTA = 1e-3
BEFORE = {Mechanism(1.5, 0.1, 100, 30): 20}
ROUNDS = (5, 5, 10) * 4


def asked(dp: dict, cap: float | None = 3.0, before=BEFORE, rounds=ROUNDS, delta=DELTA) -> Answer:
    settings = DpConfig(delta=delta, patients_per_step=10, **dp)
    budget = Budget(cap, DELTA, "add_or_remove_one")
    pledge = Promise(Dataset("chest", "patient"), 100, delta, "add_or_remove_one", budget)
    return answer(Planned(settings, rounds, 20), pledge, before)


def way(found: Answer, what: str) -> Way:
    (one,) = [way for way in found.ways if way.what == what]
    return one


def test_the_total_is_counted_together_with_what_was_before():
    found = asked({"noise_multiplier": 2.0}, cap=9.0)
    everything = together(BEFORE, {found.mechanism: 80})
    assert found.costs.total == epsilon(everything, DELTA)
    assert found.costs.total < found.costs.run + found.before
    assert (found.fits, found.ways) == (True, ())
    assert found.left == pytest.approx(9.0 - found.costs.total)


def test_parts_of_the_run_are_counted_with_its_own_step():
    found = asked({"noise_multiplier": 2.0})
    assert found.costs.step == epsilon({found.mechanism: 1}, DELTA)
    assert found.costs.round == epsilon({found.mechanism: 10}, DELTA)
    assert found.costs.guest == pytest.approx(
        epsilon({found.mechanism: 100}, DELTA) - epsilon({found.mechanism: 80}, DELTA)
    )


def test_an_epsilon_is_met_with_the_noise_that_the_run_would_use():
    found = asked({"epsilon": 1.5}, delta=1e-4)
    sampling = sampling_for(DpConfig(epsilon=1.5, patients_per_step=10), 100)
    noise = noise_for(
        1.5, 1e-4, "add_or_remove_one", sampling.rate, sampling.units, sampling.cap, 80
    )
    assert found.mechanism == sampling.mechanism(noise)
    assert found.costs.run == epsilon({found.mechanism: 80}, 1e-4) <= 1.5


def test_without_a_cap_everything_fits():
    found = asked({"noise_multiplier": 0.5}, cap=None)
    assert (found.fits, found.left, found.ways) == (True, None, ())


def test_what_would_fit_fits_and_a_little_more_would_not():
    found = asked({"noise_multiplier": 1.0})
    assert not found.fits
    assert {way.what for way in found.ways} == {
        "more noise",
        "fewer rounds",
        "fewer patients a step",
    }
    assert all(way.total <= 3.0 for way in found.ways)

    rounds = way(found, "fewer rounds").settings["federation.rounds"]
    steps = sum(ROUNDS[: rounds + 1])
    assert epsilon(together(BEFORE, {found.mechanism: steps}), DELTA) > 3.0

    noise = way(found, "more noise").settings["privacy.dp.noise_multiplier"]
    less = Mechanism(noise * 0.998, 0.1, 100, found.mechanism.batch_cap)
    assert epsilon(together(BEFORE, {less: 80}), DELTA) > 3.0

    number = way(found, "fewer patients a step").settings["privacy.dp.patients_per_step"]
    dp = DpConfig(noise_multiplier=1.0, patients_per_step=number + 1)
    more = sampling_for(dp, 100).mechanism(1.0)
    assert epsilon(together(BEFORE, {more: 80}), DELTA) > 3.0


def test_an_epsilon_that_is_too_large_gets_a_smaller_one_that_fits():
    found = asked({"epsilon": 2.9})
    smaller = way(found, "a smaller epsilon").settings["privacy.dp.epsilon"]
    assert asked({"epsilon": smaller}).fits
    assert not asked({"epsilon": smaller + 0.05}).fits


def test_fewer_rounds_keep_the_noise_by_name():
    # with an epsilon in its place the noise would shrink with the rounds, and nothing be saved
    settings = way(asked({"epsilon": 2.9}), "fewer rounds").settings
    assert settings["privacy.dp.epsilon"] is None
    assert (
        settings["privacy.dp.noise_multiplier"]
        == asked({"epsilon": 2.9}).mechanism.noise_multiplier
    )


def test_a_budget_that_is_used_up_has_no_way():
    found = asked({"noise_multiplier": 1.0}, cap=epsilon(BEFORE, DELTA))
    assert (found.fits, found.ways) == (False, ())

"""A step with a share of the noise leaves no trace but the noisy sum, which is given away once."""

import math

import pytest
import torch
from scipy import stats

from fedefm.errors import BudgetExhausted, PrivacyError
from privacy.calibrate import Sampling
from privacy.dp.gradients import Clip
from privacy.dp.loop import LoopGradients
from privacy.dp.sharing import SharingTrainer
from privacy.secagg.noise_shares import NoiseShares

NUMBERS = 6 * 6 * 8 + 8 + 8 * 3 + 3  # of the small model


def shares_of(most=5, noise=1.0, honest=4, numbers=NUMBERS, clip=1.0):
    return NoiseShares(clip, noise, honest, most, numbers)


def sharing(private, frames, shares=None, left=10_000, clip=1.0, randomness=None, purse=None):
    shares = shares or shares_of()
    units = len(frames.patients.unique())
    sampling = Sampling(1.0, units, units)
    purse = purse or private.Purse(
        sampling.mechanism(shares.noise_multiplier, shares.honest), left=left
    )
    return SharingTrainer(
        frames, sampling, Clip(clip), LoopGradients(), shares, purse, 1, "patient", None, randomness
    )


def fit(trainer, model, private, steps=1):
    return trainer.fit(model, private.cross_entropy, steps, 0.1, torch.Generator())


def vector(given):
    return torch.cat([part.flatten() for part in given.values()])


def test_without_noise_it_is_the_sum_from_which_another_trainer_steps(private):
    data, ours, theirs = (
        private.frames_of([1] * 5),
        private.small_model(),
        private.small_model(),
    )
    trainer = sharing(private, data, randomness=private.Quiet())
    fit(trainer, ours, private)
    before = private.flat(theirs)
    other = private.trainer(data, randomness=private.Quiet())
    other.fit(theirs, private.cross_entropy, 1, 1.0, torch.Generator())
    step = 5 * (before - private.flat(theirs))  # it was divided by the expected number
    quantum = shares_of().quantum
    given = trainer.give()
    assert list(given) == [name for name, _ in ours.named_parameters()]
    assert (vector(given) - step).abs().max() <= 1.1 * quantum
    assert torch.equal((vector(given) / quantum).round(), vector(given) / quantum)


def test_the_model_and_what_continues_are_left_as_they_were(private):
    model = private.small_model()
    before = private.flat(model)
    trainer = sharing(private, private.frames_of([1] * 5))
    stats_of_fit = fit(trainer, model, private)
    assert torch.equal(private.flat(model), before)
    assert trainer.state() == {}
    assert stats_of_fit.loss is None


def test_the_noise_is_a_share_of_what_the_account_counts(private):
    data, quiet = private.frames_of([1] * 5), private.Quiet()
    loud = sharing(private, data, shares_of(noise=2.0, honest=16))
    still = sharing(private, data, shares_of(noise=2.0, honest=16), randomness=quiet)
    drawn = []
    for _ in range(8):
        model = private.small_model()
        fit(loud, model, private)
        fit(still, model, private)
        drawn.append(vector(loud.give()) - vector(still.give()))
    noise = torch.cat(drawn).double() / (2.0 / math.sqrt(16))
    chi = stats.chi2(len(noise))
    squares = float(noise.square().sum())
    assert min(chi.cdf(squares), chi.sf(squares)) > 1e-9
    assert stats.kstest(noise.numpy(), "norm").pvalue > 1e-9


def test_a_step_without_anybody_has_noise_all_the_same(private):
    shares = shares_of()
    sampling = Sampling(1e-9, 5, 5)
    purse = private.Purse(sampling.mechanism(1.0, 4))
    trainer = SharingTrainer(
        private.frames_of([1] * 5), sampling, Clip(1.0), LoopGradients(), shares, purse, 1,
        "patient", None,
    )  # fmt: skip
    fit(trainer, private.small_model(), private)
    assert float(vector(trainer.give()).std()) == pytest.approx(shares.deviation, rel=0.3)


def test_a_sum_is_given_once(private):
    trainer = sharing(private, private.frames_of([1] * 5))
    with pytest.raises(PrivacyError, match="no step to give"):
        trainer.give()
    fit(trainer, private.small_model(), private)
    trainer.give()
    with pytest.raises(PrivacyError, match="given before"):
        trainer.give()


def test_a_fit_that_failed_leaves_nothing_to_give_not_even_of_the_one_before(private):
    trainer = sharing(private, private.frames_of([1] * 5), left=1)
    fit(trainer, private.small_model(), private)
    with pytest.raises(BudgetExhausted):
        fit(trainer, private.small_model(), private)
    with pytest.raises(PrivacyError, match="no step to give"):
        trainer.give()


def test_what_was_not_settled_is_not_given(private):
    class Unsettled(private.Purse):
        def settle(self, reservation, steps):
            raise PrivacyError("the disk is full")

    data = private.frames_of([1] * 5)
    purse = Unsettled(Sampling(1.0, 5, 5).mechanism(1.0, 4))
    trainer = sharing(private, data, purse=purse)
    with pytest.raises(PrivacyError, match="disk is full"):
        fit(trainer, private.small_model(), private)
    with pytest.raises(PrivacyError, match="no step to give"):
        trainer.give()


def test_the_step_is_paid_for_before_it_is_taken(private):
    purse = private.Purse(Sampling(1.0, 5, 5).mechanism(1.0, 4))
    fit(
        sharing(private, private.frames_of([1] * 5), purse=purse),
        private.small_model(),
        private,
    )
    assert purse.log == [("reserve", 1), ("settle", 1, 1)]


def test_two_steps_at_once_are_refused_before_anything_is_spent(private):
    purse = private.Purse(Sampling(1.0, 5, 5).mechanism(1.0, 4))
    trainer = sharing(private, private.frames_of([1] * 5), purse=purse)
    with pytest.raises(PrivacyError, match="2 steps at once"):
        fit(trainer, private.small_model(), private, steps=2)
    assert purse.log == []


@pytest.mark.parametrize(
    ("shares", "words"),
    [
        (shares_of(most=4), "up to 4 units"),
        (shares_of(clip=0.5), "within 0.5"),
    ],
)
def test_a_step_that_the_noise_is_not_for_is_refused(private, shares, words):
    with pytest.raises(PrivacyError, match=words):
        sharing(private, private.frames_of([1] * 5), shares)


def test_a_model_of_another_size_is_refused_before_anything_is_spent(private):
    purse = private.Purse(Sampling(1.0, 5, 5).mechanism(1.0, 4))
    trainer = sharing(private, private.frames_of([1] * 5), shares_of(numbers=9), purse=purse)
    with pytest.raises(PrivacyError, match="for 9 trained numbers"):
        fit(trainer, private.small_model(), private)
    assert purse.log == []


def test_an_account_that_counts_the_noise_as_the_site_s_own_is_refused(private):
    purse = private.Purse(Sampling(1.0, 5, 5).mechanism(1.0))
    with pytest.raises(PrivacyError, match="build both from the same settings"):
        sharing(private, private.frames_of([1] * 5), purse=purse)

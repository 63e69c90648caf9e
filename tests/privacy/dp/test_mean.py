"""A noisy mean over patients: what it costs, what it can give away, and what it comes to."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fedefm.errors import BudgetExhausted, PrivacyError
from privacy.calibrate import Sampling
from privacy.dp.mean import PrivateMean

CERTAIN = 1e-9  # a right mean fails a statistical test about once in a billion runs


@pytest.fixture(name="mean", scope="session")
def _mean(private):
    """Builds a mean for patients with so many frames each, and the account it asks."""

    def build(counts, rate=1.0, noise=1.0, left=10_000, quiet=False, frames=99, units=None):
        units = units or len(counts)
        sampling = Sampling(rate, units, units)
        purse = private.Purse(sampling.mechanism(noise), left)
        data = private.frames_of(counts)
        stream = private.Quiet() if quiet else None
        mean = PrivateMean(data, sampling, noise, purse, frames, "patient", stream)
        return mean, purse, data

    return build


def call(mean, per_image, length):
    return mean(per_image, length, torch.Generator().manual_seed(0))


def test_without_noise_it_is_the_mean_over_patients_of_means_over_their_frames(mean):
    quiet, _, data = mean([1, 4, 2], quiet=True)
    rows = torch.rand(7, 3, generator=torch.Generator().manual_seed(1))
    rows /= rows.sum(dim=1, keepdim=True)
    patients = torch.stack([rows[data.patients == patient].mean(dim=0) for patient in range(3)])
    found = call(quiet, lambda asked: rows[asked], 3)
    torch.testing.assert_close(found, patients.mean(dim=0), rtol=1e-3, atol=1e-3)


@given(st.floats(0.01, 3), st.integers(1, 6), st.integers(1, 9))
def test_what_comes_out_are_shares(mean, noise, length, patients):
    noisy, _, _ = mean([2] * patients, noise=noise)
    found = call(noisy, lambda rows: torch.full((len(rows), length), 1 / length), length)
    assert found.shape == (length,)
    assert found.min() >= 0
    assert float(found.sum()) == pytest.approx(1, abs=1e-5)


def test_where_nothing_is_left_above_zero_all_share_alike(mean):
    quiet, _, _ = mean([1, 1], quiet=True)
    found = call(quiet, lambda rows: torch.zeros(len(rows), 4), 4)
    assert found.tolist() == [0.25] * 4


def test_a_patient_pulls_by_at_most_a_norm_of_one_whatever_it_says(mean):
    quiet, _, data = mean([1, 1], quiet=True)
    loud, calm = (int((data.patients == patient).nonzero()[0, 0]) for patient in (0, 1))
    vectors = torch.zeros(2, 2)
    vectors[loud, 0], vectors[calm, 1] = 1e6, 1.0
    found = call(quiet, lambda rows: vectors[rows], 2)
    torch.testing.assert_close(found, torch.tensor([0.5, 0.5]), rtol=1e-3, atol=0)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_patient_that_is_not_finite_counts_as_zero(mean, bad):
    quiet, _, data = mean([2, 1], quiet=True)
    vectors = torch.tensor([[0.25, 0.75]]).repeat(3, 1)
    vectors[int((data.patients == 0).nonzero()[0, 0])] = bad
    found = call(quiet, lambda rows: vectors[rows], 2)
    torch.testing.assert_close(found, torch.tensor([0.25, 0.75]), rtol=1e-3, atol=0)


def test_noise_has_the_deviation_that_the_account_counts(mean, monkeypatch):
    # before negative shares become 0, which hides half of the noise
    monkeypatch.setattr("privacy.dp.mean._shares", lambda means: means)
    noisy, _, _ = mean([1] * 4, noise=0.8)
    found = call(noisy, lambda rows: torch.zeros(len(rows), 5000), 5000).double()
    assert stats.kstest(found.numpy() / (0.8 / 4), "norm").pvalue > CERTAIN
    squares = float((found / (0.8 / 4)).square().sum())
    assert min(stats.chi2(5000).cdf(squares), stats.chi2(5000).sf(squares)) > CERTAIN
    assert stats.chi2(5000).sf(squares / 0.9**2) < CERTAIN


def test_it_is_divided_by_the_expected_number_of_patients(mean, monkeypatch):
    monkeypatch.setattr("privacy.dp.mean._shares", lambda means: means)
    quiet, _, _ = mean([1] * 10, rate=0.5, units=16, quiet=True)
    seen = []

    def per_image(rows):
        seen.append(len(rows))
        return torch.tensor([[1.0, 0.0]])

    for _ in range(20):
        seen.clear()
        found = call(quiet, per_image, 2)
        assert float(found[0]) == pytest.approx(len(seen) / 8, rel=1e-3)


def test_patients_are_shown_alone_and_with_no_more_frames_than_agreed(mean):
    noisy, _, data = mean([5, 3, 1], frames=2)
    shown = []

    def per_image(rows):
        shown.append(rows)
        return torch.zeros(len(rows), 2)

    call(noisy, per_image, 2)
    assert [len(data.patients[rows].unique()) for rows in shown] == [1, 1, 1]
    assert sorted(len(rows) for rows in shown) == [1, 2, 2]


def test_it_is_one_step_reserved_before_an_image_is_looked_at(mean):
    noisy, purse, _ = mean([1, 1])

    def per_image(rows):
        purse.log.append("images")
        return torch.zeros(len(rows), 2)

    call(noisy, per_image, 2)
    assert purse.log == [("reserve", 1), "images", "images", ("settle", 1, 1)]


def test_without_budget_nothing_is_looked_at(mean):
    noisy, purse, _ = mean([1, 1], left=0)
    with pytest.raises(BudgetExhausted):
        call(noisy, lambda rows: pytest.fail("an image was looked at"), 2)
    assert purse.log == []


def test_a_call_that_fails_leaves_its_step_spent(mean):
    noisy, purse, _ = mean([1, 1])
    with pytest.raises(ValueError, match="numbers of 1 images"):
        call(noisy, lambda rows: torch.zeros(len(rows), 3), 2)
    assert purse.log == [("reserve", 1)]


def test_an_account_that_counts_other_steps_is_refused(private):
    sampling = Sampling(1.0, 2, 2)
    with pytest.raises(PrivacyError, match="the account counts"):
        PrivateMean(
            private.frames_of([1, 1]),
            sampling,
            1.0,
            private.Purse(sampling.mechanism(2.0)),
            1,
            "patient",
        )


def test_the_seed_of_the_run_steers_nothing_and_two_calls_differ(mean):
    noisy, _, _ = mean([1] * 3)
    rng = torch.Generator().manual_seed(0)
    untouched = rng.get_state()
    found = [noisy(lambda rows: torch.full((len(rows), 8), 0.125), 8, rng) for _ in range(2)]
    assert torch.equal(rng.get_state(), untouched)
    assert not torch.equal(found[0], found[1])

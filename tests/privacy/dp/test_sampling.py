"""Who is drawn: by Poisson sampling, cut off at the cap, with fresh frames each time."""

from collections import Counter
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from fedefm.data.dataset import Batch
from fedefm.errors import DataError, PrivacyError
from privacy.calibrate import Sampling
from privacy.dp.randomness import SecretStream
from privacy.dp.sampling import Sampler, unit_batch

CERTAIN = 1e-9  # a right sampler fails a statistical test about once in a billion runs


def sampler(patients, rate=1.0, cap=None, frames=1, unit="patient", units=None):
    patients = torch.tensor(patients)
    units = units or (len(patients.unique()) if unit == "patient" else len(patients))
    return Sampler(patients, Sampling(rate, units, cap or units), frames, unit, SecretStream())


def owners(patients, drawn):
    """Whose frames were drawn, unit by unit."""
    return [patients[rows[0]] for rows in drawn]


@given(
    patients=st.lists(st.integers(0, 8), min_size=1, max_size=40),
    rate=st.floats(0.01, 1.0),
    cap=st.integers(1, 12),
    frames=st.integers(1, 5),
)
def test_a_draw_holds_patients_once_with_frames_of_their_own(patients, rate, cap, frames):
    units = len(set(patients))
    cap = min(cap, units)
    drawing = sampler(patients, rate, cap, frames)
    for _ in range(5):
        drawn = drawing.draw()
        assert len(drawn) <= cap
        assert len(set(owners(patients, drawn))) == len(drawn)
        for rows in drawn:
            (owner,) = {patients[row] for row in rows}
            assert len(rows) == min(frames, patients.count(owner))
            assert len(set(rows.tolist())) == len(rows)


@given(st.lists(st.integers(0, 8), min_size=1, max_size=40), st.integers(1, 3))
def test_at_rate_one_everybody_is_drawn(patients, frames):
    drawn = sampler(patients, 1.0, frames=frames).draw()
    assert sorted(owners(patients, drawn)) == sorted(set(patients))


@given(st.integers(1, 30), st.floats(0.1, 1.0), st.integers(1, 4))
def test_with_the_image_as_unit_each_frame_stands_for_itself(images, rate, frames):
    drawn = sampler([7] * images, rate, frames=frames, unit="image").draw()
    rows = torch.cat(drawn).tolist() if drawn else []
    assert all(len(one) == 1 for one in drawn)
    assert len(set(rows)) == len(rows) == len(drawn)


@pytest.mark.parametrize("rate", [0.02, 0.5, 0.97])
def test_each_patient_is_drawn_with_the_rate_and_apart_from_the_others(rate):
    patients, draws = [0, 0, 0, 1, 2, 3], 20_000  # many frames make nobody likelier
    drawing = sampler(patients, rate)
    found = Counter(tuple(owners(patients, drawing.draw())) for _ in range(draws))
    for patient in range(4):
        times = sum(count for drawn, count in found.items() if patient in drawn)
        assert stats.binomtest(times, draws, rate).pvalue > CERTAIN
    # the sixteen sets of patients come as often as four independent coins say
    sets = [drawn for size in range(5) for drawn in combinations(range(4), size)]
    expected = [draws * rate ** len(s) * (1 - rate) ** (4 - len(s)) for s in sets]
    often = [k for k, count in enumerate(expected) if count >= 5]
    seen, wanted = [found[sets[k]] for k in often], [expected[k] for k in often]
    rest = draws - sum(seen), draws - sum(wanted)
    if rest[1] >= 5:
        seen, wanted = [*seen, rest[0]], [*wanted, rest[1]]
    scaled = np.array(wanted) * sum(seen) / sum(wanted)
    assert stats.chisquare(seen, scaled).pvalue > CERTAIN


def test_the_number_drawn_varies_as_binomial_and_is_not_fixed():
    drawing = sampler(list(range(60)), 0.25)
    numbers = np.array([len(drawing.draw()) for _ in range(4000)])
    assert abs(numbers.mean() - 15) < 6 * (60 * 0.25 * 0.75 / 4000) ** 0.5
    edges = range(8, 24)
    counts = [(numbers < 8).sum(), *[(numbers == k).sum() for k in edges], (numbers >= 24).sum()]
    binomial = stats.binom(60, 0.25)
    expected = [binomial.cdf(7), *binomial.pmf(edges), binomial.sf(23)]
    assert stats.chisquare(counts, np.array(expected) * 4000).pvalue > CERTAIN


def test_draws_of_two_steps_are_independent():
    drawing = sampler(list(range(200)), 0.5)
    numbers = np.array([len(drawing.draw()) for _ in range(3000)])
    assert stats.pearsonr(numbers[:-1], numbers[1:]).pvalue > CERTAIN
    first, second = ({*owners(range(200), drawing.draw())} for _ in range(2))
    assert first != second


def test_where_too_many_are_drawn_each_set_of_them_stays_as_often():
    patients = list(range(6))
    drawing = sampler(patients, 1.0, cap=3)
    found = Counter(tuple(sorted(owners(patients, drawing.draw()))) for _ in range(8000))
    assert set(found) == set(combinations(range(6), 3))
    assert stats.chisquare(list(found.values())).pvalue > CERTAIN


def test_truncation_is_binomial_cut_off_at_the_cap():
    drawing = sampler(list(range(20)), 0.5, cap=11)
    numbers = [len(drawing.draw()) for _ in range(4000)]
    assert max(numbers) == 11
    assert stats.binomtest(numbers.count(11), 4000, stats.binom.sf(10, 20, 0.5)).pvalue > CERTAIN


def test_a_cap_of_all_units_leaves_nobody_out():
    """As it is counted: by plain Poisson sampling, for a neighbor with one patient more as well."""
    drawing = sampler([0, 1, 2], 1.0, cap=3, units=3)
    assert all(len(drawing.draw()) == 3 for _ in range(50))


def test_fewer_patients_than_published_are_drawn_at_the_published_rate():
    drawing = sampler(list(range(10)), 0.5, cap=30, units=40)
    numbers = sum(len(drawing.draw()) for _ in range(2000))
    assert stats.binomtest(numbers, 20_000, 0.5).pvalue > CERTAIN


def test_frames_are_fresh_each_time_and_each_pair_comes_as_often():
    drawing = sampler([4] * 5, 1.0, frames=2)
    found = Counter(tuple(sorted(drawing.draw()[0].tolist())) for _ in range(6000))
    assert set(found) == set(combinations(range(5), 2))
    assert stats.chisquare(list(found.values())).pvalue > CERTAIN


def test_an_empty_draw_is_nothing_at_all():
    drawing = sampler([0, 1, 2], 1e-12)
    assert not drawing.draw()


@given(st.integers(1, 20), st.integers(1, 4))
def test_a_batch_numbers_its_units_and_shares_sum_to_one(patients, frames):
    data = Frames(torch.arange(3 * patients) % patients)
    drawing = sampler(data.patients.tolist(), 0.7, frames=frames)
    drawn = drawing.draw()
    if not drawn:
        return
    step = unit_batch(data.batch(torch.cat(drawn)), [len(rows) for rows in drawn])
    assert step.count == len(drawn)
    assert torch.equal(step.batch.rows, torch.cat(drawn))
    shares = torch.zeros(step.count).index_add_(0, step.units, step.shares)
    torch.testing.assert_close(shares, torch.ones(step.count))
    for unit, rows in enumerate(drawn):
        assert torch.equal(step.batch.rows[step.units == unit], rows)


class Frames:
    """Frames without images."""

    def __init__(self, patients):
        self.patients, self.classes = patients, ("one",)

    def __len__(self):
        return len(self.patients)

    def batch(self, rows, transform=None, rng=None):
        return Batch(torch.zeros(len(rows), 1, 2, 2), torch.zeros(len(rows)).long(), rows)


def test_nothing_to_draw_from_is_refused():
    with pytest.raises(DataError, match="no training images"):
        sampler([], units=3)


@pytest.mark.parametrize("unit", ["patient", "image"])
def test_more_units_than_published_are_refused_without_saying_how_many(unit):
    with pytest.raises(PrivacyError, match=f"more {unit}s than the 3") as refused:
        sampler([0, 1, 2, 3, 4], units=3, unit=unit)
    assert "5" not in str(refused.value)

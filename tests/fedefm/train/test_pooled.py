"""Numbers that travel as whole ones in a sum, against means and counts taken in one place."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedefm.train.exchange import RoundStats
from fedefm.train.measure import ACCURACY
from fedefm.train.pooled import (
    MOST,
    PUBLISHED_SPLITS,
    ROUND_NUMBERS,
    UNIT,
    pooled_round,
    pooled_splits,
    round_part,
)

LOSSES = st.none() | st.floats(0, MOST)
SIMILARITIES = st.dictionaries(st.sampled_from("abc"), st.floats(-1, 1), max_size=3)
COUNTS = st.integers(0, 5000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))
SITES = st.lists(
    st.tuples(LOSSES, SIMILARITIES, COUNTS, st.integers(1, 9999)), min_size=1, max_size=16
)


def part_of(loss, similarity, counts, size):
    return round_part(RoundStats(loss, similarity=similarity), *counts, size)


def mean(values):
    return sum(values) / len(values) if values else None


@given(SITES)
def test_the_sum_of_the_parts_says_what_all_sites_measured_together(sites):
    pooled = pooled_round(sum(part_of(*site) for site in sites), len(sites))

    points, images = (sum(counts[k] for _, _, counts, _ in sites) for k in (0, 1))
    assert (pooled.points, pooled.images, pooled.sites) == (points, images, len(sites))
    assert pooled.score(ACCURACY) == (points / images if images else None)
    assert pooled.trained_on == sum(size for *_, size in sites)
    losses = [loss for loss, *_ in sites if loss is not None]
    near = {"rel": 0, "abs": UNIT / 2 + 1e-9}
    assert pooled.loss == (pytest.approx(mean(losses), **near) if losses else None)
    agreements = [mean(list(similar.values())) for _, similar, *_ in sites if similar]
    assert pooled.similarity == (pytest.approx(mean(agreements), **near) if agreements else None)


@given(SITES)
def test_every_part_is_made_of_whole_numbers_that_a_sum_adds_exactly(sites):
    for site in sites:
        part = part_of(*site)
        assert (part.shape, part.dtype) == ((ROUND_NUMBERS,), torch.float32)
        assert torch.equal(part, part.round())
        assert part.abs().max() <= 2**18  # fits into the smallest ring, of 31 sites


@pytest.mark.parametrize("loss", [math.nan, math.inf, None])
def test_a_loss_that_is_no_number_is_not_told(loss):
    assert part_of(loss, {}, (0, 0), 1)[:2].tolist() == [0, 0]


def test_a_loss_beyond_all_measure_is_told_as_the_largest():
    part = part_of(1e9, {}, (0, 0), 1)
    assert pooled_round(part, 1).loss == pytest.approx(MOST)


def test_a_sum_of_nobody_says_nothing():
    pooled = pooled_round(torch.zeros(ROUND_NUMBERS), 0)
    assert (pooled.score(ACCURACY), pooled.loss, pooled.trained_on, pooled.sites) == (None,) * 3 + (
        0,
    )


def test_counts_of_the_splits_are_read_in_their_order():
    verdict = pooled_splits(torch.tensor([3.0, 4, 0, 0]), 2, PUBLISHED_SPLITS)
    assert verdict["validation"].score(ACCURACY) == 0.75
    assert verdict["test"].score(ACCURACY) is None
    alone = pooled_splits(torch.tensor([1.0, 4]), 2, ("test",))
    assert {split: pooled.score(ACCURACY) for split, pooled in alone.items()} == {"test": 0.25}

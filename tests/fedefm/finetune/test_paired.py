"""The paired test against every sign that its differences could have had, and Holm's definition."""

import itertools

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from fedefm.finetune.paired import Pair, compare, corrected, holm, outcome_of, signed_rank

differences = st.integers(-6, 6).map(lambda each: each / 8)  # ties and zeros are common
p_values = st.lists(st.floats(0, 1), max_size=12)


def by_enumeration(values):
    """Of all ways to give the ranks signs, the share with a sum as far from the middle."""
    left = [each for each in values if each]
    ranks = rankdata([abs(each) for each in left])
    middle = sum(ranks) / 2
    far = abs(sum(r for r, each in zip(ranks, left, strict=True) if each > 0) - middle)
    sums = [
        sum(r for r, up in zip(ranks, signs, strict=True) if up)
        for signs in itertools.product((False, True), repeat=len(left))
    ]
    return sum(abs(each - middle) >= far - 1e-9 for each in sums) / len(sums)


@settings(deadline=None)
@example([0.1] * 6)
@example([0.0, 0.0])
@given(st.lists(differences, min_size=1, max_size=9))
def test_p_is_exact_with_ties_and_zeros_too(values):
    assert signed_rank(values) == pytest.approx(by_enumeration(values), abs=1e-12)


@given(st.lists(st.floats(0.001, 1, allow_subnormal=False), min_size=1, max_size=10, unique=True))
def test_the_smallest_p_is_that_of_pairs_that_all_point_one_way(values):
    assert signed_rank(values) == pytest.approx(outcome_of(values).smallest)


@pytest.mark.parametrize(("pairs", "told"), [(3, False), (5, False), (6, True), (21, True)])
def test_too_few_pairs_are_not_tested_and_say_what_they_could_have_shown(pairs, told):
    test = outcome_of([0.1 + k / 100 for k in range(pairs)])
    assert test.smallest == pytest.approx(2 / 2**pairs)
    assert (test.p is not None) is told


@given(p_values)
def test_holm_rejects_what_its_definition_rejects_at_every_level(values):
    """In ascending order, each is held against level / (how many are left), until one is above."""
    adjusted = holm(values)
    for level in (0.01, 0.05, 0.2, 0.5, 0.9):
        if any(abs(each - level) < 1e-12 for each in adjusted):
            continue
        rejected, left = set(), len(values)
        for place in sorted(range(len(values)), key=lambda k: values[k]):
            if values[place] > level / left:
                break
            rejected.add(place)
            left -= 1
        assert {k for k, each in enumerate(adjusted) if each <= level} == rejected


@given(p_values)
def test_holm_never_lowers_a_p_and_keeps_their_order(values):
    adjusted = holm(values)
    assert all(a <= b <= 1 for a, b in zip(values, adjusted, strict=True))
    for (a, x), (b, y) in itertools.combinations(zip(values, adjusted, strict=True), 2):
        assert x <= y if a < b else y <= x if b < a else x == y


def test_what_is_not_tested_burdens_no_other_test():
    few, many = outcome_of([0.1, 0.2]), outcome_of([k / 100 for k in range(1, 9)])
    told = corrected([few, many, few])
    assert [each.corrected for each in told] == [None, many.p, None]


def pairs_of(gains, seeds=3):
    return [Pair(d, s, 0.5, 0.5 + g + s / 1000) for d, g in gains.items() for s in range(seeds)]


def test_all_ways_are_corrected_together():
    better = {f"domain {k}": 0.01 * (k + 1) for k in range(7)}
    worse = {name: -gain for name, gain in better.items()}
    found = compare({"probe": pairs_of(better), "whole": pairs_of(worse)})
    alone = compare({"probe": pairs_of(better)})["probe"]
    both = found["probe"]
    assert list(both.of_domain) == list(better)
    assert {test.p for test in both.of_domain.values()} == {None}  # three seeds
    assert (both.over_pairs.pairs, both.over_domains.pairs) == (21, 7)
    assert both.over_pairs.p == alone.over_pairs.p == pytest.approx(2 / 2**21)
    assert alone.over_pairs.corrected == pytest.approx(2 * 2 / 2**21)
    assert both.over_pairs.corrected == pytest.approx(4 * 2 / 2**21)
    assert both.over_domains.corrected == pytest.approx(2 * 2 / 2**7)


def test_with_six_seeds_a_domain_is_tested_by_itself():
    found = compare({"probe": pairs_of({"eye": 0.1, "skin": 0.1}, seeds=6)})["probe"]
    assert {test.p for test in found.of_domain.values()} == {2 / 2**6}
    assert found.over_domains.p is None

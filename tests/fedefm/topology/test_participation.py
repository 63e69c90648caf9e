"""Who is asked in a round: as many as the share says, each as often as any other."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedefm.topology.participation import asked_by_share

SITES = tuple(f"site {k}" for k in range(16))


@given(st.integers(1, 40), st.floats(0.01, 1.0), st.integers(0, 2**31))
def test_the_share_of_the_sites_is_asked_rounded_up(count, share, round_index):
    sites = [f"s{k}" for k in range(count)]
    asked = asked_by_share(sites, share, seed=3)(round_index)
    assert asked <= set(sites)
    assert len(asked) == max(1, math.ceil(round(share * count, 9)))


@pytest.mark.parametrize(("share", "count", "wanted"), [(0.1, 30, 3), (0.5, 16, 8), (0.34, 3, 2)])
def test_rounding_of_floats_asks_nobody_more(share, count, wanted):
    sites = [f"s{k}" for k in range(count)]
    assert len(asked_by_share(sites, share, seed=1)(0)) == wanted


def test_every_party_finds_the_same_sites_in_whatever_order_it_knows_them():
    one, other = asked_by_share(SITES, 0.5, seed=5), asked_by_share(SITES[::-1], 0.5, seed=5)
    assert [one(k) for k in range(9)] == [other(k) for k in reversed(range(9))][::-1]
    assert one(0) != asked_by_share(SITES, 0.5, seed=6)(0)


def test_no_site_is_asked_much_more_often_than_another():
    asked = asked_by_share(SITES, 0.25, seed=2)
    turns = [sum(site in asked(k) for k in range(2000)) for site in SITES]
    assert all(abs(count - 500) < 5 * math.sqrt(2000 * 0.25 * 0.75) for count in turns)


def test_a_share_of_one_asks_everybody_every_time():
    asked = asked_by_share(SITES, 1.0, seed=2)
    assert all(asked(k) == set(SITES) for k in range(5))


@given(st.integers(1, 40), st.floats(0.01, 1.0), st.integers(2, 5))
def test_sites_of_a_group_are_asked_together_or_not_at_all(count, share, together):
    sites = [f"s{k}" for k in range(count)]
    asked = asked_by_share(sites, share, 7, together)
    turns = {site: tuple(site in asked(k) for k in range(12)) for site in sites}
    alike = [[s for s in sites if turns[s] == turns[site]] for site in sites]
    assert min(map(len, alike)) >= min(together, count)
    assert all(len(asked(k)) >= min(together, count) for k in range(12))

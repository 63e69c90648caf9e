"""A stage's sites are asked in its rounds, and stages that cannot be are refused by name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedefm.config import Stage
from fedefm.errors import ConfigError
from fedefm.topology.stages import asked_by_stage, groups_of

SITES = ("a", "b", "c", "d", "e", "f")


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4))
def test_each_round_asks_the_sites_of_its_stage(lengths):
    groups = [SITES[k : k + 2] for k in range(len(lengths))]
    covered = sorted({site for group in groups for site in group})
    stages = [Stage(sites=g, rounds=n) for g, n in zip(groups, lengths, strict=True)]
    asked = asked_by_stage(stages, covered)
    flat = [group for group, n in zip(groups, lengths, strict=True) for _ in range(n)]
    assert [asked(k) for k in range(sum(lengths))] == [frozenset(group) for group in flat]


@pytest.mark.parametrize(
    ("sites", "together", "told"),
    [
        (("a", "b", "c"), 1, "'c' is a site of this run and in no stage"),
        (("a",), 1, "'b' is in a stage and is no site of this run; the sites are a"),
        (("a", "b"), 3, "stage 1 has 2 of the 3 sites"),
    ],
)
def test_stages_that_do_not_fit_the_sites_are_refused(sites, together, told):
    with pytest.raises(ConfigError, match=told):
        asked_by_stage([Stage(sites=("a", "b"))], sites, together)


GROUPS = st.lists(st.sets(st.sampled_from(SITES), min_size=3), min_size=1, max_size=4)


@given(GROUPS)
def test_stages_that_are_to_hide_sites_share_all_of_them_or_none(groups):
    stages = [Stage(sites=tuple(sorted(group))) for group in groups]
    sites = sorted(set().union(*groups))
    asked_by_stage(stages, sites)  # without anything to hide they may
    partly = any(one & other and one != other for one in groups for other in groups)
    if not partly:
        asked_by_stage(stages, sites, together=3)
        assert sum(len(numbers) for numbers in groups_of(stages).values()) == len(groups)
        return
    with pytest.raises(ConfigError, match="give them the same sites, or none in common"):
        asked_by_stage(stages, sites, together=3)


def test_who_trains_in_several_stages_is_one_group():
    stages = [Stage(sites=sites) for sites in (SITES[:3], SITES[3:], SITES[2::-1])]
    assert groups_of(stages) == {frozenset(SITES[:3]): (1, 3), frozenset(SITES[3:]): (2,)}

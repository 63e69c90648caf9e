"""Who takes part in a round where sites train in stages, one group after the other."""

from collections.abc import Sequence
from itertools import combinations

from fedefm.config import Stage
from fedefm.errors import ConfigError, all_problems
from fedefm.topology.participation import Asked


def asked_by_stage(stages: Sequence[Stage], sites: Sequence[str], together: int = 1) -> Asked:
    """The sites of the stage that a round is of.

    Raises ConfigError where stages and ``sites`` are not the same. Where so many as ``together``
    are to hide one of them, also where a stage has fewer, and where stages share some of their
    sites and not all: what is told of each stage, and of all sites, could be set off against each
    other.
    """
    problems = [*_strangers(stages, sites)]
    if together > 1:
        problems += [*_too_small(stages, together), *_overlapping(stages)]
    if problems:
        raise ConfigError(all_problems("the plan of stages", problems))
    groups = [frozenset(stage.sites) for stage in stages for _ in range(stage.rounds)]

    def asked(round_index: int) -> frozenset[str]:
        return groups[round_index]

    return asked


def _strangers(stages: Sequence[Stage], sites: Sequence[str]) -> list[str]:
    staged = {site for stage in stages for site in stage.sites}
    unknown, left_out = sorted(staged - set(sites)), sorted(set(sites) - staged)
    problems = [
        f"{site!r} is in a stage and is no site of this run; the sites are {', '.join(sites)}"
        for site in unknown
    ]
    return problems + [
        f"{site!r} is a site of this run and in no stage; name it in one, with a task in "
        "stagewise.tasks, or leave its folder out"
        for site in left_out
    ]


def groups_of(stages: Sequence[Stage]) -> dict[frozenset[str], tuple[int, ...]]:
    """Who trains together, and in which stages, counted from 1."""
    groups: dict[frozenset[str], tuple[int, ...]] = {}
    for number, stage in enumerate(stages, start=1):
        sites = frozenset(stage.sites)
        groups[sites] = (*groups.get(sites, ()), number)
    return groups


def _overlapping(stages: Sequence[Stage]) -> list[str]:
    return [
        f"stages {first[0]} and {second[0]} share {', '.join(sorted(one & other))}, and not all of "
        "their sites, so that secure sums over them could be told from each other; give them the "
        "same sites, or none in common"
        for (one, first), (other, second) in combinations(groups_of(stages).items(), 2)
        if one & other
    ]


def _too_small(stages: Sequence[Stage], together: int) -> list[str]:
    return [
        f"stage {number} has {len(stage.sites)} of the {together} sites that a secure sum needs "
        "to hide one of them (privacy.secagg.colluders); give it more sites, or join stages"
        for number, stage in enumerate(stages, start=1)
        if len(stage.sites) < together
    ]

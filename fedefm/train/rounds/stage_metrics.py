"""What every stage's tasks are worth after every stage, each stage's sites told as one sum.

Under secure sums no site's own task is told. So that later stages can still be seen to undo what
earlier ones taught, the sites of each stage sum up what they measured whenever a stage ends, and
these sums are opened apart from each other.

Sums over groups that overlap could be told from each other by a few sites, so stages that share
some of their sites and not all are not told apart. Neither are the same validation images told
once more with the global model, which is that of the last stage: from two sums over the same
numbers, one without a site, that site's could be had.
"""

from collections.abc import Sequence
from itertools import combinations

from fedefm.config import Stage, StagewiseConfig
from fedefm.train.exchange import RoundStats, Steps
from fedefm.train.pooled import PUBLISHED_SPLITS, Measured
from fedefm.train.rounds.metrics import give_among, give_metrics, take_among, take_metrics
from fedefm.train.rounds.side_by_side import side_by_side
from fedefm.train.server import Server
from fedefm.train.site import Site

Groups = dict[frozenset[str], tuple[int, ...]]  # who trains together, and in which stages, from 1


def groups_of(stages: Sequence[Stage]) -> Groups:
    """Who trains with whom; nobody where that is not always the same."""
    groups: Groups = {}
    for number, stage in enumerate(stages, start=1):
        sites = frozenset(stage.sites)
        groups[sites] = (*groups.get(sites, ()), number)
    apart = all(one.isdisjoint(other) for one, other in combinations(groups, 2))
    return groups if apart else {}


def published_splits(stages: StagewiseConfig) -> tuple[str, ...]:
    """On whose images the global model is measured at the end, all sites together."""
    return ("test",) if groups_of(stages.stages) else PUBLISHED_SPLITS


def give_after_stage(
    stages: StagewiseConfig, site: Site, round_index: int, stats: RoundStats | None
) -> Steps[None]:
    """``give_metrics``; at the end of a stage of every site, to its own group's sum."""
    groups = groups_of(stages.stages)
    if round_index not in stages.last_rounds or not groups:
        yield from give_metrics(site, round_index, stats)
        return
    (own,) = (sites for sites in groups if site.name in sites)
    yield from give_among(own, site, round_index, stats)


def take_after_stage(stages: StagewiseConfig, server: Server, round_index: int) -> Steps[Measured]:
    """``take_metrics``; at the end of a stage the sums of all groups."""
    groups = groups_of(stages.stages)
    if round_index not in stages.last_rounds or not groups:
        return (yield from take_metrics(server, round_index))
    told = yield from side_by_side([take_among(sites, server, round_index) for sites in groups])
    pooled = dict(zip(groups, told, strict=True))
    by_stages = {groups[sites]: pooled[sites] for sites in groups}
    return Measured(pooled[server.asked(round_index)], by_stages)

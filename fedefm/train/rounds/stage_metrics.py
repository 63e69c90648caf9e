"""What tasks are worth after every stage, the sites of each stage told as one sum.

Under secure sums no site's own task is told. So that later stages can still be seen to undo what
earlier ones taught, the sites of each stage that is over sum up what they measured whenever a stage
ends, and these sums are opened apart from each other. No two stages share some of their sites and
not all (``fedefm.topology.stages``). Sites whose stage is still to come have nothing to tell: their
heads have learned nothing, and a private one has not been asked for anything yet.

The global model is the encoder of the last stage, so at the end of the run validation images are
not measured once more: from two sums over the same numbers, one without a site, that site's could
be had.
"""

from fedefm.config import StagewiseConfig
from fedefm.topology.stages import groups_of
from fedefm.train.exchange import RoundStats, Steps
from fedefm.train.pooled import Measured
from fedefm.train.rounds.metrics import give_among, give_metrics, take_among, take_metrics
from fedefm.train.rounds.side_by_side import side_by_side
from fedefm.train.server import Server
from fedefm.train.site import Site

SPLITS_AT_THE_END = ("test",)

Groups = dict[frozenset[str], tuple[int, ...]]  # who trains together, and in which stages, from 1


def begun(stages: StagewiseConfig, round_index: int) -> Groups:
    """Who has trained by the end of a stage; nobody where no stage ends with this round."""
    if round_index not in stages.last_rounds:
        return {}
    so_far = stages.stages[: stages.last_rounds.index(round_index) + 1]
    trained = {frozenset(stage.sites) for stage in so_far}
    return {sites: of for sites, of in groups_of(stages.stages).items() if sites in trained}


def give_after_stage(
    stages: StagewiseConfig, site: Site, round_index: int, stats: RoundStats | None
) -> Steps[None]:
    """``give_metrics``; at the end of a stage, to the sum of those with whom the site trains."""
    groups = begun(stages, round_index)
    if not groups:
        yield from give_metrics(site, round_index, stats)
    for sites in groups:  # they have nobody in common
        yield from give_among(sites, site, round_index, stats)


def take_after_stage(stages: StagewiseConfig, server: Server, round_index: int) -> Steps[Measured]:
    """``take_metrics``; at the end of a stage, a sum for each group that has trained."""
    groups = begun(stages, round_index)
    if not groups:
        return (yield from take_metrics(server, round_index))
    told = yield from side_by_side([take_among(sites, server, round_index) for sites in groups])
    pooled = dict(zip(groups, told, strict=True))
    by_stages = {of: pooled[sites] for sites, of in groups.items()}
    return Measured(pooled[server.asked(round_index)], by_stages)

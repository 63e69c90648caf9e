"""What sites measured, told to the server as one sum over all sites and in no other way.

After a round, of the sites that were asked in it: loss and agreement of that round, and how each
site's own model does on its own validation images. After the last exchange: how the global model
does on everybody's validation and test images (``splits``).

Who has nothing to tell, as its round failed or the model did not come, gives no part: parts of
zeros would hide nobody. Where a server hands models out, all must have had the same one, since a
model that is of no use at all other sites would make the sum that of one.
"""

from collections.abc import Callable, Sequence

import torch

from fedefm.model.weights import Weights
from fedefm.train.exchange import SERVER, Cohort, Occasion, RoundStats, Steps
from fedefm.train.message import digest
from fedefm.train.pooled import (
    PUBLISHED_SPLITS,
    ROUND_NUMBERS,
    Measured,
    Pooled,
    pooled_round,
    pooled_splits,
    round_part,
)
from fedefm.train.server import Server
from fedefm.train.site import Site


def give_metrics(site: Site, round_index: int, stats: RoundStats | None) -> Steps[None]:
    """The site's part after a round; none where ``stats`` are None, as it failed."""
    yield from give_among(site.asked(round_index), site, round_index, stats)


def take_metrics(server: Server, round_index: int) -> Steps[Measured]:
    """The sum of the parts that came."""
    pooled = yield from take_among(server.asked(round_index), server, round_index)
    return Measured(pooled)


def give_among(
    sites: frozenset[str], site: Site, round_index: int, stats: RoundStats | None
) -> Steps[None]:
    """The part of ``site`` in the sum over ``sites``; none where it is not of them, or failed."""
    if stats is None or site.name not in sites:
        return
    points, images = site.measure(site.model, "validation")
    part = round_part(stats, points, images, site.size)
    cohort = _together(sites, site.handed)
    yield from site.sum(_occasion(round_index, ROUND_NUMBERS), {cohort: part}, None)


def take_among(sites: frozenset[str], server: Server, round_index: int) -> Steps[Pooled]:
    """The sum over ``sites``."""
    cohort = _together(sites, server.handed)
    total = yield from server.sum(_occasion(round_index, ROUND_NUMBERS), {}, cohort)
    return pooled_round(total.vector, len(total.members))


def publish_and_give(
    publish: Callable[[Site], Steps[Weights | None]],
    site: Site,
    splits: Sequence[str] = PUBLISHED_SPLITS,
) -> Steps[Weights | None]:
    """``publish``, and the site's part in how good the global model is; none if it has none."""
    weights = yield from publish(site)
    if weights is None:
        return None
    counts = [n for split in splits for n in site.measure_with(weights, split)]
    occasion = _occasion(site.settings.federation.rounds, len(counts))
    part = torch.tensor(counts, dtype=torch.float32)
    yield from site.sum(occasion, {_together(site.everyone, digest(weights)): part}, None)
    return weights


def publish_and_take(
    publish: Callable[[Server], Steps[Weights | None]],
    server: Server,
    splits: Sequence[str] = PUBLISHED_SPLITS,
) -> Steps[Weights | None]:
    """``publish``, and the server's ``verdict`` by split."""
    weights = yield from publish(server)
    occasion = _occasion(server.rounds, 2 * len(splits))
    cohort = _together(frozenset(server.sites), digest(server.weights))
    total = yield from server.sum(occasion, {}, cohort)
    server.verdict = pooled_splits(total.vector, len(total.members), splits)
    return weights


def _occasion(round_index: int, length: int) -> Occasion:
    return Occasion(round_index, "metrics", length, counts=True)


def _together(sites: frozenset[str], measured: str) -> Cohort:
    """``measured`` is the digest of the model that the server handed out, if it did."""
    return Cohort(SERVER, sites, agreed=measured)

"""What sites measured, told to the server as one sum over all sites and in no other way.

After a round: loss and agreement of that round, and how each site's own model does on its own
validation images. After the last exchange: how the global model does on everybody's validation and
test images.
"""

from collections.abc import Callable

import torch

from fedefm.model.weights import Weights
from fedefm.train.exchange import SERVER, Cohort, Occasion, RoundStats, Steps
from fedefm.train.pooled import (
    PUBLISHED_SPLITS,
    ROUND_NUMBERS,
    Pooled,
    pooled_round,
    pooled_splits,
    round_part,
)
from fedefm.train.server import Server
from fedefm.train.site import Site


def give_metrics(site: Site, round_index: int, stats: RoundStats) -> Steps[Pooled | None]:
    """The site's part after a round. ``stats`` are blank where it failed in it."""
    right, images = site.measure(site.model, "validation")
    part = round_part(stats, right, images, site.size)
    yield from site.sum(_occasion(round_index, ROUND_NUMBERS), {_all(site.everyone): part}, None)
    return None


def take_metrics(server: Server, round_index: int) -> Steps[Pooled | None]:
    """The sum of the parts that came."""
    everyone = frozenset(server.sites)
    total = yield from server.sum(_occasion(round_index, ROUND_NUMBERS), {}, _all(everyone))
    return pooled_round(total.vector, len(total.members))


def publish_and_give(
    publish: Callable[[Site], Steps[Weights | None]], site: Site
) -> Steps[Weights | None]:
    """``publish``, and the site's part in how good the global model is; nothing if it has none."""
    weights = yield from publish(site)
    counts = [
        number
        for split in PUBLISHED_SPLITS
        for number in ((0, 0) if weights is None else site.measure_with(weights, split))
    ]
    occasion = _occasion(site.settings.federation.rounds, len(counts))
    part = torch.tensor(counts, dtype=torch.float32)
    yield from site.sum(occasion, {_all(site.everyone): part}, None)
    return weights


def publish_and_take(
    publish: Callable[[Server], Steps[Weights | None]], server: Server
) -> Steps[Weights | None]:
    """``publish``, and the server's ``verdict`` by split."""
    weights = yield from publish(server)
    occasion = _occasion(server.rounds, 2 * len(PUBLISHED_SPLITS))
    total = yield from server.sum(occasion, {}, _all(frozenset(server.sites)))
    server.verdict = pooled_splits(total.vector, len(total.members))
    return weights


def _occasion(round_index: int, length: int) -> Occasion:
    return Occasion(round_index, "metrics", length, counts=True)


def _all(everyone: frozenset[str]) -> Cohort:
    return Cohort(SERVER, everyone)

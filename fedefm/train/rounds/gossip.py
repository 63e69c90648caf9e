"""Decentralized SGD by gossip (DPASGD): local steps, then a weighted mean with the neighbors.

Also the averaging part of FedEFM's default update. Everything goes through ``site.sum``, so a
secure sum over a neighborhood can take its place. How a mean is taken is handed in: with the
neighbors, or in a cohort (``fedefm.train.rounds.cohort``).
"""

from collections.abc import Callable

from fedefm.model.weights import flatten, unflatten
from fedefm.train.exchange import Occasion, RoundStats, Steps
from fedefm.train.site import Site

Average = Callable[[Site, int], Steps[None]]
"""``yield from average(site, round_index)``: replace the site's weights by a mean with others'."""


def average_with_neighbors(site: Site, round_index: int) -> Steps[None]:
    """Replace the weights by ``sum_j W_ij theta_j``; the site keeps the share of the missing.

    Each sender scales its own part, which for symmetric ``W`` is the receiver's weight for it.
    """
    weights = site.weights()
    own = flatten(weights)
    total = yield from site.sum(
        Occasion(round_index, "sum", own.numel()),
        {
            site.neighborhood(partner, round_index): own * site.mixing[partner]
            for partner in site.partners(round_index)
        },
        site.neighborhood(site.name, round_index),
    )
    own_share = 1.0 - sum(site.mixing[member] for member in total.members)
    site.load(unflatten(total.vector + own_share * own, weights))


def gossip_round(
    site: Site, round_index: int, average: Average = average_with_neighbors
) -> Steps[RoundStats]:
    """``local_steps`` of SGD, then ``theta_i = sum_j W_ij theta_j`` over whom this round joins."""
    stats = site.train_locally(round_index)
    yield from average(site, round_index)
    return RoundStats(
        loss=stats.loss,
        learning_rate=site.learning_rate(round_index),
        train_seconds=stats.seconds,
    )

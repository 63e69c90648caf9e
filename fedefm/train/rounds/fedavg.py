"""FedAvg: a server hands out one model and takes the mean of what the sites made of it.

McMahan et al., AISTATS 2017. Means are weighted by the number of training images, or of patients
where images may not be counted; the number travels inside the sum, so that a secure sum hides it,
too.
"""

import torch

from fedefm.model.weights import flatten, unflatten
from fedefm.train.exchange import SERVER, Exchange, RoundStats, Steps
from fedefm.train.server import Server
from fedefm.train.site import Site


def fedavg_site_round(site: Site, round_index: int) -> Steps[RoundStats]:
    """Take the server's model, train it, contribute to the sum."""
    inbox = yield Exchange("model", {}, frozenset({SERVER}), site.shapes)
    if SERVER in inbox:
        site.load(dict(inbox[SERVER]))
    stats = site.train_locally(round_index)
    size = float(site.size)
    part = torch.cat([flatten(site.weights()) * size, torch.tensor([size])])
    yield from site.sum({SERVER: part}, frozenset(), part.numel())
    return RoundStats(
        loss=stats.loss,
        learning_rate=site.learning_rate(round_index),
        train_seconds=stats.seconds,
    )


def fedavg_server_round(server: Server, round_index: int) -> Steps[RoundStats]:
    """Hand out the model, then replace it by the weighted mean of those who answered."""
    everyone = frozenset(server.sites)
    handed_out = dict.fromkeys(server.sites, server.weights)
    yield Exchange("model", handed_out, frozenset(), server.shapes)
    total = yield from server.sum({}, everyone, flatten(server.weights).numel() + 1)
    if total.members:
        server.load(unflatten(total.vector[:-1] / total.vector[-1], server.weights))
    server.finish_round()
    return RoundStats()

"""FedAvg: a server hands out one model and takes the mean of what the sites made of it.

McMahan et al., AISTATS 2017. Means are weighted by the number of training images, or of patients
where images may not be counted; the number travels inside the sum, so that a secure sum hides it,
too.

The sum says on which model its parts were trained: a server that hands out different models learns
more of a site than its part of a mean, and a secure sum over such sites does not open (Pasquini et
al., CCS 2022).

Where only some of the sites are asked in a round, the others rest: they get no model and give no
part.
"""

import torch

from fedefm.errors import ProtocolError
from fedefm.model.weights import flatten, unflatten
from fedefm.train.exchange import SERVER, Cohort, Exchange, Occasion, RoundStats, Steps
from fedefm.train.message import digest
from fedefm.train.server import Server
from fedefm.train.site import Site


def fedavg_site_round(site: Site, round_index: int) -> Steps[RoundStats]:
    """Take the server's model, train it, contribute to the sum; or rest, where it is not asked.

    Raises ProtocolError where the model did not come. Training on with an older one would let a
    server that hands out nothing, or not to all, choose on which models the parts are trained.
    """
    asked = site.asked(round_index)
    if site.name not in asked:
        return RoundStats()
    inbox = yield Exchange("model", {}, frozenset({SERVER}), site.shapes)
    if SERVER not in inbox:
        raise ProtocolError("the server's model did not come, and nothing is trained on an old one")
    site.load(dict(inbox[SERVER]))
    site.handed = digest(inbox[SERVER])
    stats = site.train_locally(round_index)
    part = torch.cat([flatten(site.weights()) * site.share, torch.tensor([site.share])])
    cohort = Cohort(SERVER, asked, agreed=site.handed)
    yield from site.sum(Occasion(round_index, "sum", part.numel()), {cohort: part}, None)
    return RoundStats(
        loss=stats.loss,
        learning_rate=site.learning_rate(round_index),
        train_seconds=stats.seconds,
    )


def fedavg_server_round(server: Server, round_index: int) -> Steps[RoundStats]:
    """Hand out the model, then replace it by the weighted mean of those who answered."""
    asked = server.asked(round_index)
    handed_out = dict.fromkeys(sorted(asked), server.weights)
    yield Exchange("model", handed_out, frozenset(), server.shapes)
    server.handed = digest(server.weights)
    occasion = Occasion(round_index, "sum", flatten(server.weights).numel() + 1)
    total = yield from server.sum(occasion, {}, Cohort(SERVER, asked, agreed=server.handed))
    if total.members:
        server.load(unflatten(total.vector[:-1] / total.vector[-1], server.weights))
    server.finish_round()
    left_out = asked - set(total.members) if total.members else frozenset()
    return RoundStats(left_out=tuple(sorted(left_out)))

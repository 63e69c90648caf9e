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

from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import Tensor

from fedefm.errors import ProtocolError
from fedefm.model.weights import flatten, unflatten
from fedefm.train.exchange import SERVER, Cohort, Exchange, Occasion, RoundStats, Steps
from fedefm.train.message import Tensors, digest
from fedefm.train.server import Server
from fedefm.train.site import Site

NOTHING: Tensors = MappingProxyType({})
Beside = Callable[[], Tensor]  # numbers of a trained site that go into the mean beside its weights


@dataclass(frozen=True)
class Opened:
    """What a server has of a round: the mean of the numbers ``beside`` the weights, if it came.

    An exchange that follows is step ``next_step``.
    """

    stats: RoundStats
    beside: Tensor | None
    next_step: int


def nothing_beside() -> Tensor:
    """No numbers."""
    return torch.empty(0)


def fedavg_site_round(site: Site, round_index: int) -> Steps[RoundStats]:
    """Take the server's model, train it, contribute to the sum; or rest, where it is not asked."""
    if site.name not in site.asked(round_index):
        return RoundStats()
    stats, _ = yield from train_and_give(site, round_index)
    return stats


def fedavg_server_round(server: Server, round_index: int) -> Steps[RoundStats]:
    """Hand out the model, then replace it by the weighted mean of those who answered."""
    opened = yield from hand_out_and_take(server, round_index)
    server.finish_round()
    return opened.stats


def train_and_give(
    site: Site, round_index: int, beside: Beside = nothing_beside, seen: Tensors = NOTHING
) -> Steps[tuple[RoundStats, int]]:
    """A site's part of a round, and the step of what follows it.

    What else of the server's ``seen`` goes into the part must be the same at all sites, as the
    model must: a sum over others does not open.

    Raises ProtocolError where the model did not come. Training on with an older one would let a
    server that hands out nothing, or not to all, choose on which models the parts are trained.
    """
    inbox = yield Exchange("model", {}, frozenset({SERVER}), site.shapes)
    if SERVER not in inbox:
        raise ProtocolError("the server's model did not come, and nothing is trained on an old one")
    site.load_shared(dict(inbox[SERVER]))
    site.handed = digest({**inbox[SERVER], **seen})
    stats = site.train_locally(round_index)
    numbers = torch.cat([flatten(site.shared_weights()), beside()])
    part = torch.cat([numbers * site.share, torch.tensor([site.share])])
    cohort = Cohort(SERVER, site.asked(round_index), agreed=site.handed)
    given = yield from site.sum(Occasion(round_index, "sum", part.numel()), {cohort: part}, None)
    told = RoundStats(
        loss=stats.loss,
        learning_rate=site.learning_rate(round_index),
        train_seconds=stats.seconds,
    )
    return told, given.next_step


def hand_out_and_take(
    server: Server, round_index: int, beside: int = 0, shown: Tensors = NOTHING
) -> Steps[Opened]:
    """The server's part: its model becomes the mean; there are so many numbers ``beside`` it.

    ``shown`` is what the sites have seen of the server besides its model.
    """
    asked = server.asked(round_index)
    handed_out = dict.fromkeys(sorted(asked), server.weights)
    yield Exchange("model", handed_out, frozenset(), server.shapes)
    server.handed = digest({**server.weights, **shown})
    numbers = flatten(server.weights).numel()
    occasion = Occasion(round_index, "sum", numbers + beside + 1)
    total = yield from server.sum(occasion, {}, Cohort(SERVER, asked, agreed=server.handed))
    if not total.members:
        return Opened(RoundStats(unmoved=True), None, total.next_step)
    mean = total.vector[:-1] / total.vector[-1]
    server.load(unflatten(mean[:numbers], server.weights))
    left_out = tuple(sorted(asked - set(total.members)))
    return Opened(RoundStats(left_out=left_out), mean[numbers:], total.next_step)

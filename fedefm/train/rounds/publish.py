"""The last exchange of a run: one global model out of what every site has, or what the server has.

``Theta = sum_i status_i theta_i / sum_i status_i`` (paper, section III; a mean, since a sum of
weights is no model), where ``theta_i`` is the site's average over rounds and the status says
whether it answered. The receiver of the sum hands the result back, and every site can measure it on
its own images.
"""

import torch

from fedefm.errors import QuorumLost
from fedefm.model.weights import Weights, flatten, unflatten
from fedefm.train.exchange import SERVER, Cohort, Exchange, Occasion, Steps
from fedefm.train.server import Server
from fedefm.train.site import Site

LEAST = 0.5  # of the sum of weights, each of which is 1


def publish_site(site: Site) -> Steps[Weights | None]:
    """Contribute the own average; the global model, or None where it did not arrive.

    A site that was in no mean of its cohort yet has nothing to contribute, and gives zeros.
    """
    part = torch.cat([flatten(site.average or site.weights()), torch.ones(1)])
    if site.apart and site.average is None:
        part = torch.zeros_like(part)
    occasion = Occasion(site.settings.federation.rounds, "sum", part.numel())
    given = yield from site.sum(occasion, {Cohort(SERVER, site.everyone): part}, None)
    server = frozenset({SERVER})
    inbox = yield Exchange("model", {}, server, site.shapes, given.next_step)
    return dict(inbox[SERVER]) if SERVER in inbox else None


def publish_server(server: Server) -> Steps[Weights | None]:
    """Take the mean and hand it out. Raises QuorumLost where nobody answered."""
    occasion = Occasion(server.rounds, "sum", flatten(server.weights).numel() + 1)
    total = yield from server.sum(occasion, {}, Cohort(SERVER, frozenset(server.sites)))
    if not total.members or total.vector[-1] < LEAST:
        raise QuorumLost(
            "no site contributed to the global model: none answered, or none was ever in a mean of "
            "its cohort; look at the sites' last errors"
        )
    server.load(unflatten(total.vector[:-1] / total.vector[-1], server.weights))
    handed_out = dict.fromkeys(server.sites, server.weights)
    yield Exchange("model", handed_out, frozenset(), server.shapes, total.next_step)
    return server.weights


def receive_site(site: Site) -> Steps[Weights | None]:
    """Client-server: the model is at the server already; take it."""
    inbox = yield Exchange("model", {}, frozenset({SERVER}), site.shapes)
    return dict(inbox[SERVER]) if SERVER in inbox else None


def hand_out_server(server: Server) -> Steps[Weights | None]:
    """Client-server: hand out the server's average over rounds."""
    server.load(server.average or server.weights)
    handed_out = dict.fromkeys(server.sites, server.weights)
    yield Exchange("model", handed_out, frozenset(), server.shapes)
    return server.weights

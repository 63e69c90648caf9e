"""Stages: one group of sites after the other trains one encoder, each site for a task of its own.

MedUniverse (Radwan, Osman and Shehata, arXiv 2407.14719). In each stage its sites start from the
server's encoder, train it together with a head that stays at the site, and return the encoder
alone. A round is FedAvg's among the sites of its stage, but that the server goes only a part of the
way: ``encoder <- (1 - eta) encoder + eta * mean``. The paper leaves open what the server makes of
what comes back; this rule, eta and the rounds of a stage are our choice.

At a stage's end the server may fit the encoder to its sites' mean features of images of its own
(``fedefm.train.curation``); then all sites get it, those of other stages, too, so that each can
measure what its task is worth by now.
"""

from functools import partial

from torch import Tensor

from fedefm.config import CurationConfig, StagewiseConfig
from fedefm.errors import ProtocolError
from fedefm.model.weights import Weights
from fedefm.train.curation import IMAGES, Curator, image_shapes
from fedefm.train.exchange import SERVER, Exchange, RoundStats, Steps
from fedefm.train.message import Tensors, digest
from fedefm.train.rounds.fedavg import (
    NOTHING,
    Beside,
    hand_out_and_take,
    nothing_beside,
    train_and_give,
)
from fedefm.train.server import Server
from fedefm.train.site import Site

# Of a stage's last round, whose encoder those wait for who were in no sum. The server hands out
# images, a model and the encoder, and a sum has one exchange, or nine where it is secure.
LAST_STEP, LAST_STEP_IF_SECURE = 3, 11


def stagewise_site_round(
    stages: StagewiseConfig, site: Site, round_index: int, last_step: int = LAST_STEP
) -> Steps[RoundStats]:
    """Train in the rounds of the own stage; take the encoder at the end of every stage.

    ``last_step`` is the latest in which it can come.
    Raises ProtocolError where something of the server's did not come: the round is undone then.
    """
    ends = round_index in stages.last_rounds
    stats, step = RoundStats(), last_step
    if site.name in site.asked(round_index):
        seen: Tensors = NOTHING
        beside: Beside = nothing_beside
        if ends and stages.curation is not None:
            seen = yield from _take_images(site, stages.curation)
            beside = partial(_features, site, seen[IMAGES])
        stats, step = yield from train_and_give(site, round_index, beside, seen)
    if ends:
        inbox = yield Exchange("encoder", {}, frozenset({SERVER}), site.shapes, step)
        if SERVER not in inbox:
            raise ProtocolError("the encoder at the end of the stage did not come")
        site.load_shared(dict(inbox[SERVER]))
        site.handed = digest(inbox[SERVER])  # which is measured next, and must be the same at all
    return stats


def stagewise_server_round(
    stages: StagewiseConfig, server: Server, round_index: int
) -> Steps[RoundStats]:
    """Hand the encoder to the stage's sites, and go a part of the way to what they made of it."""
    before, ends = server.weights, round_index in stages.last_rounds
    curator, asked = server.curator if ends else None, server.asked(round_index)
    shown = NOTHING if curator is None else {IMAGES: curator.images}
    if curator is not None:
        yield Exchange("images", dict.fromkeys(sorted(asked), shown), frozenset(), server.shapes)
    opened = yield from hand_out_and_take(server, round_index, _numbers(curator), shown)
    server.load(part_of_the_way(before, server.weights, stages.eta))
    if curator is not None and opened.beside is not None:
        features = opened.beside.reshape(len(curator.frames), -1)
        server.load(curator.curate(server.weights, features, round_index))
    if ends:
        handed_out = dict.fromkeys(server.sites, server.weights)
        yield Exchange("encoder", handed_out, frozenset(), server.shapes, opened.next_step)
        server.handed = digest(server.weights)
    return opened.stats


def part_of_the_way(before: Weights, mean: Weights, eta: float) -> Weights:
    """``(1 - eta) before + eta mean``; at 1 the mean itself, as in FedAvg."""
    return {name: before[name].lerp(mean[name], eta) for name in before}


def _features(site: Site, images: Tensor) -> Tensor:
    return site.features(images).flatten()


def _take_images(site: Site, settings: CurationConfig) -> Steps[Tensors]:
    shapes = image_shapes(settings, site.dataset.images.shape[-1])
    inbox = yield Exchange("images", {}, frozenset({SERVER}), shapes)
    if SERVER not in inbox:
        raise ProtocolError("the server's images did not come, and features of none were wanted")
    return inbox[SERVER]


def _numbers(curator: Curator | None) -> int:
    """How many numbers the features of the server's images are."""
    return 0 if curator is None else len(curator.frames) * curator.model.backbone.feature_dim

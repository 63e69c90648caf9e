"""What makes an algorithm: a generator for each of its parties, and how it ends."""

from collections.abc import Callable
from dataclasses import dataclass

from fedefm.model.weights import Weights
from fedefm.train.exchange import RoundStats, Steps
from fedefm.train.pooled import Measured
from fedefm.train.rounds.publish import publish_server, publish_site
from fedefm.train.server import Server
from fedefm.train.site import Site


@dataclass(frozen=True)
class Publication:
    """How the global model comes about and reaches everybody after the last round."""

    site: Callable[[Site], Steps[Weights | None]]
    server: Callable[[Server], Steps[Weights | None]]


@dataclass(frozen=True)
class Measurement:
    """How the sites tell, as a sum, what they measured in a round that is over."""

    site: Callable[[Site, int, RoundStats | None], Steps[None]]
    server: Callable[[Server, int], Steps[Measured]]


@dataclass(frozen=True)
class Algorithm:
    """What a site does in a round; what the server does, where it has a part; and the end.

    Without ``measurement`` each site tells its own numbers. By ``name`` the record of a run calls
    an algorithm that was handed in.
    """

    site_round: Callable[[Site, int], Steps[RoundStats]]
    server_round: Callable[[Server, int], Steps[RoundStats]] | None = None
    publication: Publication | None = Publication(publish_site, publish_server)
    measurement: Measurement | None = None
    name: str = "own"

"""The server as a party: it holds a model in the client-server scenario, and the final one.

In the decentralized scenario it takes part in nothing but ``publish``, the last sum, from which the
global model is made; and in sums of what sites measured, where these may only be told as sums.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from fedefm.model.weights import Weights
from fedefm.topology.participation import Asked
from fedefm.train.curation import Curator
from fedefm.train.exchange import Sum, plain_sum
from fedefm.train.message import Shapes, shapes_of
from fedefm.train.pooled import Pooled


@dataclass
class Server:
    """``weights`` is the current model, ``average`` its average over rounds.

    ``asked`` are the sites that train the model in a round, and ``verdict`` is what the global
    model was found to be worth, by split, where sites tell sums. ``kept`` is whatever else an
    algorithm needs from one round to the next.
    """

    sites: tuple[str, ...]
    asked: Asked
    weights: Weights
    average_decay: float
    rounds: int
    sum: Sum = plain_sum
    average: Weights | None = None
    curator: Curator | None = None  # of stages, where the run file asks for one
    kept: Weights | None = None
    handed: str = ""  # digest of the model that was handed out last
    verdict: Mapping[str, Pooled] = field(default_factory=dict)

    @property
    def shapes(self) -> Shapes:
        """What a message with a model must look like."""
        return shapes_of(self.weights)

    def load(self, weights: Weights) -> None:
        """Make ``weights`` the current ones."""
        self.weights = weights

    def finish_round(self) -> None:
        """Let the current weights enter the average over rounds."""
        if self.average is None:
            self.average = {name: value.clone() for name, value in self.weights.items()}
        for name, value in self.weights.items():
            self.average[name].lerp_(value, 1 - self.average_decay)

    def state(self) -> dict[str, dict[str, Tensor]]:
        """Everything that a later process needs to go on."""
        held = {"weights": dict(self.weights)}
        if self.average is not None:
            held["average"] = {name: value.clone() for name, value in self.average.items()}
        if self.kept is not None:
            held["kept"] = dict(self.kept)
        return held

    def load_state(self, state: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Go on from ``state()``."""
        self.weights = dict(state["weights"])
        self.average = dict(state["average"]) if "average" in state else None
        self.kept = dict(state["kept"]) if "kept" in state else None

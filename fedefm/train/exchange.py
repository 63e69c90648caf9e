"""The language between an algorithm and whatever carries its messages.

A federated algorithm is a generator: it yields an ``Exchange`` (what it sends, from whom it expects
an answer) and receives an ``Inbox`` (who answered in time). The same generator runs in one process,
in FLARE's simulator and at real sites, and a fault is tested by leaving a message out.
"""

from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import torch
from torch import Tensor

from fedefm.train.message import Shapes, Tensors

SERVER = "server"  # a party like any other
Inbox = Mapping[str, Tensors]
Result = TypeVar("Result")


@dataclass(frozen=True)
class Exchange:
    """One step of a protocol.

    ``outgoing`` holds what each receiver gets, ``expect`` who is to send in the same phase, and
    ``shapes`` what a message of this phase must look like. Whoever is in ``expect`` and does not
    answer before the deadline is missing from the inbox.
    """

    phase: str
    outgoing: Mapping[str, Tensors]
    expect: frozenset[str]
    shapes: Shapes


@dataclass(frozen=True)
class RoundStats:
    """What a site may tell about one round; numbers only."""

    loss: float | None = None
    learning_rate: float | None = None
    train_seconds: float = 0.0
    similarity: Mapping[str, float] = field(default_factory=dict)  # by expert's host: mean 1 - EMD


Steps = Generator[Exchange, Inbox, Result]


@dataclass(frozen=True)
class Total:
    """A sum and whose parts are in it."""

    vector: Tensor
    members: tuple[str, ...]


Sum = Callable[[Mapping[str, Tensor], frozenset[str], int], Steps[Total]]
"""``total = yield from site.sum(outgoing, expect, length)``.

Give each receiver a vector of ``length`` numbers and obtain the sum of what ``expect`` gave us. A
secure sum has the same form, and then no receiver sees a single part."""


def plain_sum(outgoing: Mapping[str, Tensor], expect: frozenset[str], length: int) -> Steps[Total]:
    """A sum without protection: the receiver sees every part."""
    inbox = yield Exchange(
        phase="sum",
        outgoing={receiver: {"vector": vector} for receiver, vector in outgoing.items()},
        expect=expect,
        shapes={"vector": torch.Size([length])},
    )
    total = torch.zeros(length)
    for sender in sorted(inbox):  # a fixed order, so that rounding does not depend on arrival
        total += inbox[sender]["vector"]
    return Total(total, tuple(sorted(inbox)))

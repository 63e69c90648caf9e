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

from fedefm.train.header import SERVER as SERVER
from fedefm.train.message import Shapes, Tensors

Inbox = Mapping[str, Tensors]
Result = TypeVar("Result")


@dataclass(frozen=True)
class Exchange:
    """One step of a protocol.

    ``outgoing`` holds what each receiver gets, ``expect`` who is to send in the same phase, and
    ``shapes`` what a message of this phase must look like. Whoever is in ``expect`` and does not
    answer before the deadline is missing from the inbox.

    ``step`` counts the exchanges of a protocol that has several, from 0. All its parties keep one
    clock: waiting in step k ends k + 1 deadlines after the party's step 0 began, so that whoever
    waits for the silent is not taken for silent by those who wait for it.
    """

    phase: str
    outgoing: Mapping[str, Tensors]
    expect: frozenset[str]
    shapes: Shapes
    step: int = 0


@dataclass(frozen=True)
class RoundStats:
    """What a party may tell about one round; numbers only.

    A server says whose parts are ``left_out`` of the sum that it opened, and whether its model is
    ``unmoved``, as none opened.
    """

    loss: float | None = None
    learning_rate: float | None = None
    train_seconds: float = 0.0
    similarity: Mapping[str, float] = field(default_factory=dict)  # by expert's host: mean 1 - EMD
    left_out: tuple[str, ...] = ()
    unmoved: bool = False


Steps = Generator[Exchange, Inbox, Result]


@dataclass(frozen=True)
class Total:
    """A sum and whose parts are in it.

    Members may be done long before their receiver, which waits for the silent. The exchange in
    which they hear from it is step ``next_step``: 0 where the sum ends for all at once. ``lost``
    are the receivers from whom nothing will come, as we know that there is no sum of theirs.
    ``company`` tells for each receiver whose parts are in the sum beside ours, as its members have
    signed it; empty where sums are plain, and nobody signs.
    """

    vector: Tensor
    members: tuple[str, ...]
    next_step: int = 0
    lost: frozenset[str] = frozenset()
    company: Mapping[str, frozenset[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Cohort:
    """Whose parts make a sum, and who receives it.

    ``members`` are without the receiver. ``joins`` says that the receiver adds a part of its own to
    what it receives, and so is one of those who contribute. ``agreed`` is the digest of what all
    members must hold alike, as the model that they were handed: where somebody was handed another
    one, a secure sum does not open.
    """

    receiver: str
    members: frozenset[str]
    joins: bool = False
    agreed: str = ""


@dataclass(frozen=True)
class Occasion:
    """Which sum of a run this is; no two are alike in round, name and receiver.

    ``counts`` are whole numbers, which a sum of rounded values must add up exactly. Each part of a
    ``noisy`` sum brings a share of the noise, and a secure sum of too few of them does not open.
    """

    round: int
    what: str
    length: int
    counts: bool = False
    noisy: bool = False


Sum = Callable[[Occasion, Mapping[Cohort, Tensor], Cohort | None], Steps[Total]]
"""``total = yield from site.sum(occasion, parts, own)``.

Give a vector to each cohort in ``parts``, and obtain the sum of what the members of ``own``, whose
receiver we are, gave us; nothing where it is None. A secure sum has the same form, and then no
receiver sees a single part."""


def plain_sum(
    occasion: Occasion, parts: Mapping[Cohort, Tensor], own: Cohort | None
) -> Steps[Total]:
    """A sum without protection: the receiver sees every part."""
    inbox = yield Exchange(
        phase=occasion.what,
        outgoing={cohort.receiver: {"vector": part} for cohort, part in parts.items()},
        expect=own.members if own else frozenset(),
        shapes={"vector": torch.Size([occasion.length])},
    )
    total = torch.zeros(occasion.length)
    for sender in sorted(inbox):  # a fixed order, so that rounding does not depend on arrival
        total += inbox[sender]["vector"]
    return Total(total, tuple(sorted(inbox)), next_step=1)

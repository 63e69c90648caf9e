"""Runs a receiver and its members phase by phase, with a network that can do anything to them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedefm.errors import FedEFMError
from privacy.identity import Identity, ThrowAwayRoot
from privacy.project_root import ProjectRoot
from privacy.secagg.context import Context
from privacy.secagg.masks import mask_input
from privacy.secagg.member import member
from privacy.secagg.memory import Memory
from privacy.secagg.receiver import receiver
from privacy.secagg.ring import Ring
from privacy.secagg.session_secrets import SessionSecrets
from privacy.secagg.steps import Packet, Protocol, Step

RECEIVER = "server"
NAMES = [f"site-{number:02}" for number in range(1, 13)]
THROW_AWAY = ThrowAwayRoot()
IDENTITIES: dict[str, Identity] = {name: THROW_AWAY.issue(name) for name in NAMES}

Network = Callable[[int, str, str, Packet], Packet | None]
"""``(step, sender, addressee, packet)``: what arrives in its place, or None."""


def honest(step: int, sender: str, addressee: str, packet: Packet) -> Packet | None:
    """A network on which all arrives."""
    return packet


class QuickRoot(ProjectRoot):
    """A root that checks each signature once for all members of a test's process."""

    def __init__(self, certificate: bytes) -> None:
        super().__init__(certificate)
        self._right: set[tuple[str, bytes, bytes, bytes]] = set()

    def verify(self, name: str, certificate: bytes, signature: bytes, data: bytes) -> None:
        said = (name, certificate, signature, data)
        if said not in self._right:
            super().verify(*said)
            self._right.add(said)

    def forget(self) -> None:
        self._right.clear()


@dataclass
class Ended:
    """How each party's session ended, and what was said on the way."""

    results: dict[str, Any] = field(default_factory=dict)
    errors: dict[str, FedEFMError] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)
    sent: list[tuple[int, str, str, Packet]] = field(default_factory=list)

    @property
    def opened(self) -> Any:
        return self.results[RECEIVER]

    @property
    def why(self) -> str:
        return str(self.errors[RECEIVER])


def run(sessions: Mapping[str, Protocol[Any]], network: Network = honest) -> Ended:
    """Drive all ``sessions`` to their ends in lock-step; silence is noticed at once."""
    ended, waiting = Ended(), dict[str, Step]()
    for name in sessions:
        _advance(name, sessions[name], None, waiting, ended)
    while waiting:
        step = min(waits.step for waits in waiting.values())
        now = {name: waits for name, waits in waiting.items() if waits.step == step}
        inboxes = _deliver(step, now, network, ended)
        for name in now:
            del waiting[name]
            _advance(name, sessions[name], inboxes[name], waiting, ended)
    return ended


def _deliver(
    step: int, now: Mapping[str, Step], network: Network, ended: Ended
) -> dict[str, dict[str, Packet]]:
    inboxes: dict[str, dict[str, Packet]] = {name: {} for name in now}
    for sender in sorted(now):
        for addressee, packet in now[sender].outgoing.items():
            ended.sent.append((step, sender, addressee, packet))
            arrived = network(step, sender, addressee, packet)
            if arrived is not None and addressee in now and sender in now[addressee].expect:
                inboxes[addressee][sender] = arrived
    return inboxes


def _advance(
    name: str,
    session: Protocol[Any],
    inbox: Mapping[str, Packet] | None,
    waiting: dict[str, Step],
    ended: Ended,
) -> None:
    try:
        waiting[name] = next(session) if inbox is None else session.send(inbox)
    except StopIteration as finished:
        ended.results[name] = finished.value
    except FedEFMError as error:
        ended.errors[name] = error


@dataclass
class Cast:
    """A planned sum: who is in it, what each gives, and with which secrets."""

    context: Context
    ring: Ring
    parts: dict[str, NDArray[np.float32]]
    secrets: dict[str, SessionSecrets]
    memories: dict[str, Memory]
    root: ProjectRoot
    min_cohort: int = 1
    told: list[str] = field(default_factory=list)

    @property
    def length(self) -> int:
        return len(next(iter(self.parts.values())))

    def member(self, name: str, context: Context | None = None) -> Protocol[Any]:
        return member(
            self.context if context is None else context,
            self.ring,
            self.parts[name],
            IDENTITIES[name],
            self.root,
            self.memories[name],
            self.min_cohort,
            self.told.append,
            self.secrets[name],
        )

    def receiver(self) -> Protocol[Any]:
        return receiver(self.context, self.ring, self.length, self.root, self.told.append)

    def sessions(self) -> dict[str, Protocol[Any]]:
        members = {name: self.member(name) for name in self.context.members}
        return {RECEIVER: self.receiver(), **members}

    def rounded(self) -> dict[str, NDArray[np.uint32]]:
        """Each part as it enters the ring. To be asked for before the sessions forget."""
        return {
            name: mask_input(x, self.ring, [], [], self.secrets[name].rounding_key)
            for name, x in self.parts.items()
        }

    def run(self, network: Network = honest) -> Ended:
        ended = run(self.sessions(), network)
        ended.told = self.told
        return ended


def cast(
    size: int,
    *,
    colluders: int = 1,
    min_cohort: int = 1,
    joins: bool = False,
    compact: bool = False,
    agreed: str = "model",
    length: int = 5,
    seed: int = 0,
    memories: dict[str, Memory] | None = None,
) -> Cast:
    """A sum over the first ``size`` names."""
    names = NAMES[:size]
    ring = Ring.default(size + joins, 8.0, compact)
    context = Context(
        "job", "run", 3, "sum", RECEIVER, tuple(names), joins, ring.describe(), agreed, colluders
    )
    rng = np.random.default_rng(seed)
    return Cast(
        context,
        ring,
        {name: rng.uniform(-2, 2, length).astype(np.float32) for name in names},
        {name: SessionSecrets.fresh() for name in names},
        memories or {name: Memory(None) for name in names},
        QUICK,
        min_cohort,
    )


def exact_sum(ring: Ring, rounded: Mapping[str, NDArray[np.uint32]], of: tuple[str, ...]) -> Any:
    """What a sum over ``of`` must be, bit by bit: in whole numbers, and then as float32."""
    half, size = 2 ** (ring.bits - 1), 2**ring.bits
    values = [[(int(word) + half) % size - half for word in rounded[name]] for name in of]
    totals = [sum(column) for column in zip(*values, strict=True)]
    return np.array(totals, dtype=np.float32) * np.float32(ring.quantum)


QUICK = QuickRoot(THROW_AWAY.root.certificate)

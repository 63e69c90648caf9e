"""Carries messages between any number of parties in one process, with faults on demand.

The algorithms are the same generators that run at real sites, and every message is sealed, opened
and checked as there. A party goes on when everybody whom it expects has answered. When nobody can
go on, time passes until the next deadline, and whose it is goes on with the smaller inbox.
"""

import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Generic

from fedefm.errors import MessageRejected, PrivacyError
from fedefm.train.exchange import Exchange, Result, Steps
from fedefm.train.message import Header, Message, Postbox, Seal, Tensors
from fedefm.train.protection import Release


def _never(header: Header) -> bool:
    return False


def _at_once(header: Header) -> float:
    return 0.0


def _sound(site: str, round_index: int) -> bool:
    return False


@dataclass(frozen=True)
class Faults:
    """What goes wrong: lost messages, messages delayed by seconds, sites that throw in a round."""

    lose: Callable[[Header], bool] = _never
    delay_s: Callable[[Header], float] = _at_once
    crash: Callable[[str, int], bool] = _sound


class InjectedCrash(Exception):
    """Raised inside a site by ``Faults.crash``."""


@dataclass
class Outcome(Generic[Result]):
    """What became of one party's part of a round. ``error`` is set where it threw."""

    result: Result | None = None
    error: Exception | None = None
    missing: set[str] = field(default_factory=set)  # expected and not heard of, in any phase
    rejected: list[str] = field(default_factory=list)
    sent_bytes: int = 0
    received_bytes: int = 0
    seconds: float = 0.0  # inside the algorithm
    exchange_seconds: float = 0.0  # sealing, opening and checking


class Network:
    """The mail between parties of one job, across rounds.

    ``releases`` are those of the sites; a party without one, as the server, sends as it likes.
    Where there are ``seals``, each party has one, and no unsigned message is opened. ``wire`` is
    the run file's.
    """

    def __init__(
        self,
        job: str,
        run_id: str,
        deadline_s: float,
        faults: Faults = Faults(),
        releases: Mapping[str, Release] | None = None,
        seals: Mapping[str, Seal] | None = None,
        wire: str = "float32",
    ) -> None:
        self._job, self._run_id = job, run_id
        self._releases, self._seals = releases or {}, seals or {}
        self._deadline_s, self._wire = deadline_s, wire
        self._faults = faults
        self._postboxes: dict[str, Postbox] = {}
        self._mail: dict[tuple[str, str, str], deque[Message]] = defaultdict(deque)
        self._late: list[Message] = []

    def run_round(
        self, parties: Mapping[str, Steps[Result]], round_index: int
    ) -> dict[str, Outcome[Result]]:
        """Drive every party's generator to its end, or to the error that it threw."""
        self._mail.clear()
        for message in self._late:  # what came after the deadline is refused by its receiver
            self._deliver(message)
        self._late = []
        turn = _Round(self, round_index, dict(parties))
        return turn.play()

    def send(self, sender: str, round_index: int, exchange: Exchange) -> int:
        """Put the outgoing messages of one exchange in the mail; their bytes.

        Raises PolicyRefused where one of them must not leave; then none does.
        """
        postbox = self._postbox(sender)
        sealed = [
            postbox.seal(round_index, exchange.phase, receiver, exchange.outgoing[receiver])
            for receiver in sorted(exchange.outgoing)
        ]
        size = 0
        for message in sealed:
            size += message.size
            if self._faults.lose(message.header):
                continue
            if self._faults.delay_s(message.header) > self._deadline_s:
                self._late.append(message)
            else:
                self._deliver(message)
        return size

    def arrived(self, receiver: str, round_index: int, exchange: Exchange) -> bool:
        """Whether everybody whom ``receiver`` expects has something of this round in the mail."""
        return all(
            any(m.header.round == round_index for m in self._mail[receiver, exchange.phase, sender])
            for sender in exchange.expect
        )

    def collect(
        self, receiver: str, round_index: int, exchange: Exchange, outcome: Outcome[Result]
    ) -> dict[str, Tensors]:
        """Open the mail of one phase. A rejected message counts as not arrived."""
        inbox: dict[str, Tensors] = {}
        postbox = self._postbox(receiver)
        for sender in sorted(exchange.expect):
            mail = self._mail[receiver, exchange.phase, sender]
            while mail and sender not in inbox:
                message = mail.popleft()
                try:
                    inbox[sender] = postbox.open(
                        message, round_index, exchange.phase, exchange.expect, exchange.shapes
                    )
                    outcome.received_bytes += message.size
                except MessageRejected as error:
                    outcome.rejected.append(str(error))
        outcome.missing |= exchange.expect - set(inbox)
        return inbox

    def crash_if_asked(self, party: str, round_index: int) -> None:
        """Raise InjectedCrash where the faults say so."""
        if self._faults.crash(party, round_index):
            raise InjectedCrash(f"injected crash in round {round_index}")

    def _deliver(self, message: Message) -> None:
        header = message.header
        self._mail[header.receiver, header.phase, header.sender].append(message)

    def _postbox(self, owner: str) -> Postbox:
        if owner not in self._postboxes:
            release, seal = self._releases.get(owner), self._seals.get(owner)
            self._postboxes[owner] = Postbox(
                owner, self._job, self._run_id, release, seal, self._wire
            )
        return self._postboxes[owner]


class _Round(Generic[Result]):
    """One round of all parties, each stopped at the exchange that it waits for."""

    def __init__(
        self, network: Network, round_index: int, parties: dict[str, Steps[Result]]
    ) -> None:
        self._network, self._round = network, round_index
        self._parties = parties
        self._outcomes: dict[str, Outcome[Result]] = {name: Outcome() for name in parties}
        self._waiting: dict[str, Exchange] = {}
        self._now = 0  # in deadlines
        self._begun: dict[str, int] = {}  # when each party's protocol had its step 0

    def play(self) -> dict[str, Outcome[Result]]:
        for name in self._parties:
            self._advance(name, None)
        while self._waiting:
            complete = [
                name
                for name, exchange in self._waiting.items()
                if self._network.arrived(name, self._round, exchange)
            ]
            for name in complete or self._next_due():
                exchange = self._waiting.pop(name)
                self._advance(name, exchange)
        return self._outcomes

    def _next_due(self) -> list[str]:
        """Let time pass until the next deadline; whose it is."""
        due = {name: self._begun[name] + e.step + 1 for name, e in self._waiting.items()}
        self._now = min(due.values())
        return [name for name, at in due.items() if at == self._now]

    def _advance(self, name: str, waited_for: Exchange | None) -> None:
        outcome, steps = self._outcomes[name], self._parties[name]
        started = time.perf_counter()
        inbox: dict[str, Tensors] = {}
        if waited_for is not None:
            inbox = self._network.collect(name, self._round, waited_for, outcome)
        opened = time.perf_counter()
        exchange = None
        try:
            if waited_for is None:
                self._network.crash_if_asked(name, self._round)
                exchange = next(steps)
            else:
                exchange = steps.send(inbox)
        except StopIteration as finished:
            outcome.result = finished.value
        except Exception as error:  # one site's trouble is its own
            outcome.error = error
        trained = time.perf_counter()
        if exchange is not None:
            self._send(name, exchange, outcome)
        outcome.seconds += trained - opened
        outcome.exchange_seconds += (opened - started) + (time.perf_counter() - trained)

    def _send(self, name: str, exchange: Exchange, outcome: Outcome[Result]) -> None:
        try:
            outcome.sent_bytes += self._network.send(name, self._round, exchange)
            self._waiting[name] = exchange
            if exchange.step == 0 or name not in self._begun:
                self._begun[name] = self._now
        except PrivacyError as error:  # what must not leave is its sender's trouble
            outcome.error = error
            self._parties[name].close()

"""Several sessions of one party as one protocol, phase by phase.

A party is a member of some sums and receives another one at the same time. All sessions count
their phases alike: in even ones members speak to receivers, in odd ones receivers to members. So
in each phase, no two sessions of a party speak to, or wait for, the same other party, and the
packets of all can travel as one step.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic

from fedefm.errors import PrivacyError, ProtocolError
from privacy.secagg.steps import Packet, Protocol, Result, Step


@dataclass(frozen=True)
class Ended(Generic[Result]):
    """How a session ended: with its ``result``, or with the ``error`` that ended it alone."""

    result: Result | None = None
    error: ProtocolError | PrivacyError | None = None


def together(sessions: Mapping[str, Protocol[Result]]) -> Protocol[dict[str, Ended[Result]]]:
    """Drive ``sessions`` in lock-step; how each ended, by its name.

    A session that gives up, or that what others sent has brought down, ends alone. Any other error
    is a defect, and ends all of them.
    """
    driven = _Driven(dict(sessions))
    try:
        for name in sessions:
            driven.advance(name, None)
        while driven.waiting:
            inbox = yield driven.next_step()
            driven.deliver(inbox)
        return driven.ended
    finally:
        for session in sessions.values():
            session.close()


class _Driven(Generic[Result]):
    """Sessions, each stopped at the step that it waits in, or ended."""

    def __init__(self, sessions: dict[str, Protocol[Result]]) -> None:
        self._sessions = sessions
        self.waiting: dict[str, Step] = {}
        self.ended: dict[str, Ended[Result]] = {}

    def advance(self, name: str, inbox: Mapping[str, Packet] | None) -> None:
        session = self._sessions[name]
        try:
            self.waiting[name] = next(session) if inbox is None else session.send(inbox)
        except StopIteration as finished:
            self.ended[name] = Ended(result=finished.value)
        except (ProtocolError, PrivacyError) as error:
            self.ended[name] = Ended(error=error)

    def next_step(self) -> Step:
        """The steps of those who are in the earliest phase, as one."""
        return merged([self.waiting[name] for name in self._next()])

    def deliver(self, inbox: Mapping[str, Packet]) -> None:
        """Give each session of that phase what came from those whom it expects."""
        for name in self._next():
            expected = self.waiting.pop(name).expect
            self.advance(name, {sender: inbox[sender] for sender in inbox if sender in expected})

    def _next(self) -> list[str]:
        first = min(step.step for step in self.waiting.values())
        return [name for name, step in self.waiting.items() if step.step == first]


def merged(steps: list[Step]) -> Step:
    """One step out of several of the same phase. Raises ValueError where they get in each other's
    way, which sessions of different receivers never do."""
    first, outgoing, expect = steps[0], dict[str, Packet](), frozenset[str]()
    vector_bytes = {step.vector_bytes for step in steps if step.expect} or {0}
    for step in steps:
        if step.phase != first.phase or len(vector_bytes) > 1:
            raise ValueError(f"sessions disagree on what phase {first.step} is")
        if not (outgoing.keys().isdisjoint(step.outgoing) and expect.isdisjoint(step.expect)):
            raise ValueError(f"two sessions need the same party in phase {first.phase!r}")
        outgoing |= step.outgoing
        expect |= step.expect
    return Step(first.phase, first.step, outgoing, expect, vector_bytes.pop())

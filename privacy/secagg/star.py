"""The star on which a sum travels: members speak in even phases, the receiver in odd ones."""

from collections.abc import Callable, Mapping
from typing import TypeVar

from fedefm.errors import MessageRejected, SumAborted
from privacy.secagg.context import Context
from privacy.secagg.payload import Resigned, resignation
from privacy.secagg.plan import PHASES, require_enough
from privacy.secagg.steps import Packet, Protocol, Step

Read = TypeVar("Read")
NOBODY: frozenset[str] = frozenset()


class Seat:
    """A member's end of the star."""

    def __init__(self, receiver: str) -> None:
        self._receiver, self._step = receiver, 0
        self._is_alone = False

    @property
    def phase(self) -> str:
        """The phase that was last begun."""
        return PHASES[max(0, self._step - 1)]

    def send(self, packet: Packet) -> Protocol[None]:
        """One packet to the receiver."""
        yield self._next({self._receiver: packet}, NOBODY)

    def listen(self, read: Callable[[bytes], Read]) -> Protocol[Read]:
        """What the receiver says, as ``read`` understands it.

        Raises SumAborted, naming the receiver, where that is nothing or MessageRejected.
        """
        inbox = yield self._next({}, frozenset([self._receiver]))
        try:
            return read(_packet(inbox, self._receiver).payload)
        except MessageRejected as error:
            self._is_alone = isinstance(error, Resigned)
            raise SumAborted(f"{self._receiver} in phase {self.phase!r}: {error}") from None

    def resign(self, reason: str) -> Protocol[None]:
        """Say so in place of the next packet, lest the receiver wait for it."""
        if self._step < len(PHASES) and not self._is_alone:
            yield self._next({self._receiver: resignation(reason)}, NOBODY)

    def _next(self, outgoing: Mapping[str, Packet], expect: frozenset[str]) -> Step:
        self._step += 1
        return Step(self.phase, self._step - 1, outgoing, expect)


class Desk:
    """The receiver's end of the star. Who once failed to answer is out of the sum."""

    def __init__(self, context: Context, tell: Callable[[str], None]) -> None:
        self._context, self._tell, self._step = context, tell, 0
        self._present = frozenset(context.members)
        self._failed: dict[str, str] = {}  # why; they are told with the next packets

    @property
    def phase(self) -> str:
        """The phase that was last begun."""
        return PHASES[max(0, self._step - 1)]

    def collect(
        self, read: Callable[[str, Packet], Read], vector_bytes: int = 0
    ) -> Protocol[dict[str, Read]]:
        """What those still present say, by name, as ``read(sender, packet)`` understands it.

        ``tell`` hears of everybody who is silent or not understood. Raises SumAborted where too
        few are left.
        """
        inbox = yield self._next({}, self._present, vector_bytes)
        understood = {}
        for sender in sorted(self._present):
            try:
                understood[sender] = read(sender, _packet(inbox, sender))
            except MessageRejected as error:
                self._failed[sender] = str(error)
                self._tell(f"{sender} in phase {self.phase!r}: {error}")
        self._present = frozenset(understood)
        require_enough(self._context, self._present)
        return understood

    def hand_out(self, payload_for: Callable[[str], bytes]) -> Protocol[None]:
        """A packet to each who is present. Who just failed is told why."""
        packets = {name: Packet(payload_for(name)) for name in sorted(self._present)}
        failed, self._failed = self._failed, {}
        packets |= {name: resignation(f"without you: {failed[name]}") for name in failed}
        yield self._next(packets, NOBODY)

    def dismiss(self, reason: str) -> Protocol[None]:
        """Tell all who still listen, lest they wait for the next packet."""
        if self._step < len(PHASES):
            listening = sorted(self._present | set(self._failed))
            yield self._next({name: resignation(reason) for name in listening}, NOBODY)

    def _next(
        self, outgoing: Mapping[str, Packet], expect: frozenset[str], vector_bytes: int = 0
    ) -> Step:
        self._step += 1
        return Step(self.phase, self._step - 1, outgoing, expect, vector_bytes)


def _packet(inbox: Mapping[str, Packet], sender: str) -> Packet:
    if sender not in inbox:
        raise MessageRejected("nothing arrived in time")
    return inbox[sender]

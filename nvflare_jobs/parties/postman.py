"""Carries messages between the other parties and the training process of a site.

What comes while no process listens is held, and handed over to the next one.
"""

import logging
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import TimeoutError as NotYet
from typing import Any

from fedefm.errors import MessageRejected, PolicyRefused, ProtocolError
from fedefm.train.header import Header
from nvflare_jobs.parties import pipe
from nvflare_jobs.parties.child import Child, ChildGone
from nvflare_jobs.parties.current_process import CurrentProcess
from nvflare_jobs.parties.held import Held
from nvflare_jobs.parties.pipe import Payload
from nvflare_jobs.parties.reasons import tell_reason

Deliver = Callable[[str, bytes], None]
"""Send a message, in its wire form, to a party. Raises ProtocolError where it was not taken,
PolicyRefused where the site's own filters forbid it to leave."""

KEEP_S = 60.0  # to check and keep a message
TOO_BUSY = "the site's training process is too busy"

logger = logging.getLogger(__name__)


class Postman:
    """To the process that there is ``now``, and from it to others by ``deliver``."""

    def __init__(self, now: CurrentProcess, deliver: Deliver) -> None:
        self._now, self._deliver = now, deliver
        self._held = Held()  # under the lock of ``now``

    def take(self, header: Header, data: Payload) -> None:
        """Give the site a message of another party, or hold it until the next process listens.

        Raises MessageRejected where it is not kept.
        """
        while (child := self._listener_or_hold(header, data)) is not None:
            try:
                refusal = child.ask(pipe.MESSAGE, data).result(KEEP_S)
            except ChildGone:
                continue
            except NotYet:
                raise _rejected(header, TOO_BUSY) from None
            if refusal:
                raise MessageRejected(str(refusal))
            return

    def _listener_or_hold(self, header: Header, data: Payload) -> Child | None:
        """The process that listens; where there is none, the message is held."""
        now = self._now
        with now.changed:
            if not now.changed.wait_for(lambda: now.catching_up is None, KEEP_S):
                raise _rejected(header, TOO_BUSY)
            if now.refusal or now.closing:
                raise _rejected(header, "the site takes no further part in this job")
            if now.listening and now.child is not None:
                return now.child
            if header.round <= now.begun:
                raise _rejected(header, "the site's training process died in this round")
            self._held.keep(header, data)
            return None

    def catch_up(self, child: Child, next_round: int) -> None:
        """Give the process, which listens from now on, what was held, in a thread of its own.

        Whoever reads what the process sends must not do it: the process answers, and may wait until
        that is read.
        """
        now = self._now
        with now.changed:
            now.begun = max(now.begun, next_round - 1)
            now.catching_up = child
        threading.Thread(
            target=self._hand_over, args=(child,), daemon=True, name="fedefm-held"
        ).start()

    def _hand_over(self, child: Child) -> None:
        """Give the process what was held, one by one; meanwhile all else waits behind it.

        What is in the hands of a process that dies is lost, since it may have died of it.
        """
        while (data := self._next_held(child)) is not None:
            try:
                child.ask(pipe.MESSAGE, data).result(KEEP_S)
            except ChildGone:
                return
            except NotYet:
                logger.warning("the training process has not yet kept a message that was held")

    def _next_held(self, child: Child) -> Payload | None:
        """None where it is gone, or has everything, and listens from now on."""
        now = self._now
        with now.changed:
            if now.catching_up is not child:
                return None
            data = self._held.take_next()
            if data is None:
                now.catching_up, now.listening = None, True
                now.changed.notify_all()
            return data

    def send(self, child: Child, head: Mapping[str, Any], data: bytes) -> None:
        """Send what the process asks to be sent, and tell it what became of that."""
        how, why = pipe.SENT, ""
        try:
            self._deliver(str(head["receiver"]), data)
        except PolicyRefused as error:
            how, why = pipe.FORBIDDEN, str(error)
        except ProtocolError as error:
            how, why = pipe.NOT_TAKEN, str(error)
        except Exception as error:  # FLARE's own trouble is one message's, not the site's
            how, why = pipe.NOT_TAKEN, f"not taken ({tell_reason(error)})"
        child.tell(pipe.OUTCOME, number=head[pipe.NUMBER], how=how, why=why)


def _rejected(header: Header, why: str) -> MessageRejected:
    return MessageRejected(
        f"message from {header.sender!r} (round {header.round}, {header.phase}): {why}"
    )

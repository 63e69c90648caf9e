"""A site's training in a process of its own, which may die: then a round is missed, and no more.

FLARE ends a job as soon as one of its own processes dies. So memory, images and models are in a
child process, and what stays with FLARE speaks for it, starts it anew, and keeps its mail.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotYet
from pathlib import Path
from typing import Any

from fedefm.errors import MessageRejected, PolicyRefused, ProtocolError
from fedefm.train.header import Header
from nvflare_jobs.parties import pipe
from nvflare_jobs.parties.child import TRAINING, Child, ChildGone, Order
from nvflare_jobs.parties.held import Held
from nvflare_jobs.parties.pipe import Payload
from nvflare_jobs.parties.reasons import tell_reason
from nvflare_jobs.parties.tasks import MEASURE, PUBLISH, READY, ROUND

Deliver = Callable[[str, bytes], None]
"""Send a message, in its wire form, to a party. Raises ProtocolError where it was not taken,
PolicyRefused where the site's own filters forbid it to leave."""

SENDERS = 8  # messages on their way at the same time
MOST_DEATHS = 3  # in a row, with no round finished in between
POLL_S = 0.2  # how often a waiting thread looks whether the job was stopped
STOP_S = 10.0  # to finish what cannot be interrupted, once the job was stopped
END_S = 20.0  # to let go of the ledger
KEEP_S = 60.0  # to check and keep a message
TOO_BUSY = "the site's training process is too busy"

logger = logging.getLogger(__name__)


class TrainingEnded(ProtocolError):
    """The site's training process ended in the middle of a task."""


class Supervised:
    """The training process of one site in one job, and the next one where it dies."""

    def __init__(
        self, order: Order, log: Path, deliver: Deliver, command: Sequence[str] = TRAINING
    ) -> None:
        self._order, self._log, self._deliver, self._command = order, log, deliver, command
        self._changed = threading.Condition()
        self._child: Child | None = None
        self._listening = False
        self._catching_up: Child | None = None  # which is being given what was held
        self._held = Held()
        self._begun = -1  # the newest round of which a process may have begun something
        self._deaths = 0  # in a row
        self._refusal = ""  # why no process is started any more
        self._closing = False
        self._thread = threading.Thread(target=self._supervise, daemon=True, name="fedefm-child")

    def start(self) -> None:
        """Start the process in the background, and look after it from now on."""
        self._thread.start()

    @property
    def pid(self) -> int | None:
        """Of the process that there is now."""
        child = self._child
        return child.pid if child is not None else None

    # Tasks.

    def ask(
        self, task: str, numbers: Mapping[str, Any], stopped: Callable[[], bool]
    ) -> dict[str, Any]:
        """What the site answers to ``task``.

        Raises TrainingEnded where the process dies of it, or where none is started any more, and
        ProtocolError where the job is ``stopped``. READY begins nothing, and is asked again.
        """
        while True:
            child = self._listener(task, numbers, stopped)
            try:
                told = self._answer(child.ask(pipe.TASK, task=task, numbers=dict(numbers)), stopped)
            except ChildGone as end:
                if task == READY:
                    continue
                raise TrainingEnded(self._missed(str(end), task)) from None
            if task in (ROUND, MEASURE, PUBLISH):
                self._deaths = 0
            return told

    def _listener(
        self, task: str, numbers: Mapping[str, Any], stopped: Callable[[], bool]
    ) -> Child:
        """The process, once it listens, and from now on busy with ``task``."""
        with self._changed:
            while not self._listening or self._child is None:
                if self._refusal:
                    raise TrainingEnded(self._refusal)
                if self._closing or stopped():
                    raise ProtocolError("the job was stopped")
                self._changed.wait(POLL_S)
            if task in (ROUND, MEASURE, PUBLISH):
                self._begun = max(self._begun, int(numbers["round"]))
            return self._child

    def _answer(self, answer: "Future[Any]", stopped: Callable[[], bool]) -> dict[str, Any]:
        until = None
        while True:
            try:
                return dict(answer.result(POLL_S))
            except NotYet:
                if until is None and stopped():
                    self.stop()
                    until = time.monotonic() + STOP_S
                if until is not None and time.monotonic() > until:
                    raise ProtocolError("the job was stopped") from None

    def _missed(self, how: str, task: str) -> str:
        what = "this round" if task in (ROUND, MEASURE) else "this task"
        return (
            f"the training process of site {self._order.site!r} {how}; it misses {what} and goes "
            "on from its last saved round"
        )

    # Messages.

    def take(self, header: Header, data: Payload) -> None:
        """Give the site a message of another party, or hold it until the next process listens.

        Raises MessageRejected where it is not kept.
        """
        while True:
            with self._changed:
                if not self._changed.wait_for(lambda: self._catching_up is None, KEEP_S):
                    raise _rejected(header, TOO_BUSY)
                if self._refusal or self._closing:
                    raise _rejected(header, "the site takes no further part in this job")
                if not self._listening or self._child is None:
                    if header.round <= self._begun:
                        raise _rejected(header, "the site's training process died in this round")
                    return self._held.keep(header, data)
                child = self._child
            try:
                refusal = child.ask(pipe.MESSAGE, data).result(KEEP_S)
            except ChildGone:
                continue
            except NotYet:
                raise _rejected(header, TOO_BUSY) from None
            if refusal:
                raise MessageRejected(str(refusal))
            return None

    def _hand_over(self, child: Child) -> None:
        """Give the process what was held, one by one; meanwhile all else waits behind it.

        The thread that reads must not do it: the process answers, and may wait until that is read.
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
        with self._changed:
            if self._catching_up is not child:
                return None
            data = self._held.take_next()
            if data is None:
                self._catching_up, self._listening = None, True
                self._changed.notify_all()
            return data

    def _send(self, child: Child, head: Mapping[str, Any], data: bytes) -> None:
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

    # The end.

    def stop(self) -> None:
        """Let the site wait for nobody any longer."""
        child = self._child
        if child is not None:
            child.tell(pipe.STOP)

    def close(self) -> None:
        """End the process. It gives back what was set aside for a run that did not begin."""
        with self._changed:
            self._closing, child = True, self._child
            self._changed.notify_all()
        if child is not None:
            child.tell(pipe.END)
            if not child.ends_within(END_S):
                child.kill()
        if self._thread.is_alive():
            self._thread.join(END_S)

    # One process after the other.

    def _supervise(self) -> None:
        while not (self._closing or self._refusal):
            try:
                how = self._one_life()
            except Exception as error:  # the system starts no process, for instance
                how = f"could not be started ({tell_reason(error)})"
            self._mourn(how)

    def _one_life(self) -> str:
        """Start a process and do what it asks for; how it ended."""
        child = Child(self._order, self._log, self._command)
        mail = ThreadPoolExecutor(SENDERS, thread_name_prefix="fedefm-out")
        with self._changed:
            self._child = child
            if self._closing:
                child.kill()
        try:
            while True:
                self._heed(child, mail, *child.receive())
        except (EOFError, OSError):
            pass  # the usual way to learn of an end
        except Exception as error:
            logger.error("unexpected error", exc_info=error)
            child.kill()
        with self._changed:
            self._listening, self._catching_up = False, None
            self._changed.notify_all()
        mail.shutdown(wait=False, cancel_futures=True)
        return child.bury()

    def _heed(
        self, child: Child, mail: ThreadPoolExecutor, head: dict[str, Any], payload: bytes
    ) -> None:
        kind = head[pipe.KIND]
        if kind == pipe.SEND:
            mail.submit(self._send, child, head, payload)
        elif kind == pipe.LISTENING:
            with self._changed:
                self._begun = max(self._begun, int(head["next_round"]) - 1)
                self._catching_up = child
            threading.Thread(
                target=self._hand_over, args=(child,), daemon=True, name="fedefm-held"
            ).start()
        else:
            child.answered(head)

    def _mourn(self, how: str) -> None:
        with self._changed:
            self._child = None
            if not self._closing:
                self._deaths += 1
                logger.warning("the training process %s", how)
            if self._deaths >= MOST_DEATHS:
                self._refusal = (
                    f"the training process of site {self._order.site!r} {how}; this was "
                    f"death {self._deaths} in a row without a finished round between, so the site "
                    "takes no further part in this job"
                )
            self._changed.notify_all()


def _rejected(header: Header, why: str) -> MessageRejected:
    return MessageRejected(
        f"message from {header.sender!r} (round {header.round}, {header.phase}): {why}"
    )

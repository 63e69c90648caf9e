"""A site's training in a process of its own, which may die: then a round is missed, and no more.

FLARE ends a job as soon as one of its own processes dies. So memory, images and models are in a
child process, and what stays with FLARE speaks for it, starts it anew, and keeps its mail.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from pathlib import Path
from typing import Any

from fedefm.errors import ProtocolError
from fedefm.train.header import Header
from nvflare_jobs.parties import pipe
from nvflare_jobs.parties.child import TRAINING, Child, ChildGone, Order
from nvflare_jobs.parties.current_process import CurrentProcess
from nvflare_jobs.parties.lives import Lives
from nvflare_jobs.parties.pipe import Payload
from nvflare_jobs.parties.postman import Deliver, Postman
from nvflare_jobs.parties.tasks import MEASURE, PUBLISH, READY, ROUND

POLL_S = 0.2  # how often a waiting thread looks whether the job was stopped
STOP_S = 10.0  # to finish what cannot be interrupted, once the job was stopped
END_S = 20.0  # to let go of the ledger


class TrainingEnded(ProtocolError):
    """The site's training process ended in the middle of a task."""


class Supervised:
    """The training process of one site in one job, and the next one where it dies."""

    def __init__(
        self, order: Order, log: Path, deliver: Deliver, command: Sequence[str] = TRAINING
    ) -> None:
        self._order, self._now = order, CurrentProcess()
        self._postman = Postman(self._now, deliver)
        lives = Lives(order, log, self._now, self._postman, command)
        self._thread = threading.Thread(target=lives.go_on, daemon=True, name="fedefm-child")

    def start(self) -> None:
        """Start the process in the background, and look after it from now on."""
        self._thread.start()

    @property
    def pid(self) -> int | None:
        """Of the process that there is now."""
        child = self._now.child
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
                self._now.deaths = 0
            return told

    def _listener(
        self, task: str, numbers: Mapping[str, Any], stopped: Callable[[], bool]
    ) -> Child:
        """The process, once it listens, and from now on busy with ``task``."""
        now = self._now
        with now.changed:
            while not now.listening or now.child is None:
                if now.refusal:
                    raise TrainingEnded(now.refusal)
                if now.closing or stopped():
                    raise ProtocolError("the job was stopped")
                now.changed.wait(POLL_S)
            if task in (ROUND, MEASURE, PUBLISH):
                now.begun = max(now.begun, int(numbers["round"]))
            return now.child

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
        self._postman.take(header, data)

    # The end.

    def stop(self) -> None:
        """Let the site wait for nobody any longer."""
        child = self._now.child
        if child is not None:
            child.tell(pipe.STOP)

    def close(self) -> None:
        """End the process. It gives back what was set aside for a run that did not begin."""
        now = self._now
        with now.changed:
            now.closing, child = True, now.child
            now.changed.notify_all()
        if child is not None:
            child.tell(pipe.END)
            if not child.ends_within(END_S):
                child.kill()
        if self._thread.is_alive():
            self._thread.join(END_S)

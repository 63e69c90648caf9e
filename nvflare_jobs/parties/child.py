"""One training process, as FLARE's job process sees it: started, spoken to, and mourned."""

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nvflare_jobs.parties import pipe
from nvflare_jobs.parties.pipe import Payload, pipe_and_handle

TRAINING = (sys.executable, "-m", "nvflare_jobs.parties.training_process")
REAP_S = 10.0  # a process that closed its end and does not end is killed


@dataclass(frozen=True)
class Order:
    """What a training process is to be. Site file, state and keys it finds by these itself.

    Args:
        terms: the JSON text of ``Terms``.
        job: FLARE's id of the job.
        kit: the folder of the site's kit, and ``local`` the one with its own files.
        encrypted: whether messages travel encrypted from end to end.
    """

    site: str
    terms: str
    job: str
    kit: str
    local: str
    encrypted: bool


class ChildGone(Exception):
    """The training process is no more; ``str`` says how it ended."""


class Child:
    """A training process that was started, and what it still owes an answer to.

    Its output is added to ``log``, which stays at the site. Raises OSError where the system starts
    none.
    """

    def __init__(self, order: Order, log: Path, command: Sequence[str] = TRAINING) -> None:
        self._pipe, handle = pipe_and_handle()
        self._numbers = itertools.count()
        self._owed: dict[int, Future[Any]] = {}
        self._end = ""
        try:
            log.parent.mkdir(parents=True, exist_ok=True)
            with log.open("ab") as output:
                self._process = subprocess.Popen(
                    [*command, str(handle)],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    pass_fds=(handle,),
                )
        except BaseException:
            self._pipe.close()
            raise
        finally:
            os.close(handle)  # else the end of the process would not be seen
        self._tell(pipe.ORDER, **asdict(order))

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def receive(self) -> tuple[dict[str, Any], bytes]:
        """What the process sends next. Raises EOFError or OSError when it is gone."""
        return self._pipe.receive()

    def ask(self, kind: str, payload: Payload = b"", **head: Any) -> "Future[Any]":
        """What the process will answer, or ChildGone."""
        number, answer = next(self._numbers), Future[Any]()
        self._owed[number] = answer
        self._tell(kind, payload, **head, number=number)
        if self._end:  # it was mourned meanwhile
            self._give_up()
        return answer

    def tell(self, kind: str, **head: Any) -> None:
        """Say something that needs no answer; whoever is gone does not hear it."""
        self._tell(kind, **head)

    def answered(self, head: Mapping[str, Any]) -> None:
        """The process has answered, in a frame with this ``head``."""
        answer = self._owed.pop(int(head[pipe.NUMBER]), None)
        if answer is not None:
            answer.set_result(head[pipe.ANSWER])

    def bury(self) -> str:
        """Wait for the end of a process that is silent for good; how it ended, in words.

        What it owed becomes ChildGone.
        """
        try:
            self._process.wait(REAP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._end = _in_words(self._process.returncode)
        self._pipe.close()
        self._give_up()
        return self._end

    def kill(self) -> None:
        """End it now, unless it has ended."""
        self._process.kill()

    def ends_within(self, seconds: float) -> bool:
        """Whether the process ends by itself in so many seconds."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _tell(self, kind: str, payload: Payload = b"", **head: Any) -> None:
        try:
            self._pipe.send(kind, payload, **head)
        except OSError:
            self.kill()  # half a frame is no use; whoever receives hears of the end

    def _give_up(self) -> None:
        for number in list(self._owed):
            answer = self._owed.pop(number, None)
            if answer is not None:  # nobody else was faster
                answer.set_exception(ChildGone(self._end))


def _in_words(code: int) -> str:
    """How a process ended, by its return code."""
    if code >= 0:
        return f"ended with exit code {code} (its log at the site may say why)"
    known = {number.value: number.name for number in signal.Signals}
    name = known.get(-code, "")
    why = " (often: too little memory)" if -code == signal.SIGKILL else f" ({name})" if name else ""
    return f"was killed by signal {-code}{why}"

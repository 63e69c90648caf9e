"""The process in which a site trains: its data, its model, its ledger and its keys are here alone.

It knows nothing of FLARE. Run as a module it is that process; its only argument is the open socket
at whose other end FLARE's job process asks and passes messages on. It ends when that one does.
"""

import ctypes
import itertools
import logging
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from typing import Any, TextIO

import fedefm.model  # noqa: F401 - before anything imports torchvision
from fedefm.config import SITE_FILE
from fedefm.errors import MessageRejected, PolicyRefused, ProtocolError
from fedefm.train.message import Message, Postbox
from nvflare_jobs.parties import pipe, places, terms
from nvflare_jobs.parties.begun import read_begun
from nvflare_jobs.parties.child import Order
from nvflare_jobs.parties.identities import Credentials, credentials_of
from nvflare_jobs.parties.mailbox import Mailbox
from nvflare_jobs.parties.party import Party
from nvflare_jobs.parties.pipe import Pipe
from nvflare_jobs.parties.reasons import discretion_of, tell_reason
from nvflare_jobs.parties.run_lock import hold_run
from nvflare_jobs.parties.site_work import SiteWork

PR_SET_PDEATHSIG = 1  # of Linux' prctl
MESSAGES_A_SECOND = 1000  # at most, so that the clock counts more than were ever sent
ALONE = 3  # exit code where FLARE's process is gone

logger = logging.getLogger(__name__)


class TrainingProcess:
    """Answers tasks in this thread; messages are taken in another, at any time."""

    def __init__(self, other_end: Pipe) -> None:
        """Reads the order, which is the first frame."""
        self._pipe = other_end
        head, _ = other_end.receive()
        self._order = Order(**{field.name: head[field.name] for field in fields(Order)})
        self._tasks: queue.SimpleQueue[Mapping[str, Any] | None] = queue.SimpleQueue()
        self._numbers = itertools.count()
        self._on_the_way: dict[int, Future[None]] = {}
        self._stop = threading.Event()
        self._party: Party | None = None
        self._work: SiteWork | None = None
        self._credentials: Credentials | None = None
        self._lock: TextIO | None = None  # on the run's state, as long as this process lives
        self._taking_over = False
        self._next_round = 0
        self._trouble = ""  # why messages are not taken

    def run(self) -> None:
        """Until the other end says so."""
        try:
            self._open_mail()
        except Exception as error:  # told when the coordinator asks
            self._trouble = self._reason(error)
        threading.Thread(target=self._listen, daemon=True, name="fedefm-listen").start()
        self._pipe.send(pipe.LISTENING, next_round=self._next_round)
        if self._taking_over:
            self._go_on()
        while (head := self._tasks.get()) is not None:
            self._pipe.send(pipe.ANSWER, number=head[pipe.NUMBER], answer=self._answer(head))
            give_back_memory()
        if self._work is not None:
            self._work.close()

    def _open_mail(self) -> None:
        """Take messages from now on; neighbors may be ahead of this site."""
        order, agreed = self._order, terms.read_terms(self._order.terms)
        run, mailbox = agreed.run, Mailbox()
        state = self._state_folder(run.name)
        self._lock = hold_run(state, order.job)  # before anything there is read
        begun = read_begun(state, places.job_key(order.job))
        sent_before = 0
        if begun is not None:
            sent_before = int(time.time() * MESSAGES_A_SECOND)
            self._next_round, self._taking_over = begun.next_round, begun.begin_at is not None
            mailbox.open_round(begun.next_round)
        needed = run.privacy.secagg is not None
        self._credentials = credentials_of(order.site, agreed.sites, Path(order.kit), needed)
        seal = self._credentials.seal if self._credentials else None
        deadline_s, wire = run.federation.deadline_s, run.federation.wire
        postbox = Postbox(
            order.site, run.name, order.job, seal=seal, wire=wire, sent_before=sent_before
        )
        self._party = Party(postbox, mailbox, self._send, deadline_s, self._stop.is_set)

    def _go_on(self) -> None:
        """Be ready for the next round before it begins."""
        try:
            self._site()[0].go_on()
        except Exception as error:  # the next task meets it again, and tells it
            self._reason(error)

    # Tasks.

    def _answer(self, head: Mapping[str, Any]) -> dict[str, Any]:
        try:
            work, party = self._site()
            return work.answer(head["task"], head["numbers"], party)
        except Exception as error:
            return {"refused": self._reason(error)}

    def _site(self) -> tuple[SiteWork, Party]:
        """The site's work and party, built when first needed: images are decoded only once."""
        if self._party is None:
            raise ProtocolError(self._trouble)
        if self._work is None:
            order, agreed = self._order, terms.read_terms(self._order.terms)
            self._work = SiteWork(
                order.site,
                agreed,
                places.site_file(order.site, Path(order.local)),
                self._state_folder(agreed.run.name),
                encrypted=order.encrypted,
                simulated=places.simulated(),
                job=order.job,
                credentials=self._credentials,
            )
        return self._work, self._party

    def _reason(self, error: Exception) -> str:
        site_file = Path(self._order.local) / SITE_FILE
        return tell_reason(error, discretion_of(site_file, places.simulated()))

    def _state_folder(self, run_name: str) -> Path:
        return places.state_folder(self._order.site, run_name, Path(self._order.kit))

    # Messages.

    def _send(self, receiver: str, message: Message) -> None:
        """Let FLARE's process send ``message``; see ``party.Send``."""
        number, sent = next(self._numbers), Future[None]()
        self._on_the_way[number] = sent
        self._pipe.send(pipe.SEND, message.to_bytes(), number=number, receiver=receiver)
        sent.result()

    def _take(self, data: bytes) -> str:
        """Keep a message of another party; why not, or nothing."""
        if self._party is None:
            return f"the site takes no messages: {self._trouble}"
        try:
            self._party.receive(Message.from_bytes(data))
        except MessageRejected as error:
            return str(error)
        except Exception as error:
            return self._reason(error)
        return ""

    def _listen(self) -> None:
        """Until the other end is gone; then this process is, too."""
        try:
            while True:
                self._heed(*self._pipe.receive())
        except (EOFError, OSError):
            logger.warning("FLARE's job process is gone")
        except BaseException:
            logger.exception("no frame of this protocol")
        _end(ALONE)

    def _heed(self, head: dict[str, Any], payload: bytes) -> None:
        kind = head[pipe.KIND]
        if kind == pipe.TASK:
            self._tasks.put(head)
        elif kind == pipe.MESSAGE:
            self._pipe.send(pipe.KEPT, number=head[pipe.NUMBER], answer=self._take(payload))
        elif kind == pipe.OUTCOME:
            _conclude(self._on_the_way.pop(head[pipe.NUMBER]), head["how"], head["why"])
        elif kind in (pipe.STOP, pipe.END):
            self._stop.set()
            if kind == pipe.END:
                self._tasks.put(None)


def _conclude(sent: "Future[None]", how: str, why: str) -> None:
    if how == pipe.SENT:
        sent.set_result(None)
    else:
        sent.set_exception((PolicyRefused if how == pipe.FORBIDDEN else ProtocolError)(why))


def end_with_parent() -> None:
    """Let the system kill this process when the one that started it is gone, where it can."""
    with suppress(AttributeError, OSError):  # not Linux: the end of the pipe must do
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def give_back_memory() -> None:
    """Let the system have what a round needed and nobody holds any more, where it can.

    The C library keeps freed pieces of up to 32 MiB, which a layer's weights are: a tenth to a
    third of what the process would hold between rounds.
    """
    with suppress(AttributeError, OSError):  # not the GNU library: its own rules must do
        ctypes.CDLL(None).malloc_trim(0)


def _end(code: int) -> None:
    """At once: threads that still wait for an outcome would hold the process up."""
    logging.shutdown()
    sys.stdout.flush()
    os._exit(code)


def main() -> None:
    """Train, as the process at the other end of the socket says."""
    end_with_parent()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    code = 1
    try:
        TrainingProcess(Pipe(int(sys.argv[1]))).run()
        code = 0
    except BaseException:
        logger.exception("the training process ends")
    finally:
        _end(code)


if __name__ == "__main__":
    main()

"""One training process of a site after the other: started, heeded, mourned, and started anew."""

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from nvflare_jobs.parties import pipe
from nvflare_jobs.parties.child import Child, Order
from nvflare_jobs.parties.current_process import CurrentProcess
from nvflare_jobs.parties.postman import Postman
from nvflare_jobs.parties.reasons import tell_reason

SENDERS = 8  # messages on their way at the same time
MOST_DEATHS = 3  # in a row, with no round finished in between

logger = logging.getLogger(__name__)


class Lives:
    """The processes of one site in one job, of which one is there at a time: ``now``."""

    def __init__(
        self,
        order: Order,
        log: Path,
        now: CurrentProcess,
        postman: Postman,
        command: Sequence[str],
    ) -> None:
        self._order, self._log, self._command = order, log, command
        self._now, self._postman = now, postman

    def go_on(self) -> None:
        """Until nobody wants a process any longer, or too many have died."""
        while not (self._now.closing or self._now.refusal):
            try:
                how = self._one_life()
            except Exception as error:  # the system starts no process, for instance
                how = f"could not be started ({tell_reason(error)})"
            self._mourn(how)

    def _one_life(self) -> str:
        """Start a process and do what it asks for; how it ended."""
        now, child = self._now, Child(self._order, self._log, self._command)
        mail = ThreadPoolExecutor(SENDERS, thread_name_prefix="fedefm-out")
        with now.changed:
            now.child = child
            if now.closing:
                child.kill()
        try:
            while True:
                self._heed(child, mail, *child.receive())
        except (EOFError, OSError):
            pass  # the usual way to learn of an end
        except Exception as error:
            logger.error("unexpected error", exc_info=error)
            child.kill()
        with now.changed:
            now.listening, now.catching_up = False, None
            now.changed.notify_all()
        mail.shutdown(wait=False, cancel_futures=True)
        return child.bury()

    def _heed(
        self, child: Child, mail: ThreadPoolExecutor, head: dict[str, Any], payload: bytes
    ) -> None:
        kind = head[pipe.KIND]
        if kind == pipe.SEND:
            mail.submit(self._postman.send, child, head, payload)
        elif kind == pipe.LISTENING:
            self._postman.catch_up(child, int(head["next_round"]))
        else:
            child.answered(head)

    def _mourn(self, how: str) -> None:
        now = self._now
        with now.changed:
            now.child = None
            if not now.closing:
                now.deaths += 1
                logger.warning("the training process %s", how)
            if now.deaths >= MOST_DEATHS:
                now.refusal = (
                    f"the training process of site {self._order.site!r} {how}; this was "
                    f"death {now.deaths} in a row without a finished round between, so the site "
                    "takes no further part in this job"
                )
            now.changed.notify_all()

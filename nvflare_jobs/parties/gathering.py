"""The sites' answers to one task, as they come in, and how long to wait for the rest."""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from fedefm.errors import ProtocolError

POLL_S = 0.2
Answer = dict[str, Any]
Answers = Mapping[str, Mapping[str, Any]]
Patience = Callable[[Answers], float]


def no_patience(answers: Answers) -> float:
    """Nobody is waited for once enough have answered."""
    return 0.0


class Asking(Protocol):
    """Puts a task to all sites and waits for their answers."""

    def __call__(
        self,
        task: str,
        numbers: Mapping[str, Any],
        awaited: frozenset[str],
        limit_s: float,
        enough: int | None = None,
        patience_s: Patience = no_patience,
        meanwhile: Callable[[], None] | None = None,
    ) -> Answers:
        """Answers by site: all ``awaited`` ones, or those that came before ``limit_s``.

        From when ``enough`` have answered, the others get as many seconds as ``patience_s`` says of
        the answers so far. ``meanwhile`` runs while the sites work. An answer of
        ``{"refused": sentence}`` means that a site could not.
        """


class Gathering:
    """Answers by site; they come in threads of their own."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._answers: dict[str, Answer] = {}

    def add(self, site: str, answer: Answer) -> None:
        """Note the answer of ``site``."""
        with self._changed:
            self._answers[site] = answer
            self._changed.notify_all()

    def wait(
        self,
        awaited: frozenset[str],
        limit_s: float,
        enough: int | None = None,
        patience_s: Patience = no_patience,
        is_gone: Callable[[str], bool] = lambda site: False,
        stopped: Callable[[], bool] = lambda: False,
    ) -> dict[str, Answer]:
        """What came until all ``awaited`` sites that are not gone answered, or time was over.

        That is after ``limit_s``, or so long after ``enough`` have answered as ``patience_s`` says
        of the answers so far. Raises ProtocolError where the job was stopped.
        """
        limit, enough_since = time.monotonic() + limit_s, None
        with self._changed:
            while any(site not in self._answers and not is_gone(site) for site in awaited):
                now = time.monotonic()
                if stopped():
                    raise ProtocolError("the job was aborted")
                until = limit
                if enough is not None and len(self._answers) >= enough:
                    enough_since = now if enough_since is None else enough_since
                    until = min(limit, enough_since + patience_s(self._answers))
                if now >= until:
                    break
                self._changed.wait(min(POLL_S, until - now))
            return dict(self._answers)

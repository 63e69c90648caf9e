"""Who has been asked and who has answered, while a task is open: what tells that a site is late."""

import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any


class Standing:
    """The open task of a job, for whoever looks at it from another thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._task = ""
        self._round: int | None = None
        self._since = 0.0
        self._awaited: tuple[str, ...] = ()
        self._answered: dict[str, float] = {}  # seconds after the task was put
        self._refused: dict[str, str] = {}

    def open(self, task: str, numbers: Mapping[str, Any], awaited: Iterable[str]) -> None:
        """A task was put to the sites, of which these are waited for."""
        with self._lock:
            self._task, self._round = task, numbers.get("round")
            self._since, self._awaited = time.monotonic(), tuple(sorted(awaited))
            self._answered = {}

    def answered(self, site: str, answer: Mapping[str, Any]) -> None:
        """A site has answered, be it with a refusal."""
        with self._lock:
            self._answered[site] = round(time.monotonic() - self._since, 1)
            if "refused" in answer:
                self._refused[site] = str(answer["refused"])

    def close(self) -> None:
        """Nobody is waited for."""
        with self._lock:
            self._task, self._awaited = "", ()

    def told(self) -> dict[str, Any]:
        """The same as JSON holds it."""
        with self._lock:
            return {
                "task": self._task,
                "round": self._round,
                "seconds": round(time.monotonic() - self._since, 1) if self._task else 0.0,
                "awaited": list(self._awaited),
                "answered": dict(self._answered),
                "refused": dict(self._refused),
            }

"""One stream of events per run: what happened, when, at which site.

Everything that a person sees of a run (progress display, ``metrics.csv``, TensorBoard, the report)
is made from this stream, so a run can be looked at again without being run again.
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

Event = dict[str, Any]
Listener = Callable[[Event], None]


class EventLog:
    """Appends events to ``events.jsonl`` and hands each to the listeners."""

    def __init__(self, path: Path | None = None, listeners: tuple[Listener, ...] = ()) -> None:
        if path and path.exists() and not path.read_bytes().endswith(b"\n"):
            with path.open("a", encoding="utf-8") as file:
                file.write("\n")  # a line cut off by a crash must not swallow the next one
        self._file = path.open("a", encoding="utf-8") if path else None
        self._listeners = listeners

    def emit(self, kind: str, **fields: Any) -> None:
        """Record one event. ``fields``: numbers and names, never images or patient identifiers."""
        event: Event = {"time": round(time.time(), 3), "event": kind, **fields}
        if self._file:
            self._file.write(json.dumps(event, sort_keys=False) + "\n")
            self._file.flush()
        for listener in self._listeners:
            listener(event)

    def close(self) -> None:
        """Close the file; the log takes no more events."""
        if self._file:
            self._file.close()
            self._file = None


def read_events(path: Path) -> Iterator[Event]:
    """The events of a finished or interrupted run; a line cut off by a crash is left out."""
    with path.open(encoding="utf-8") as lines:
        yield from parsed_events(lines)


def parsed_events(lines: Iterable[str]) -> Iterator[Event]:
    """The events in lines of text; what is no event is left out."""
    for line in lines:
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            continue

"""``metrics.csv``: every number of a run in long form, for spreadsheets and notebooks.

One row is one value, in four columns:

- ``round``: counted from 0, as in ``events.jsonl``;
- ``site``: the site, or ``global`` for the shared model, ``all`` for the round as a whole and
  ``stage 2`` for the sites of a stage together, where no site's own is told;
- ``kind``: ``loss``, ``learning_rate``; ``seconds``, ``train_seconds``, ``exchange_seconds``;
  ``sent_bytes``, ``received_bytes``; ``accuracy/SPLIT`` or ``explained/SPLIT`` (shares, at most
  1); ``similarity/EXPERT`` (1 - EMD of the expert that was trained at EXPERT); ``participants``
  (number of sites);
  ``trained_on`` (training images, or patients in a private run, told as a sum). Where sites tell
  sums, ``loss``, ``similarity`` and what is by ``SPLIT`` of ``all`` are over their own models;
- ``value``: the number; not-a-number is written as ``nan``.
"""

import csv
import os
from collections.abc import Iterator
from pathlib import Path

from fedefm.errors import DataError
from fedefm.events import Event
from fedefm.report.measures import MEASURES
from fedefm.report.stages import of_stages

COLUMNS = ("round", "site", "kind", "value")
_OF_A_SITE = (
    "loss", "learning_rate", "seconds", "train_seconds", "exchange_seconds", "sent_bytes",
    "received_bytes",
)  # fmt: skip
Row = tuple[int, str, str, float]


class MetricsCsv:
    """A listener that appends the numbers of each event to a CSV file.

    It may go on in the file of an interrupted run: when a round starts again, its former rows and
    those of later rounds are taken out, so that no value stands there twice.
    """

    def __init__(self, path: Path) -> None:
        """Raises DataError where ``path`` holds something else than metrics."""
        self._path = path
        self._last_round = -1
        self._write(self._read())  # a line cut off by a crash is gone with this

    def __call__(self, event: Event) -> None:
        """Write what ``event`` measured."""
        if event["event"] == "round_started" and event["round"] <= self._last_round:
            self._forget_from(event["round"])
        rows = list(rows_of(event))
        if rows:
            self._append(rows)
            self._last_round = max(self._last_round, rows[0][0])

    def _append(self, rows: list[Row]) -> None:
        with self._path.open("a", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(rows)

    def _read(self) -> list[list[str]]:
        if not self._path.exists():
            return []
        with self._path.open(newline="", encoding="utf-8") as file:
            lines = list(csv.reader(line for line in file if line.endswith("\n")))
        if not lines or tuple(lines[0]) != COLUMNS:
            raise DataError(f"{self._path} is not a metrics file; move it away and start again")
        return lines[1:]

    def _forget_from(self, first: int) -> None:
        self._write([line for line in self._read() if int(line[0]) < first])

    def _write(self, lines: list[list[str]]) -> None:
        part = self._path.with_suffix(".csv.part")
        with part.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([COLUMNS, *lines])
        os.replace(part, self._path)  # noqa: PTH105 - atomic, also over an existing file
        self._last_round = max((int(line[0]) for line in lines), default=-1)


def rows_of(event: Event) -> Iterator[Row]:
    """The numbers of one event as rows; none for an event without numbers of a round."""
    kind, number = event["event"], event.get("round")
    if not isinstance(number, int):
        return
    if kind == "round":
        for name in _OF_A_SITE:
            if isinstance(event.get(name), int | float):
                yield number, event["site"], name, event[name]
    elif kind == "evaluated":
        yield from _scores(event, event["site"])
    elif kind == "metrics":
        site = event["model"] if event["model"] == "global" else "all"
        yield from _scores(event, site)
        for name in ("loss", "similarity", "trained_on"):
            if isinstance(event.get(name), int | float):
                yield number, site, name, event[name]
    elif kind == "stage":
        yield from _scores(event, of_stages(event["stages"]))
    elif kind == "similarity":
        yield number, event["student"], f"similarity/{event['expert']}", event["value"]
    elif kind == "round_finished":
        yield number, "all", "participants", len(event["participants"])
        yield number, "all", "seconds", event["seconds"]


def _scores(event: Event, site: str) -> Iterator[Row]:
    """What a model was found to be worth, by whichever measure."""
    for name in MEASURES:
        if isinstance(event.get(name), int | float):
            yield event["round"], site, f"{name}/{event['split']}", event[name]

"""What a job tells and leaves, put into a run folder that was begun here.

Each event is told once, however often the job was looked at; what came before an interruption
counts, too.
"""

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fedefm.events import Event, EventLog, read_events
from fedefm.train.foundation_card import CARD
from fedefm.train.run_files import EVENTS, MODEL, RESULT
from fedefm.train.run_folder import write_result
from nvflare_jobs.admin.fetching import Remains
from nvflare_jobs.admin.outcome import JobEnded
from nvflare_jobs.parties.heads import HEADS_FILE
from nvflare_jobs.parties.terms import Terms

FRAME = ("time", "event", "site")


def bring_home(remains: Remains, terms: Terms, out: Path, copy: "Copy") -> None:
    """Model and figures; what came before an interruption counts, too."""
    folder = remains.run_folder
    if folder is None or not (folder / RESULT).exists():
        raise JobEnded(f"{remains.outcome.sentence}. It has left no result")
    copy.all_of(read_events(folder / EVENTS))
    for name in (MODEL, CARD, HEADS_FILE):
        if (folder / name).exists():
            shutil.copyfile(folder / name, out / name)
    told: dict[str, Any] = json.loads((folder / RESULT).read_text(encoding="utf-8"))
    spent = {site: each for site, each in told["privacy"].items() if each}
    write_result(
        out,
        terms.run,
        terms.sites,
        told["metrics"],
        bool(told["protection"]["end_to_end_encryption"]),
        False,
        {**_planned_before(out), **spent},
    )


def _planned_before(out: Path) -> dict[str, Mapping[str, Any]]:
    """What sites planned that took part before an interruption, and may not have come back."""
    planned = [e for e in read_events(out / EVENTS) if e["event"] == "privacy_planned"]
    return {
        e["site"]: {**{k: v for k, v in e.items() if k not in FRAME}, "at_most": True}
        for e in planned
    }


def recorded(out: Path) -> int:
    """How many rounds the run folder knows to be complete."""
    told = read_events(out / EVENTS) if (out / EVENTS).exists() else iter(())
    return max((e["round"] + 1 for e in told if e["event"] == "checkpoint"), default=0)


class Copy:
    """Tells here what the job tells there, each event once; a listener."""

    def __init__(self, out: Path, log: EventLog) -> None:
        self._log = log
        known = read_events(out / EVENTS) if (out / EVENTS).exists() else iter(())
        self._told = {json.dumps(event, sort_keys=True) for event in known}

    def __call__(self, event: Event) -> None:
        """Tell it, unless it was told; the end of the run is told here, when all is at home."""
        key = json.dumps(event, sort_keys=True)
        if key in self._told or event["event"] == "run_finished":
            return
        self._told.add(key)
        self._log.emit(event["event"], **{k: v for k, v in event.items() if k != "event"})

    def all_of(self, events: Iterable[Event]) -> None:
        """Tell all of them."""
        for event in events:
            self(event)

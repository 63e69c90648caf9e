"""What a run folder tells, read once: settings, events and, where the run ended, its result.

Only ``events.jsonl`` is needed. A run that was interrupted has no ``result.json``; then the events
speak for themselves. A run that was resumed holds some rounds twice; the later telling counts.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from fedefm.errors import DataError
from fedefm.events import Event, read_events
from fedefm.report.measures import Words, measured_as
from fedefm.report.numbers import known
from fedefm.train.totals import sent_and_taken

GLOBAL = "global"  # the name under which the shared model is evaluated
POOLED = "all sites"  # the name of what was told as a sum over them
Holdings = dict[str, dict[str, dict[str, int]]]  # site -> corpus -> split -> images
Series = dict[str, list[tuple[int, float]]]  # name -> (round number from 1, value), by round


_NEEDED = {
    "round_started": ("round",),
    "round": ("round", "site"),
    "round_finished": ("round",),
    "similarity": ("round", "student", "expert", "value"),
    "rejected": ("round", "site"),
    "evaluated": ("round", "site"),
    "metrics": ("round", "model", "split"),
    "stage": ("round", "stages"),
    "corpora": ("holdings",),
    "confusion": ("classes", "counts"),
    "privacy_planned": ("site", "epsilon"),
    "privacy_spent": ("site", "epsilon"),
}  # without these an event means nothing


@dataclass(frozen=True)
class RunRecord:
    """One run. Rounds are counted from 1 here, as a reader counts them (events count from 0)."""

    folder: Path
    settings: dict[str, Any]  # run.yaml, or empty
    settings_text: str
    started: Event  # the last ``run_started``, or empty
    status: str  # finished, quorum lost or interrupted
    sent_bytes: int  # by all sites and the server, also to form the shared model
    seconds: float  # wall time of the rounds that are over
    events: tuple[Event, ...]
    result: dict[str, Any]  # result.json, or empty

    def of(self, kind: str) -> Iterator[Event]:
        """The events of one kind, in order."""
        return (event for event in self.events if event["event"] == kind)

    @property
    def sites(self) -> tuple[str, ...]:
        """The sites of the run, in the order of the job."""
        named = self.started.get("sites") or self.result.get("sites")
        return tuple(named or dict.fromkeys(event["site"] for event in self.of("round")))

    @property
    def words(self) -> Words:
        """How to speak of what models are worth in this run."""
        return measured_as(self.started)

    @property
    def rounds_done(self) -> int:
        """How many rounds were completed."""
        return max((event["round"] for event in self.of("round_finished")), default=0)

    @property
    def rounds_planned(self) -> int:
        """How many rounds the run file asked for; 0 where unknown."""
        return int(self.started.get("rounds") or self.result.get("rounds") or 0)

    def setting(self, *path: str) -> Any:
        """One setting of the run file, or None."""
        value: Any = self.settings
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        return value

    def by_round(self, kind: str, value: str) -> Series:
        """``value`` of the events of ``kind``, by site and round."""
        return by_round(self.of(kind), value)

    def pooled(self, value: str) -> Series:
        """``value`` as all sites told it together of their own models, under one name."""
        own = ({**e, "site": POOLED} for e in self.of("metrics") if e["model"] == "own")
        return by_round(own, value)

    @property
    def tells_sums(self) -> bool:
        """Whether sites told what they measured as sums, and none told its own."""
        return any(self.of("metrics"))

    def totals(self, field: str) -> dict[str, float]:
        """Sum of one field of the ``round`` events, for each site that reported it."""
        return {s: sum(v for _, v in points) for s, points in self.by_round("round", field).items()}

    def holdings(self) -> Holdings:
        """Who held which corpora: images by site, corpus and split; empty where it was not told."""
        told = [event["holdings"] for event in self.of("corpora")]
        if not told and (path := self.folder / "corpora.json").is_file():
            data = _read_json(path)
            told = [data.get("holdings", data)]
        return told[-1] if told else {}


def by_round(events: Iterable[Event], value: str) -> Series:
    """``value`` of ``events`` by site and round; the last one counts, missing ones are left out."""
    found: dict[str, dict[int, float]] = {}
    for event in events:
        if known(event.get(value)):
            found.setdefault(event["site"], {})[event["round"]] = float(event[value])
    return {site: sorted(points.items()) for site, points in found.items()}


def read_record(folder: Path) -> RunRecord:
    """The run in ``folder``. Raises DataError where it holds no run or an unreadable file."""
    path = folder / "events.jsonl"
    if not path.is_file():
        raise DataError(
            f"{folder} is not a run folder: it has no events.jsonl; "
            "give the folder that `fedefm run` wrote"
        )
    told = [event for event in _events(path) if _is_whole(event)]
    if not any(event["event"] == "run_started" for event in told):
        raise DataError(f"{path} tells of no run; give the folder that `fedefm run` wrote")
    text, settings = _read_settings(folder / "run.yaml")
    result = folder / "result.json"
    return _record(folder, told, settings, text, _read_json(result) if result.is_file() else {})


def record_so_far(events: Iterable[Event]) -> RunRecord:
    """A run that goes on, of which there is no folder here: what it has told until now."""
    return _record(Path(), [event for event in events if _is_whole(event)], {}, "", {})


def _record(
    folder: Path,
    told: list[Event],
    settings: dict[str, Any],
    text: str,
    result: dict[str, Any],
) -> RunRecord:
    starts = [event for event in told if event["event"] == "run_started"]
    started = starts[-1] if starts else {}
    sent, seconds = sent_and_taken(told)
    return RunRecord(
        folder=folder,
        settings=settings,
        settings_text=text,
        started=started,
        status=_status(told),
        sent_bytes=sent,
        seconds=seconds,
        events=tuple(_scored(_replayed(told), measured_as(started).name)),
        result=result,
    )


def _events(path: Path) -> Iterator[Any]:
    try:
        yield from read_events(path)
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from None


def _is_whole(event: Any) -> bool:
    """Whether an event has what its kind needs; a damaged line is passed over."""
    if not isinstance(event, dict) or not isinstance(event.get("event"), str):
        return False
    needed = _NEEDED.get(event["event"], ())
    return all(field in event for field in needed) and isinstance(event.get("round", 0), int)


def _replayed(told: Iterable[Event]) -> list[Event]:
    """A round that starts again replaces what was told of it and of all later rounds."""
    kept: list[Event] = []
    for event in told:
        if isinstance(number := event.get("round"), int):
            event = {**event, "round": number + 1}
            if event["event"] == "round_started":
                kept = [old for old in kept if old.get("round", 0) <= number]
        kept.append(event)
    return kept


def _scored(told: Iterable[Event], measure: str) -> Iterator[Event]:
    """With the run's measure as ``score``, whichever it is."""
    for event in told:
        measured = event["event"] in ("evaluated", "metrics", "stage")
        yield {**event, "score": event.get(measure)} if measured else event


def _status(told: list[Event]) -> str:
    for event in reversed(told):
        if event["event"] == "run_finished":
            return str(event.get("status", "finished"))
        if event["event"] == "run_started":
            break
    return "interrupted"


def _read_settings(path: Path) -> tuple[str, dict[str, Any]]:
    if not path.is_file():
        return "", {}
    try:
        text = path.read_text(encoding="utf-8")
        settings = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    if not isinstance(settings, dict):
        raise DataError(f"{path} holds no settings; it must be the run file of this run")
    return text, settings


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path} cannot be read: {error}; remove it for a report without it"
        ) from None
    if not isinstance(data, dict):
        raise DataError(f"{path} is not a mapping; remove it for a report without it")
    return data

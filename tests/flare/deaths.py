"""Where a site is in a round, as its audit log and its ledger tell, and kill -9 just there."""

import contextlib
import json
import re
import sqlite3
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import psutil
from loopback import Federation

from nvflare_jobs.parties.begun import read_begun

SUM_PHASES = (
    *("advertise", "roster", "share", "deal", "masked"),
    *("members", "consent", "consents", "unmask"),
)
SENT = re.compile(r"fedefm: send round (\d+) '([^']+)' to (\S+)")
LOOK_S = 0.01
Found = tuple[str, int]  # a site and the round that it is in


def sends(
    federation: Federation, job: str, phase: str, after: int, spared: Collection[str] = ()
) -> Callable[[], Found | None]:
    """The site that is the first to send a message of ``phase`` in a round after ``after``.

    It is none of the ``spared`` ones.
    """
    read: dict[str, int] = {}

    def look() -> Found | None:
        for site in federation.sites:
            path = federation.kit(site) / job / "audit.log"
            with contextlib.suppress(OSError), path.open("rb") as log:
                log.seek(read.get(site, 0))
                new = log.read()
                read[site] = log.tell()
                for number, said, _ in SENT.findall(new.decode(errors="replace")):
                    hit = int(number) > after and phase in (said, said.rpartition("/")[2])
                    if hit and site not in spared:
                        return site, int(number)
        return None

    return look


def begins(federation: Federation, job: str, site: str, after: int) -> Callable[[], Found | None]:
    """``site``, as soon as the coordinator lets a round after ``after`` begin."""
    return lambda: _later(site, rounds_of(federation, job), after)


def trains(
    federation: Federation, site: str, job: str, run: str, after: int
) -> Callable[[], Found | None]:
    """``site``, as soon as it notes that it plays a round after ``after``, and so not again."""

    def look() -> Found | None:
        begun = read_begun(federation.kit(site) / "fedefm_state" / run, job)
        played = -1 if begun is None or begun.played is None else begun.played
        return _later(site, [played], after)

    return look


def settles(federation: Federation, site: str, job: str, after: int) -> Callable[[], Found | None]:
    """``site``, while the steps of a fit are reserved in its ledger and not settled."""

    def look() -> Found | None:
        with contextlib.suppress(sqlite3.Error):
            place = f"file:{federation.ledger(site)}?mode=ro"
            with contextlib.closing(sqlite3.connect(place, uri=True)) as ledger:
                row = ledger.execute(
                    "SELECT record FROM entries ORDER BY sequence DESC LIMIT 1"
                ).fetchone()
            if row and json.loads(row[0])["kind"] == "reserve":
                return _later(site, rounds_of(federation, job), after)
        return None

    return look


def watch(look: Callable[[], Found | None], timeout_s: float = 300.0) -> Found:
    """What ``look`` finds. Raises AssertionError where it finds nothing in time."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(LOOK_S)
    raise AssertionError(f"nothing was seen within {timeout_s:g} s")


def kill_job(federation: Federation, name: str, job: str) -> None:
    """kill -9 of FLARE's process of the job at one site or at the server, and of nothing else."""
    process = federation.job_process(name, job)
    assert process is not None, f"no process of {job} at {name}"
    with contextlib.suppress(psutil.NoSuchProcess):
        process.kill()


def events(run_folder: Path) -> list[dict[str, Any]]:
    """What a run folder tells so far."""
    with contextlib.suppress(OSError):
        return list(_whole_lines((run_folder / "events.jsonl").read_text(encoding="utf-8")))
    return []


def rounds_of(federation: Federation, job: str) -> list[int]:
    """The rounds that have begun."""
    told = events(federation.run_folder(job))
    return [event["round"] for event in told if event["event"] == "round_started"]


def _later(site: str, rounds: list[int], after: int) -> Found | None:
    return (site, rounds[-1]) if rounds and rounds[-1] > after else None


def _whole_lines(text: str) -> Iterator[dict[str, Any]]:
    for line in text.splitlines():
        with contextlib.suppress(ValueError):
            yield json.loads(line)

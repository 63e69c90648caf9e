"""What a job has begun at a site, on the disk: who goes on for a dead process must know it.

Two secure sums of one round may not differ by one part, and a private run has one name in the
ledger. So a process that takes over plays nothing that may have been begun, under the same name.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fedefm.errors import ConfigError

BEGUN = "begun.json"  # in the site's state folder of the run


@dataclass(frozen=True)
class Begun:
    """One job at one site. A round counts as begun before the first thing is done in it.

    Args:
        job: whose this is; a job that is only resumed has another.
        run_id: what the site's ledger calls the run.
        begin_at: after how many finished rounds the job went on; None before its first round.
        played: the newest round that was begun; the publication counts as one after the last.
        measured: the newest round whose measurements may have gone into a sum.
        known_head: the ledger's entry that the server remembered.
    """

    job: str
    run_id: str
    begin_at: int | None = None
    played: int | None = None
    measured: int | None = None
    known_head: Mapping[str, Any] | None = None

    @property
    def next_round(self) -> int:
        """The first round that certainly was not begun."""
        played = -1 if self.played is None else self.played
        return max(self.begin_at or 0, played + 1)


def read_begun(folder: Path, job: str) -> Begun | None:
    """What ``job`` has begun in ``folder``; None where it is new there, or nobody's.

    Raises ConfigError where that cannot be told.
    """
    path = folder / BEGUN
    if not job or not path.exists():
        return None
    try:
        begun = Begun(**json.loads(path.read_text(encoding="utf-8")))
        valid = type(begun.job) is str and type(begun.run_id) is str and begun.next_round >= 0
    except (OSError, TypeError, ValueError):
        valid = False
    if not valid:
        raise ConfigError(
            f"{path} does not say which rounds this site has begun, so that one could be played "
            "twice; remove it once no job of this run is running, and start a new job"
        )
    return begun if begun.job == job else None


def write_begun(folder: Path, begun: Begun) -> None:
    """Remember ``begun``: on the disk, whole, when this returns."""
    folder.mkdir(parents=True, exist_ok=True)
    unfinished = folder / f"{BEGUN}.unfinished"
    with unfinished.open("w", encoding="utf-8") as file:
        json.dump(asdict(begun), file)
        file.flush()
        os.fsync(file.fileno())
    unfinished.replace(folder / BEGUN)
    place = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(place)
    finally:
        os.close(place)

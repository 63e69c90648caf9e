"""What the server tells somebody who watches a job: the newest events, and who is waited for.

The events are those of the run folder, which hold only what the sites' policies let out. A watcher
says how far it has read, so that an answer is short however long the run is.
"""

from pathlib import Path
from typing import Any

from fedefm.train.run_files import EVENTS
from nvflare_jobs.parties.standing import Standing

PROGRESS = "fedefm_progress"  # the topic of FLARE's command
MOST_BYTES = 200_000  # of events in one answer
Ended = dict[str, str]


def progress_after(
    folder: Path, offset: Any, standing: Standing, ended: Ended | None
) -> dict[str, Any]:
    """Whole lines of events from ``offset`` on, from where to read next, and how things stand.

    ``ended`` is what became of the job, None while it runs. An offset that is none reads from the
    start.
    """
    begin = offset if type(offset) is int and offset >= 0 else 0
    lines = _lines(folder / EVENTS, begin)
    return {
        "events": lines.decode("utf-8", errors="replace"),
        "next": begin + len(lines),
        "standing": standing.told(),
        "ended": ended,
    }


def _lines(path: Path, begin: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(begin)
            read = file.read(MOST_BYTES)
            if len(read) == MOST_BYTES and b"\n" not in read:  # one event is longer than that
                read += file.readline()
    except OSError:  # nothing is told yet
        return b""
    return read[: read.rfind(b"\n") + 1]

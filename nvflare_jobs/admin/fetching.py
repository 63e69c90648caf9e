"""What a job has left at the server, brought here as the run folder that every run leaves."""

import json
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fedefm.errors import ConfigError, FedEFMError, ProtocolError
from fedefm.events import read_events
from fedefm.train.run_files import EVENTS
from nvflare_jobs.admin.job_facts import JobFacts
from nvflare_jobs.admin.outcome import NEVER_BEGAN, Outcome, outcome_of
from nvflare_jobs.admin.server import Server
from nvflare_jobs.parties.places import RUN_FOLDER, STATUS_FILE

JOB_FILE = "job.json"  # in a run folder: FLARE's job that left it
LOG_BYTES = 2_000_000
_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class Remains:
    """What was found of a job, in a folder that is gone with its ``with`` block."""

    run_folder: Path | None
    outcome: Outcome


@contextmanager
def remains_of(server: Server, facts: JobFacts, near: Path | None = None) -> Iterator[Remains]:
    """Everything of a job that is over, ``near`` the place where it is wanted."""
    if near is not None:
        near.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fedefm-", dir=near) as scratch:
        found = server.download(facts.job, Path(scratch))
        folder = next(iter(sorted(found.glob(f"**/{RUN_FOLDER}"))), None)
        told = _told(folder) if folder else None
        rounds = _rounds(folder) if folder else (None if facts.lost else 0)
        yield Remains(folder, outcome_of(facts, told, _log(found), rounds))


def explained(server: Server, facts: JobFacts) -> Outcome:
    """Why a job did not succeed, for which its remains are looked at where that is allowed."""
    if facts.completed or facts.status in NEVER_BEGAN:
        return outcome_of(facts)
    try:
        with remains_of(server, facts) as remains:
            return remains.outcome
    except FedEFMError as error:
        known = outcome_of(facts)
        return Outcome(False, f"{known.sentence}. Its own account cannot be read: {error}")


def download(server: Server, facts: JobFacts, out: Path) -> tuple[Path, Outcome]:
    """The run folder at ``out``/NAME, whole with card, table and report, and what became of it.

    Raises ConfigError where something else is there, ProtocolError where the job has left no run.
    """
    if not _SAFE.fullmatch(facts.name):
        raise ConfigError(f"job name {facts.name!r} cannot be a folder; its run is not ours")
    target = out / facts.name
    refuse_other(target, facts.job)
    with remains_of(server, facts, out) as remains:
        if remains.run_folder is None:
            raise ProtocolError(f"{remains.outcome.sentence}. It has left no run folder")
        finish_here(remains.run_folder, facts)
        remains.run_folder.rename(target)
    return target, remains.outcome


def finish_here(folder: Path, facts: JobFacts) -> None:
    """Add to a run folder what is made from it, and the job that it came from."""
    from nvflare_jobs.completing import complete_run_folder, write_tensorboard

    complete_run_folder(folder)
    write_tensorboard(folder)
    write_job(folder, facts.job, facts.status)


def write_job(folder: Path, job: str, status: str = "") -> None:
    """Remember which job a run folder belongs to."""
    text = json.dumps({"job": job, "status": status}) + "\n"
    (folder / JOB_FILE).write_text(text, encoding="utf-8")


def job_of(folder: Path) -> str | None:
    """FLARE's job that a run folder belongs to, where it is known."""
    try:
        return str(json.loads((folder / JOB_FILE).read_text(encoding="utf-8"))["job"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def refuse_other(target: Path, job: str) -> None:
    """Raises ConfigError where ``target`` has something in it."""
    if not target.exists():
        return
    if target.is_dir() and not any(target.iterdir()):
        target.rmdir()
        return
    there = job_of(target) if target.is_dir() else None
    what = "this job, downloaded before" if there == job else "something else"
    raise ConfigError(f"{target} holds {what}; remove it, or choose another --out")


def _rounds(folder: Path) -> int:
    """How many rounds of its run were over when the job ended, also before it went on with it."""
    path = folder / EVENTS
    rounds = 0
    for event in read_events(path) if path.exists() else ():
        if event["event"] == "run_started":
            rounds = max(rounds, event.get("resumed_from") or 0)
        elif event["event"] == "checkpoint":
            rounds = max(rounds, event["round"] + 1)
    return rounds


def _told(folder: Path) -> Mapping[str, str] | None:
    try:
        told = json.loads((folder / STATUS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # its process was killed
        return None
    return told if isinstance(told, dict) else None


def _log(found: Path) -> str:
    """The end of the job's log at the server."""
    for path in sorted(found.glob("**/log.txt")):
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - LOG_BYTES))
            return file.read().decode("utf-8", errors="replace")
    return ""

"""A folder that takes long to fill: it appears whole or not at all, and can be continued.

Beside the target, ``.<name>-unfinished`` holds what is done: the files, and a journal with one line
for each finished task. It takes the target's name at the very end. A line is written after its
files, and a later run trusts a line only if its files are as they were written, so that neither
Ctrl-C nor a power cut leaves half an image behind.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fedefm.data.digests import sha256_of
from fedefm.data.folders import refuse_full
from fedefm.errors import DataError

JOURNAL, PLAN, LOCK = ".journal", ".plan", ".lock"  # gone when the folder is finished


class UnfinishedFolder:
    """An output folder while it is being filled; use it through ``unfinished_folder``."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def done(self) -> dict[int, Any]:
        """What each finished task noted, by its number."""
        journal = self.path / JOURNAL
        if not journal.exists():
            return {}
        lines = journal.read_bytes().splitlines(keepends=True)
        whole = [line for line in lines if line.endswith(b"\n")]
        os.truncate(journal, sum(map(len, whole)))  # a line that was cut off in writing
        entries = filter(None, map(_entry, whole))
        return {
            entry["task"]: entry["note"] for entry in entries if self._as_written(entry["files"])
        }

    def note(self, task: int, files: Mapping[str, str], note: Any) -> None:
        """Note a finished task and the SHA-256 of each file that it has written."""
        line = json.dumps({"task": task, "files": dict(files), "note": note})
        with (self.path / JOURNAL).open("ab") as journal:
            journal.write(line.encode() + b"\n")

    def _as_written(self, files: Mapping[str, str]) -> bool:
        return all(
            (self.path / name).is_file() and sha256_of(self.path / name) == digest
            for name, digest in files.items()
        )


def _entry(line: bytes) -> Any:
    """What a line of the journal says; None for one that a power cut has torn."""
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) else None


def unfinished_path(target: Path) -> Path:
    """Where what is done of ``target`` is kept until it is finished."""
    return target.absolute().parent / f".{target.name}-unfinished"


@contextmanager
def unfinished_folder(target: Path, plan: str, resume: bool) -> Iterator[UnfinishedFolder]:
    """A folder to fill, which takes the name ``target`` at the end.

    It stays on Ctrl-C and where the disk is full; a refusal (DataError) of what is put into it
    removes it.

    Args:
        target: new or empty.
        plan: says what will be in the folder; a digest of files and options.
        resume: go on where an earlier run was interrupted, if one was.

    Raises DataError: a full target, one that cannot be written, an unfinished folder that is not to
    be resumed, that was begun for another plan, or that another process fills.
    """
    refuse_full(target)
    path = unfinished_path(target)
    try:
        if path.exists() and not resume:
            raise DataError(f"{path} is not finished; go on with --resume, or delete it")
        path.mkdir(parents=True, exist_ok=True)
        with (path / LOCK).open("w") as lock:
            _take(lock.fileno(), path)
            _hold_to(plan, path)
            try:
                yield UnfinishedFolder(path)
            except DataError:
                shutil.rmtree(path, ignore_errors=True)
                raise
            for name in (JOURNAL, PLAN, LOCK):
                (path / name).unlink(missing_ok=True)
            path.replace(target.absolute())
    except OSError as error:
        kept = "; what is done is kept: go on with --resume" if path.exists() else ""
        raise DataError(f"{target} cannot be written: {error.strerror or error}{kept}") from None


def _hold_to(plan: str, path: Path) -> None:
    known = path / PLAN
    if not known.exists():
        known.write_text(plan)
    elif known.read_text() != plan:
        raise DataError(
            f"{path} was begun from other files or with other options; give the same ones to go "
            "on, or delete it to start again"
        )


def _take(lock: int, path: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise DataError(f"{path} is being filled by another process; wait for it") from None

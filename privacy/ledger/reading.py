"""Reading a ledger without the right to write, while jobs write it, and without leaving a trace.

SQLite itself would create files beside a write-ahead log that it reads. So: while a job runs, its
files are there and are used as they are; when none does, the file cannot change and is read as
such; and a log without its index, which a crash or a copy leaves, is read in a copy.
"""

import shutil
import sqlite3
import tempfile
from pathlib import Path
from urllib.parse import quote

from fedefm.errors import PrivacyError
from privacy.ledger.chain import Row
from privacy.ledger.faults import in_words
from privacy.ledger.store import ROWS, WAIT_S, require_ledger

ATTEMPTS = 20


def read_rows(path: Path) -> list[Row]:
    """All rows as of one moment. Raises PrivacyError or LedgerCorrupt, as ``Store`` does."""
    if not path.is_file():
        raise PrivacyError(f"there is no ledger at {path}; nothing was ever counted there")
    with in_words(path):
        for _ in range(ATTEMPTS):
            if _size(path, "-wal") == 0:
                before = _moment(path)
                rows = _rows(path, "mode=ro&immutable=1")
                if _moment(path) == before:
                    return rows
            elif Path(f"{path}-shm").exists():
                return _rows(path, "mode=ro&readonly_shm=1")
            else:
                return _rows_of_copy(path)
    raise PrivacyError(f"ledger {path} changes faster than it can be read; try again")


def _rows(path: Path, how: str) -> list[Row]:
    uri = f"file:{quote(str(path.absolute()))}?{how}"
    connection = sqlite3.connect(uri, uri=True, timeout=WAIT_S)
    try:
        if require_ledger(connection, path):
            return []
        return [Row(*row) for row in connection.execute(ROWS, (1,))]
    finally:
        connection.close()


def _rows_of_copy(path: Path) -> list[Row]:
    with tempfile.TemporaryDirectory(prefix="fedefm-ledger-") as folder:
        copy = Path(folder) / "copy"
        shutil.copyfile(path, copy)
        shutil.copyfile(f"{path}-wal", f"{copy}-wal")
        return _rows(copy, "mode=rw")


def _moment(path: Path) -> tuple[int, int, int]:
    state = path.stat()
    return state.st_mtime_ns, state.st_size, _size(path, "-wal")


def _size(path: Path, suffix: str) -> int:
    try:
        return Path(str(path) + suffix).stat().st_size
    except FileNotFoundError:
        return 0

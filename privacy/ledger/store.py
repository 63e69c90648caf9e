"""The file: SQLite with a write-ahead log, every commit on the disk before it returns.

The table only grows. Triggers refuse a change or a deletion by anyone who goes through SQLite; the
hash chain finds one by anyone who does not.
"""

import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from fedefm.errors import LedgerCorrupt, PrivacyError
from privacy.ledger.chain import Row
from privacy.ledger.faults import in_words

WAIT_S = 30.0  # for other processes, which hold the file for milliseconds
APPLICATION_ID = 0x46454C31  # "FEL1", in the header of the file
TABLE = {
    "entries": """CREATE TABLE entries (
  sequence INTEGER PRIMARY KEY, record TEXT NOT NULL,
  hash TEXT NOT NULL, signature TEXT NOT NULL)""",
    "in_order": """CREATE TRIGGER in_order BEFORE INSERT ON entries
  WHEN NEW.sequence IS NOT (SELECT coalesce(max(sequence), 0) + 1 FROM entries)
  BEGIN SELECT RAISE(ABORT, 'entries are appended in order'); END""",
    "no_change": """CREATE TRIGGER no_change BEFORE UPDATE ON entries
  BEGIN SELECT RAISE(ABORT, 'entries are never changed'); END""",
    "no_deletion": """CREATE TRIGGER no_deletion BEFORE DELETE ON entries
  BEGIN SELECT RAISE(ABORT, 'entries are never deleted'); END""",
}
ROWS = "SELECT sequence, record, hash, signature FROM entries WHERE sequence >= ? ORDER BY sequence"


class Store:
    """A ledger's file, open for appending."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with in_words(path):
            self._connection = sqlite3.connect(
                path, timeout=WAIT_S, isolation_level=None, check_same_thread=False
            )
            try:
                require_ledger(self._connection, path)
                self._write_ahead()
                self._in_place = _identities(path)
            except BaseException:
                self._connection.close()
                raise

    def is_empty(self) -> bool:
        """Whether there is not even a table. Raises LedgerCorrupt where it is another one."""
        with in_words(self._path):
            return require_ledger(self._connection, self._path)

    def rows(self, start: int) -> list[Row]:
        """The rows from sequence number ``start`` on."""
        with in_words(self._path):
            return [Row(*row) for row in self._connection.execute(ROWS, (start,))]

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Alone with the file: other writers wait. Committed at the end, undone on an error."""
        with in_words(self._path):
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                self._require_in_place()
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
                raise
            self._require_in_place()

    def create(self) -> None:
        """Make the table; within ``writing``."""
        for statement in TABLE.values():
            self._connection.execute(statement)
        self._connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")

    def append(self, rows: Iterable[Row]) -> None:
        """Add rows; within ``writing``."""
        for row in rows:
            self._connection.execute(
                "INSERT INTO entries VALUES (?, ?, ?, ?)",
                (row.sequence, row.record, row.hash, row.signature),
            )

    def close(self) -> None:
        """Let go of the file."""
        with in_words(self._path):
            self._connection.close()

    def _write_ahead(self) -> None:
        mode = _patiently(self._connection, "PRAGMA journal_mode = WAL")
        if mode != "wal":
            raise PrivacyError(
                f"ledger {self._path} lies on a file system that cannot hold a write-ahead log; "
                "move it to a local disk"
            )
        self._connection.execute("PRAGMA synchronous = FULL")
        self._connection.execute("PRAGMA fullfsync = ON")  # on a Mac, fsync alone is no promise
        self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()  # makes the log

    def _require_in_place(self) -> None:
        # SQLite would go on writing to files that were deleted or replaced under it
        if _identities(self._path) != self._in_place:
            raise LedgerCorrupt(
                f"ledger {self._path} was removed or replaced while it was in use; stop all jobs, "
                "put the right file back and let an officer verify it"
            )


def require_ledger(connection: sqlite3.Connection, path: Path) -> bool:
    """Whether the file is still empty. Raises LedgerCorrupt where it is damaged or no ledger."""
    connection.execute("SAVEPOINT look")  # one moment: others may begin the ledger just now
    found = dict(connection.execute("SELECT name, sql FROM sqlite_master"))
    (application_id,) = connection.execute("PRAGMA application_id").fetchone()
    connection.execute("RELEASE look")
    if not found and application_id == 0:
        return True
    if found != TABLE or application_id != APPLICATION_ID:
        raise LedgerCorrupt(
            f"{path} is not a ledger, or its table or triggers were changed; put the newest "
            "backup back, or name another file in the site file"
        )
    (finding,) = connection.execute("PRAGMA quick_check(1)").fetchone()
    if finding != "ok":
        raise sqlite3.DatabaseError(f"malformed: {finding}")
    return False


def _patiently(connection: sqlite3.Connection, statement: str) -> Any:
    """The answer, waited for: SQLite itself does not wait where two begin a ledger at once."""
    deadline = time.monotonic() + WAIT_S
    while True:
        try:
            return connection.execute(statement).fetchone()[0]
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _identities(path: Path) -> list[tuple[int, int]]:
    """Which files now bear the names of the ledger and its log."""
    files = (path, path.with_name(path.name + "-wal"))
    found = [file.stat() for file in files if file.exists()]
    return [(each.st_dev, each.st_ino) for each in found]

"""The entries in memory and in the file, kept the same while other processes write as well."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fedefm.errors import LedgerCorrupt, PrivacyError
from privacy.ledger.books import Books
from privacy.ledger.chain import Chain, Row
from privacy.ledger.entry import Entry
from privacy.ledger.heads import write_witness
from privacy.ledger.store import Store

WAY_OUT = (
    "Nothing is trained with it. Keep the file, put the newest backup back, and let an officer "
    "count what is missing in that as spent"
)
Draft = Callable[[Books], Sequence[Entry]]  # checks the books, and says what to add


class Journal:
    """What was read is verified and counted once; before every writing comes what is new."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.chain = Chain()
        self.books = Books()
        self._lock = threading.RLock()
        self._writer: Writer | None = None

    def take(self, rows: Sequence[Row]) -> None:
        """Verify and count rows that continue the chain. Raises LedgerCorrupt at the first bad."""
        for row in rows:
            try:
                entry = self.chain.check(row)
                self.books.apply(entry)
            except LedgerCorrupt as error:
                raise LedgerCorrupt(f"ledger {self.path}: {error}. {WAY_OUT}") from None
            self.chain.append(entry)

    def write_with(self, writer: "Writer") -> None:
        """From now on entries can be added."""
        self._writer = writer

    def refresh(self) -> None:
        """Read what other processes added. An opening for reading stays as it was."""
        with self._lock:
            if self._writer is not None:
                self._catch_up(self._writer.store)

    def append(self, draft: Draft) -> list[Entry]:
        """Add what ``draft`` says, in one transaction, on the disk and witnessed on return.

        ``draft`` sees the books with everything that others wrote; what it raises leaves the
        ledger as it is. Raises PrivacyError, too, where the ledger is open for reading.
        """
        with self._lock:
            entries = self._committed(draft)
            if entries:
                self.remember()
            return entries

    def remember(self) -> None:
        """Let the witness know the newest entry."""
        with self.alone() as writer:  # no slower process puts an older head over a newer one
            write_witness(writer.witness, self.chain.head)

    @contextmanager
    def alone(self) -> Iterator["Writer"]:
        """Up to date with the file, and no other process writes it."""
        with self._lock:
            writer = self._require_writer()
            with writer.store.writing():
                self._catch_up(writer.store)
                yield writer

    def close(self) -> None:
        """Let go of the file. Nothing can be added afterwards."""
        with self._lock:
            if self._writer is not None:
                self._writer.store.close()
            self._writer = None

    def _require_writer(self) -> "Writer":
        if self._writer is None:
            raise PrivacyError(f"ledger {self.path} is closed, or open for reading only")
        return self._writer

    def _committed(self, draft: Draft) -> list[Entry]:
        before = None
        try:
            with self.alone() as writer:
                before = self.chain.head
                entries = self._in_place(draft(self.books))
                writer.store.append(writer.signed(entry) for entry in entries)
                self._catch_up(writer.store)  # what breaks a rule is refused before it stands there
        except BaseException:
            if before is not None and self.chain.head != before:
                self.chain, self.books = Chain(), Books()  # counted, but not committed: read anew
            raise
        return entries

    def _catch_up(self, store: Store) -> None:
        known = self.chain.head
        rows = store.rows(max(known.sequence, 1))
        if known.sequence:
            if not rows or (rows[0].sequence, rows[0].hash) != (known.sequence, known.hash):
                raise LedgerCorrupt(
                    f"ledger {self.path} changed while it was in use: entry {known.sequence} is "
                    "gone or another one. Stop all jobs and let an officer verify it"
                )
            rows = rows[1:]
        self.take(rows)

    def _in_place(self, drafts: Sequence[Entry]) -> list[Entry]:
        newest = self.chain.entries[-1] if self.chain.entries else None
        entries: list[Entry] = []
        for draft in drafts:
            newest = draft.after(newest, now())
            entries.append(newest)
        return entries


class Writer:
    """What it takes to add entries: the file, the key and the witness."""

    def __init__(self, store: Store, key: Ed25519PrivateKey, witness: Path) -> None:
        self.store = store
        self.witness = witness
        self._key = key

    def signed(self, entry: Entry) -> Row:
        """The row of ``entry``."""
        signature = self._key.sign(bytes.fromhex(entry.hash)).hex()
        return Row(entry.sequence, entry.record, entry.hash, signature)


def now() -> str:
    """The time in UTC, ISO 8601."""
    return datetime.now(timezone.utc).isoformat(timespec="microseconds")

"""Entries as far as they were read and found true: no gap, unbroken hashes, the ledger's key."""

import hashlib
from dataclasses import dataclass

from fedefm.errors import LedgerCorrupt
from privacy.ledger.entry import Entry, Genesis, read_entry
from privacy.ledger.heads import Head
from privacy.ledger.keys import is_signed


@dataclass(frozen=True)
class Row:
    """An entry as the file holds it, unchecked."""

    sequence: int
    record: str
    hash: str
    signature: str


class Chain:
    """Grows by rows that continue it."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def check(self, row: Row) -> Entry:
        """The entry of the next row. Raises LedgerCorrupt, which names it; changes nothing."""
        expected = len(self.entries) + 1
        if row.sequence != expected:
            raise LedgerCorrupt(f"entry {expected} is missing, the next one is {row.sequence}")
        try:
            entry = self._continued(row)
            _require_signature(row, self.genesis if self.entries else entry.genesis)
        except LedgerCorrupt as error:
            raise LedgerCorrupt(f"entry {expected} {error}") from None
        return entry

    def append(self, entry: Entry) -> None:
        """Take an entry that ``check`` gave."""
        self.entries.append(entry)

    @property
    def genesis(self) -> Genesis:
        """Whose ledger this is. Only of a chain with entries."""
        genesis = self.entries[0].genesis
        assert genesis is not None  # check() took the first entry
        return genesis

    @property
    def head(self) -> Head:
        """The newest entry; sequence 0 where there is none."""
        return Head(len(self.entries), self.entries[-1].hash if self.entries else "")

    @property
    def hashes(self) -> list[str]:
        """Of all entries, in order."""
        return [entry.hash for entry in self.entries]

    def _continued(self, row: Row) -> Entry:
        words = (row.record, row.hash, row.signature)
        if not all(isinstance(word, str) for word in words):
            raise LedgerCorrupt("is not text")
        if hashlib.sha256(row.record.encode()).hexdigest() != row.hash:
            raise LedgerCorrupt("does not match its hash: it was changed")
        entry = read_entry(row.record, row.signature)
        if entry.sequence != row.sequence:
            raise LedgerCorrupt(f"says that it is entry {entry.sequence}")
        if entry.previous != self.head.hash:
            raise LedgerCorrupt("does not continue the entry before it")
        if (entry.kind == "genesis") != (not self.entries) or (
            (entry.genesis is None) == (entry.kind == "genesis")
        ):
            raise LedgerCorrupt("is no beginning, or a second one")
        return entry


def _require_signature(row: Row, genesis: Genesis | None) -> None:
    if genesis is None or not is_signed(row.hash, row.signature, genesis.public_key):
        raise LedgerCorrupt("is not signed with the ledger's key")

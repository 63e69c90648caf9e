"""A ledger that others write, verified as it grows: whole at first, then only what is new.

For whoever must look at it again after every fit. Verifying ten thousand entries takes seconds, and
a message should not wait for that each time.
"""

from pathlib import Path

from fedefm.errors import LedgerCorrupt
from privacy.ledger.heads import default_witness
from privacy.ledger.opening import head_doubts, open_for_reading, read_with_witness


class WatchedLedger:
    """The ledger at ``path`` of ``site``, for reading only.

    Every method raises what ``Ledger.open`` raises for reading, also where the file no longer holds
    what was read before.
    """

    def __init__(self, path: Path, site: str, witness: Path | None = None) -> None:
        self._path = Path(path).absolute()
        self._witness = Path(witness).absolute() if witness else default_witness(self._path)
        self._journal = open_for_reading(self._path, site, self._witness, None)

    def is_settled(self, reference: str, run_id: str) -> bool:
        """Whether ``reference`` is the hash of a settled entry of that run, by now."""
        if self._journal.books.settled.get(reference) != run_id:
            self._catch_up()
        return self._journal.books.settled.get(reference) == run_id

    def _catch_up(self) -> None:
        known = self._journal.chain.head
        remembered, rows = read_with_witness(self._path, self._witness)
        if [row.hash for row in rows[known.sequence - 1 : known.sequence]] != [known.hash]:
            raise LedgerCorrupt(
                f"ledger {self._path} changed while it was in use: entry {known.sequence} is gone "
                "or another one. Stop all jobs and let an officer verify it"
            )
        self._journal.take(rows[known.sequence :])
        doubts = head_doubts(self._journal.chain.hashes, self._witness, remembered)
        if doubts:
            raise LedgerCorrupt(f"ledger {self._path}: {doubts[0]}")

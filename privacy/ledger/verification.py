"""Is the record whole? Every doubt in words, none of them raised."""

from collections.abc import Iterable
from pathlib import Path

from fedefm.errors import FedEFMError, LedgerCorrupt, PrivacyError
from privacy.ledger import keys
from privacy.ledger.chain import Row
from privacy.ledger.heads import Head, default_witness
from privacy.ledger.journal import Journal
from privacy.ledger.opening import head_doubts, read_with_witness


def verify(
    path: Path,
    site: str | None = None,
    witness: Path | None = None,
    known_heads: Iterable[Head] = (),
) -> list[str]:
    """What speaks against the ledger at ``path``; empty where all is well.

    Checks the file, every hash, link and signature, that the entries keep the rules (nothing is
    drawn or settled twice), whose ledger it is, its key, and what witness and server remember. It
    needs no right to write; a key that this account may not read is not compared.
    """
    path = Path(path).absolute()
    witness = Path(witness).absolute() if witness else default_witness(path)
    heads = tuple(known_heads)
    try:
        remembered, rows = read_with_witness(path, witness, *heads)
    except FedEFMError as error:
        return [str(error)]
    journal = Journal(path)
    doubts = _taken(journal, rows)
    if not journal.chain.entries:
        return doubts or [f"ledger {path} has no entries"]
    owner = journal.chain.genesis.site
    if site is not None and owner != site:
        doubts.append(f"ledger {path} is the one of site {owner!r}, not of {site!r}")
    doubts += _key_doubts(path, journal.chain.genesis.public_key)
    # of a broken chain the rest is unread, and whether it holds the heads cannot be told
    hashes = journal.chain.hashes + [row.hash for row in rows[len(journal.chain.entries) :]]
    return doubts + head_doubts(hashes, witness, remembered, *heads)


def _taken(journal: Journal, rows: list[Row]) -> list[str]:
    try:
        journal.take(rows)
    except LedgerCorrupt as error:
        return [str(error)]
    return []


def _key_doubts(path: Path, public_key: str) -> list[str]:
    try:
        keys.load_key(path, public_key)
    except keys.KeyOutOfReach:
        return []
    except PrivacyError as error:
        return [str(error)]
    return []

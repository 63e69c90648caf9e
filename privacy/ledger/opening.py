"""Opening a ledger: made where there was none, verified where there is one, refused in doubt."""

import os
import secrets
from pathlib import Path

from fedefm.errors import LedgerCorrupt, PrivacyError
from fedefm.words import several
from privacy.ledger import keys
from privacy.ledger.chain import Row
from privacy.ledger.entry import Entry, Genesis
from privacy.ledger.faults import in_words
from privacy.ledger.heads import Head, doubt, read_witness
from privacy.ledger.journal import Journal, Writer, now
from privacy.ledger.reading import read_rows
from privacy.ledger.store import Store


def open_for_reading(path: Path, site: str, witness: Path, known_head: Head | None) -> Journal:
    """The verified ledger as of now; needs no right to write and leaves no trace."""
    remembered, rows = read_with_witness(path, witness, known_head)
    journal = Journal(path)
    journal.take(rows)
    _require_site(journal, site)
    _require_heads(journal, witness, remembered, known_head)
    return journal


def open_for_writing(
    path: Path, site: str, witness: Path, known_head: Head | None, create: bool
) -> Journal:
    """The verified ledger, with key and witness in place; a new one where ``create`` allows it."""
    _require_place(path, witness, known_head, create)
    store = Store(path)
    try:
        _begin_where_empty(store, path, site, witness, known_head)
        journal = Journal(path)
        journal.take(store.rows(1))
        _require_site(journal, site)
        with in_words(path):
            keys.keep(path)
        key = keys.load_key(path, journal.chain.genesis.public_key)
        journal.write_with(Writer(store, key, witness))
        with journal.alone():  # others write neither entries nor witness meanwhile
            _require_heads(journal, witness, read_witness(witness), known_head)
        journal.remember()  # shows before any training whether both files can be written
    except BaseException:
        store.close()
        raise
    return journal


def read_with_witness(
    path: Path, witness: Path, *known_heads: Head | None
) -> tuple[Head | None, list[Row]]:
    """What the witness remembers, and rows that are no older."""
    require_not_lost(path, witness, *known_heads)
    remembered, rows = read_witness(witness), read_rows(path)
    if remembered is None and len(rows) > 1:  # the ledger may just have been begun
        remembered, rows = read_witness(witness), read_rows(path)
    return remembered, rows


def require_not_lost(path: Path, witness: Path, *known_heads: Head | None) -> None:
    """Raises LedgerCorrupt where there is no file, and key, witness or a known head tell of one."""
    # the traces first: a process that begins the ledger leaves them after the file
    traces = _traces(path, witness, *known_heads)
    if traces and not path.exists():
        raise _lost(path, traces)


def _require_place(path: Path, witness: Path, known_head: Head | None, create: bool) -> None:
    """Refuse before anything is made."""
    if path.is_dir():
        raise PrivacyError(f"ledger {path} is a folder; name a file in the site file")
    for what, place in (("ledger", path), ("ledger witness", witness)):
        if not place.parent.is_dir():
            raise PrivacyError(
                f"{what} {place}: folder {place.parent} does not exist; make it, on a local disk "
                "that is backed up, or name another one in the site file"
            )
    # SQLite opens what it may not write for reading, and begins a "write" there without an error
    for place in (path, path.parent):
        if place.exists() and not os.access(place, os.W_OK):
            raise PrivacyError(
                f"ledger {path} cannot be written; give this account the right to write the file "
                "and its folder. Nothing is trained or sent until then"
            )
    require_not_lost(path, witness, known_head)
    if not path.exists() and not create:
        raise PrivacyError(f"there is no ledger at {path}; nothing was ever counted there")


def _begin_where_empty(
    store: Store, path: Path, site: str, witness: Path, known_head: Head | None
) -> None:
    """The first entry, and the key that it names."""
    if not store.is_empty():
        return
    with store.writing():
        if not store.is_empty():  # another process was quicker
            return
        traces = _traces(path, witness, known_head)
        if traces:
            raise _lost(path, traces)
        store.create()
        key = keys.new_key(path)
        genesis = Genesis(secrets.token_hex(16), site, keys.public_hex(key))
        first = Entry("genesis", genesis=genesis).after(None, now())
        store.append([Writer(store, key, witness).signed(first)])


def _traces(path: Path, witness: Path, *known_heads: Head | None) -> str:
    """What shows that there was a ledger here."""
    if keys.key_path(path).exists():
        return f"its key {keys.key_path(path)} is there"
    if witness.exists():
        return f"witness {witness} remembers it"
    newest = max((head.sequence for head in known_heads if head), default=None)
    return "" if newest is None else f"the server remembers its entry {newest}"


def _lost(path: Path, traces: str) -> LedgerCorrupt:
    return LedgerCorrupt(
        f"ledger {path} is gone or empty, but {traces}. Put the newest copy back; where none is "
        "left, an officer moves key and witness away and counts all earlier jobs as spent"
    )


def _require_site(journal: Journal, site: str) -> None:
    if not journal.chain.entries:
        raise LedgerCorrupt(f"ledger {journal.path} has no entries; put the newest copy back")
    owner = journal.chain.genesis.site
    if owner != site:
        raise PrivacyError(
            f"ledger {journal.path} is the one of site {owner!r}, and this is {site!r}; name this "
            "site's own ledger in the site file"
        )


def _require_heads(
    journal: Journal, witness: Path, remembered: Head | None, known_head: Head | None
) -> None:
    doubts = head_doubts(journal.chain.hashes, witness, remembered, known_head)
    if doubts:
        raise LedgerCorrupt(f"ledger {journal.path}: {doubts[0]}")


def head_doubts(
    hashes: list[str], witness: Path, remembered: Head | None, *known_heads: Head | None
) -> list[str]:
    """Why the ledger is not the one that witness and server remember; empty where it may be."""
    doubts = [doubt(head, hashes, "the server") for head in known_heads if head]
    if remembered is not None:
        doubts.append(doubt(remembered, hashes, f"witness {witness}"))
    elif len(hashes) > 1:
        doubts.append(
            f"witness {witness} is missing and the ledger has "
            f"{several(len(hashes), 'entry', 'entries')}. Mount its "
            "disk, or put it back; if the witness has moved, copy it to its new place"
        )
    return [each for each in doubts if each]

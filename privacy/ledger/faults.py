"""SQLite's errors as sentences that name the ledger and the way out."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fedefm.errors import LedgerCorrupt, PrivacyError

# What SQLite says, and what it means here. Its texts are stable; its codes need Python 3.11.
BROKEN = ("malformed", "not a database", "could not decode", "unsupported file format")
MEANINGS = {
    "lock": "is held by another process; find it with: fuser {path}",
    "readonly": "cannot be written; give this account the right to write the file and its folder",
    "disk is full": "cannot grow, the disk is full; make room and start again",
    "disk i/o": "could not be read or written, the disk reported an error; make room or mend it",
    "unable to open": "cannot be opened; give this account the right to read and write the file "
    "and its folder",
}
NOTHING_LOST = "Nothing is trained or sent until then, and what the ledger held it holds still"


@contextmanager
def in_words(path: Path) -> Iterator[None]:
    """Raises PrivacyError, or LedgerCorrupt, for what SQLite and the system report."""
    try:
        yield
    except sqlite3.Error as error:
        raise _translated(error, path) from None
    except UnicodeDecodeError as error:  # a name in the header of the file, seen with broken bytes
        raise _translated(
            sqlite3.DatabaseError(f"could not decode: {error.reason}"), path
        ) from None
    except OSError as error:
        raise PrivacyError(f"ledger {path}: {error.strerror}. {NOTHING_LOST}") from None


def _translated(error: sqlite3.Error, path: Path) -> PrivacyError:
    said = str(error)
    if any(word in said.lower() for word in BROKEN):
        return LedgerCorrupt(
            f"ledger {path} is damaged ({said}). Keep the file, put the newest backup back, and "
            "count what is missing in it as spent"
        )
    for word, meaning in MEANINGS.items():
        if word in said.lower():
            return PrivacyError(f"ledger {path} {meaning.format(path=path)}. {NOTHING_LOST}")
    return PrivacyError(f"ledger {path} cannot be used: {said}. {NOTHING_LOST}")

"""What a site must not forget between sums, whatever crashes: attempts used, and sums opened.

Kept in one SQLite file a site. Each write is on the disk before its call returns, and two processes
of the site may use the file at the same time.
"""

import hashlib
import json
import logging
import os
import secrets
import sqlite3
import threading
from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedefm.errors import PolicyRefused, PrivacyError
from privacy.secagg.steps import canonical

SAMPLE = 2**18  # values of an input that its fingerprint looks at
SECONDS_TO_WAIT = 30.0  # for the site's other process

logger = logging.getLogger(__name__)

TABLES = (
    "CREATE TABLE IF NOT EXISTS fingerprint_key (one INTEGER PRIMARY KEY CHECK (one = 1), key)",
    "CREATE TABLE IF NOT EXISTS attempts (context, attempt, PRIMARY KEY (context, attempt))",
    "CREATE TABLE IF NOT EXISTS opened (fingerprint, receiver, members,"
    " PRIMARY KEY (fingerprint, receiver, members))",
    "CREATE TABLE IF NOT EXISTS shown (context, members, PRIMARY KEY (context, members))",
)


class Memory:
    """The memory of one site. Without a ``path`` it lasts as long as the process: for simulations.

    Where there is no file yet, an empty one is made, for a site's first sum cannot be told from one
    after its file was deleted; the log says so.

    Every method raises PrivacyError where the file cannot be used; nothing may be sent then.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._kept = _in_memory()
        with self._changing(create=True) as book:
            for table in TABLES:
                book.execute(table)
            book.execute(
                "INSERT OR IGNORE INTO fingerprint_key VALUES (1, ?)", [secrets.token_bytes(32)]
            )
            (self._key,) = book.execute("SELECT key FROM fingerprint_key").fetchone()

    def next_attempt(self, context_key: str) -> int:
        """One more than the highest attempt ever claimed at this sum; the first is 1."""
        with self._changing() as book:
            query = "SELECT MAX(attempt) FROM attempts WHERE context = ?"
            (highest,) = book.execute(query, [context_key]).fetchone()
        return 1 if highest is None else int(highest) + 1

    def claim(self, context_key: str, attempt: int) -> None:
        """Use up ``attempt`` for good. Raises PrivacyError where it, or a later one, was used."""
        with self._changing() as book:
            query = "SELECT COUNT(*) FROM attempts WHERE context = ? AND attempt >= ?"
            (used,) = book.execute(query, [context_key, attempt]).fetchone()
            if used:
                raise PrivacyError(
                    f"attempt {attempt} at the sum {context_key} was used before; masks are never "
                    "used twice: let the sum be tried again under a new attempt number"
                )
            book.execute("INSERT INTO attempts VALUES (?, ?)", [context_key, attempt])

    def fingerprint(self, x: NDArray[np.float32]) -> bytes:
        """Recognizes an input that is given again; says nothing without the key in the file.

        Looks at its length and at no more than 2**18 of its values, evenly spread.
        """
        stride = max(1, -(-x.size // SAMPLE))
        sample = np.ascontiguousarray(x[::stride], dtype="<f4")
        digest = hashlib.blake2b(x.size.to_bytes(8, "little"), key=self._key, digest_size=32)
        digest.update(sample.view(np.uint8).data)
        return digest.digest()

    def open(
        self,
        context_key: str,
        fingerprint: bytes,
        receiver: str,
        members: Collection[str],
        min_cohort: int,
    ) -> None:
        """Note that ``receiver`` may now learn the sum over ``members`` with this input in it.

        Compared are sums for this receiver that had the same input, and all earlier attempts at the
        sum ``context_key`` whatever the input: what a receiver that asks again changes in its last
        digits is as good as the same. Raises PolicyRefused, having noted nothing, where the members
        of one of them and these differ in 1 to ``min_cohort`` sites: the difference of the two sums
        would show what these few gave. Of three sets or more other combinations can be as telling,
        though no two of them are; hence there are two at most.
        """
        with self._changing() as book:
            query = (
                "SELECT members FROM opened WHERE fingerprint = ? AND receiver = ?"
                " UNION SELECT members FROM shown WHERE context = ?"
            )
            found = book.execute(query, [fingerprint, receiver, context_key])
            earlier = [set(_names(row[0])) for row in found]
            for before in earlier:
                _refuse_difference(before, set(members), receiver, min_cohort)
            if len(earlier) > 1 and set(members) not in earlier:
                raise PolicyRefused(
                    f"this input, or another in this sum, went to {receiver!r} over two different "
                    f"sets of members before; from a third, over {sorted(members)}, single parts "
                    "could be solved"
                )
            names = canonical(sorted(members)).decode()
            row = [fingerprint, receiver, names]
            book.execute("INSERT OR IGNORE INTO opened VALUES (?, ?, ?)", row)
            book.execute("INSERT OR IGNORE INTO shown VALUES (?, ?)", [context_key, names])

    @contextmanager
    def _changing(self, create: bool = False) -> Iterator[sqlite3.Connection]:
        """One transaction that no other process or thread can come between."""
        try:
            if create and self._path is not None:
                _create(self._path)
            with self._lock, self._connection() as book:
                book.execute("BEGIN IMMEDIATE")
                with book:  # commits, or rolls back
                    yield book
        except (sqlite3.Error, OSError) as error:
            raise PrivacyError(
                f"the memory of secure sums {str(self._path)!r} cannot be used ({error}): "
                "mend its disk or permissions. A new one takes its place if it is moved away, and "
                "knows none of the sums given so far: a receiver that asks for one of them again, "
                "without one site, would learn that site's part. Begin no job anew whose rounds "
                "this site has played"
            ) from None

    @contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        """The one in memory, or a new one: a connection must not outlive a fork."""
        if self._path is None:
            yield self._kept
            return
        with closing(_connect(self._path)) as book:
            yield book


def _refuse_difference(before: set[str], now: set[str], receiver: str, min_cohort: int) -> None:
    differing = sorted(before ^ now)
    if 0 < len(differing) <= min_cohort:
        raise PolicyRefused(
            f"this input, or another in this sum, went to {receiver!r} before, with "
            f"{sorted(before)}; the sum with {sorted(now)} would show what {differing} alone gave, "
            f"and the policy's min_cohort {min_cohort} demands more than that many"
        )


def _names(text: str) -> list[str]:
    names: list[str] = json.loads(text)
    return names


def _in_memory() -> sqlite3.Connection:
    return sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)


def _create(path: Path) -> None:
    """Only its owner may read it: it holds a key."""
    if not path.exists():
        logger.info(  # FLARE's log has it; a simulation begins anew each time
            "%s is new: nothing is known of sums that this site gave before. If it gave any, "
            "its file was deleted or moved; see docs/secure-aggregation.md",
            path,
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))


def _connect(path: Path) -> sqlite3.Connection:
    """Opens what is there: a file that vanished during a run is not replaced by an empty one."""
    book = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        timeout=SECONDS_TO_WAIT,
        isolation_level=None,
    )
    # EXTRA, for after FULL the power may fail before the journal's unlinking is on the disk, and
    # the commit is undone.
    book.execute("PRAGMA synchronous = EXTRA")
    return book

"""What others remember of the ledger: its newest entry at some moment.

A ledger that was restored from a backup, or cut, still has a chain and signatures in order. It
betrays itself by lacking an entry that somebody outside has seen: the witness file, written after
every entry, best on another disk; and the server, which keeps the heads that the site reported.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from fedefm.errors import LedgerCorrupt, PrivacyError
from privacy.ledger.files import write_whole


@dataclass(frozen=True)
class Head:
    """An entry's place in the chain and its hash."""

    sequence: int
    hash: str


def default_witness(ledger: Path) -> Path:
    """The witness of a site that sets none: it notices a replaced ledger, not a replaced disk."""
    return ledger.with_name(ledger.name + ".head")


def read_witness(path: Path) -> Head | None:
    """The head that the witness remembers; None where there is no file.

    Raises PrivacyError where it cannot be read, LedgerCorrupt where it holds something else.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise PrivacyError(f"ledger witness {path} cannot be read: {error}") from None
    try:
        data = json.loads(text)
        head = Head(data["sequence"], data["hash"])
    except (ValueError, TypeError, KeyError):
        head = Head(0, "")
    if type(head.sequence) is not int or head.sequence < 1 or not isinstance(head.hash, str):
        raise LedgerCorrupt(
            f"ledger witness {path} holds no head of a ledger. Let an officer compare the ledger "
            "with the server's record, and then write the witness anew"
        )
    return head


def write_witness(path: Path, head: Head) -> None:
    """Remember ``head``. Raises PrivacyError where that fails."""
    try:
        # without a sync of the folder a power cut may bring the last head back, which is one, too
        write_whole(path, (json.dumps(asdict(head)) + "\n").encode())
    except OSError as error:
        raise PrivacyError(
            f"ledger witness {path} cannot be written: {error.strerror}. What the ledger holds "
            "counts, and nothing is trained or sent until the witness's folder can be written"
        ) from None


def doubt(head: Head, hashes: list[str], who: str) -> str | None:
    """Why a ledger with these hashes cannot be the one whose ``head`` somebody remembers."""
    if head.sequence < 1:
        return f"{who} remembers entry {head.sequence}, and the first one is 1: that is no head"
    if head.sequence > len(hashes):
        return (
            f"{who} remembers entry {head.sequence}, and the ledger ends at {len(hashes)}: it was "
            "restored from an older copy, or cut. Put the newest copy back; where it is lost, "
            "count the missing steps as spent before anything is trained"
        )
    if hashes[head.sequence - 1] != head.hash:
        return (
            f"{who} remembers another entry {head.sequence} than the ledger holds: it is the "
            "ledger of another site, or was restored from an older copy and went on. Put the "
            "right copy back"
        )
    return None

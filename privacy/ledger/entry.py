"""One line of the ledger, its canonical text and its hash.

The hash is SHA-256 over JSON with sorted keys and no spaces. It covers the previous entry's hash,
so an entry stands for all before it, and its signature signs them all.
"""

import hashlib
import json
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

from fedefm.errors import LedgerCorrupt, PrivacyError
from privacy.ledger.labels import Budget, Dataset, RunLabel
from privacy.mechanism import Mechanism

Kind = Literal["genesis", "plan", "reserve", "settle", "close", "refund"]


@dataclass(frozen=True)
class Genesis:
    """Whose ledger this is: the first entry says it."""

    ledger_id: str
    site: str
    public_key: str  # hex of the raw Ed25519 key


@dataclass(frozen=True)
class Entry:
    """One entry; what does not apply to its kind is None, 0 or empty.

    ``refers`` is the sequence number of the entry that this one draws on (reserve: its plan),
    settles (a reservation), closes (a plan) or gives back (either). ``steps`` are those planned,
    reserved, truly taken, or given back.
    """

    kind: Kind
    sequence: int = 0
    time: str = ""  # UTC, ISO 8601
    previous: str = ""  # hash of the entry before; empty for the first
    genesis: Genesis | None = None
    dataset: Dataset | None = None
    run: RunLabel | None = None
    mechanism: Mechanism | None = None
    steps: int = 0
    refers: int = 0
    budget: Budget | None = None  # the site's policy when the plan was made
    reason: str = ""
    signature: str = field(default="", compare=False)  # hex, over the hash

    @cached_property
    def record(self) -> str:
        """The canonical text: everything but the signature."""
        return canonical(self.to_json())

    @cached_property
    def hash(self) -> str:
        """SHA-256 over the canonical text, in hex."""
        return hashlib.sha256(self.record.encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """What the record says, as plain data; parts that do not apply are left out."""
        parts = (
            ("genesis", self.genesis),
            ("dataset", self.dataset),
            ("run", self.run),
            ("mechanism", self.mechanism),
            ("budget", self.budget),
        )
        return {
            "kind": self.kind,
            "sequence": self.sequence,
            "time": self.time,
            "previous": self.previous,
            "steps": self.steps,
            "refers": self.refers,
            "reason": self.reason,
            **{name: _plain(part) for name, part in parts if part is not None},
        }

    def after(self, previous: "Entry | None", time: str) -> "Entry":
        """This entry in its place behind ``previous``."""
        if previous is None:
            return replace(self, sequence=1, time=time, previous="")
        return replace(self, sequence=previous.sequence + 1, time=time, previous=previous.hash)


def _plain(part: Any) -> dict[str, Any]:
    return part.numbers() if isinstance(part, Mechanism) else dict(vars(part))


def canonical(data: dict[str, Any]) -> str:
    """The one text of ``data`` that is hashed."""
    return json.dumps(data, sort_keys=True, separators=(",", ":"), allow_nan=False)


def read_entry(record: str, signature: str) -> Entry:
    """The entry whose canonical text is ``record``. Raises LedgerCorrupt where it is none."""
    try:
        data = json.loads(record)
        for name, part in PARTS.items():
            if name in data:
                data[name] = part(**data[name])
        entry = Entry(**data, signature=signature)
        same = entry.record == record
    except (TypeError, ValueError, RecursionError, PrivacyError):
        raise LedgerCorrupt("is not the record of an entry") from None
    if not same:
        raise LedgerCorrupt("is not in canonical form")
    return entry


PARTS = {
    "genesis": Genesis,
    "dataset": Dataset,
    "run": RunLabel,
    "mechanism": Mechanism,
    "budget": Budget,
}

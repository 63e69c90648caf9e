"""What a sum is about. Keys, signatures and shares of one context are worth nothing in another."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from privacy.secagg.steps import canonical

VERSION = "fedefm secure sum 1"


@dataclass(frozen=True)
class Context:
    """One sum of one run, as every member knows it before the first packet.

    ``members`` are the planned ones, sorted, without the receiver; ``joins`` says whether the
    receiver adds a part of its own to what it learns. ``ring`` is ``Ring.describe()``, and
    ``agreed`` the digest of what all members must hold alike, as the model that they trained.
    So many ``colluders`` among the members may help a receiver that breaks the protocol.
    """

    job: str
    run_id: str
    round: int
    what: str
    receiver: str
    members: tuple[str, ...]
    joins: bool
    ring: Mapping[str, Any]
    agreed: str = ""
    colluders: int = 1

    @property
    def threshold(self) -> int:
        """How many members must help to open the sum: more than half of the planned ones.

        Any two sets of so many have more than ``colluders`` members in common, hence an honest
        one, which helps only once: nobody can be told dropped to some and present to others.
        """
        planned = len(self.members)
        return min(planned, (planned + self.colluders) // 2 + 1)

    @property
    def key(self) -> str:
        """Names the sum for good; attempts at it are counted under this name."""
        place = [self.job, self.run_id, self.round, self.what, self.receiver]
        return canonical(place).decode("utf-8")

    def digest(self, attempt: int | None = None) -> bytes:
        """SHA-256 of everything here, and of the attempt where the members have agreed on one."""
        content = {"version": VERSION, "attempt": attempt, **vars(self)}
        return hashlib.sha256(canonical(content)).digest()

"""What a receiver that pools everything with some members can solve for.

Independent of the protocol's code: it reads only what went over the network, counts shares, writes
each masked vector as a linear equation in inputs and masks, and eliminates the masks that are not
known.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field

from privacy.secagg.steps import Packet

PRIME = 2**31 - 1
Row = list[int]


@dataclass
class Watcher:
    """Everything that honest members were shown and said, by member."""

    roster: dict[str, bytes] = field(default_factory=dict)  # payloads that arrived
    dealings: dict[str, frozenset[str]] = field(default_factory=dict)
    masked: set[str] = field(default_factory=set)  # who sent a masked vector
    released: dict[str, dict[str, set[str]]] = field(default_factory=dict)  # kind to owners

    def arrived(self, step: int, member: str, packet: Packet) -> None:
        """A packet as the member got it."""
        if step == 1:
            self.roster[member] = packet.payload
        if step == 3:
            self.dealings[member] = frozenset(_field(packet.payload, "dealings"))

    def said(self, step: int, member: str, packet: Packet) -> None:
        """A packet as the member sent it, whether or not it arrived."""
        if step == 4 and packet.vector is not None:
            self.masked.add(member)
        if step == 8 and "abort" not in json.loads(packet.payload):
            assert member not in self.released, f"{member} answered twice"
            self.released[member] = {
                kind: set(_field(packet.payload, kind)) for kind in ("seed", "key")
            }

    def solved(
        self, members: Iterable[str], colluders: Iterable[str], threshold: int
    ) -> list[frozenset[str]]:
        """The sums of honest inputs that can be solved for, as a basis of their members' sets."""
        known = _Known(self, frozenset(members), frozenset(colluders), threshold)
        return known.sums()


@dataclass(frozen=True)
class _Known:
    seen: Watcher
    members: frozenset[str]
    colluders: frozenset[str]
    threshold: int

    def sums(self) -> list[frozenset[str]]:
        honest = sorted(self.seen.masked - self.colluders)
        masks, rows = self._masks(honest), []
        for member in honest:
            inputs = [int(member == other) for other in honest]
            rows.append([self._times(member, mask) % PRIME for mask in masks] + inputs)
        left = [row[len(masks) :] for row in _eliminated(rows, len(masks))]
        return [
            frozenset(name for name, times in zip(honest, row, strict=True) if times)
            for row in left
        ]

    def derivable(self, owner: str, kind: str) -> bool:
        """Whether enough shares of one secret of ``owner`` are out, or its owner tells."""
        if owner in self.colluders:
            return True
        session = self.seen.roster.get(owner)
        holders = set(self.colluders)  # each holds shares of both kinds from everybody
        for holder, released in self.seen.released.items():
            if owner in released[kind] and self.seen.roster.get(holder) == session:
                holders.add(holder)
        return len(holders) >= self.threshold

    def _masks(self, honest: list[str]) -> list[tuple[str, ...]]:
        """Those that cannot be known, each a name or a session with a pair."""
        masks: set[tuple[str, ...]] = set()
        for member in honest:
            if not self.derivable(member, "seed"):
                masks.add((member,))
            for other in self.seen.dealings[member] - {member}:
                if not (self.derivable(member, "key") or self.derivable(other, "key")):
                    masks.add(self._pair(member, other))
        return sorted(masks)

    def _pair(self, member: str, other: str) -> tuple[str, ...]:
        one, two = sorted([member, other])
        return (self.seen.roster[member].hex(), one, two)

    def _times(self, member: str, mask: tuple[str, ...]) -> int:
        """How often a mask is in the vector of ``member``."""
        if mask == (member,):
            return 1
        others = self.seen.dealings[member] - {member}
        for other in others:
            if mask == self._pair(member, other):
                return 1 if member < other else -1
        return 0


def _eliminated(rows: list[Row], columns: int) -> list[Row]:
    """What is left of ``rows`` once combinations have made their first ``columns`` vanish."""
    rows = [list(row) for row in rows]
    for column in range(columns):
        pivot = next((row for row in rows if row[column]), None)
        if pivot is None:
            continue
        rows.remove(pivot)
        inverse = pow(pivot[column], -1, PRIME)
        for row in rows:
            if row[column]:
                factor = row[column] * inverse % PRIME
                for place, value in enumerate(pivot):
                    row[place] = (row[place] - factor * value) % PRIME
    return rows


def _field(payload: bytes, name: str) -> list[str]:
    content = json.loads(payload)
    value = content.get(name) if isinstance(content, dict) else None
    return list(value) if isinstance(value, dict) else []

"""Dealings on their way through the receiver: from each owner to all members."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from fedefm.errors import MessageRejected
from privacy.project_root import ProjectRoot
from privacy.secagg.dealing import COMMITMENT_BYTES, PUBLIC, Dealing
from privacy.secagg.payload import bytes_by_name, hex_by_name, read
from privacy.secagg.roster import Roster
from privacy.secagg.sealing import SEALED_BYTES
from privacy.secagg.steps import canonical

Dealings = Mapping[str, Dealing]


@dataclass(frozen=True)
class Dealt:
    """What one owner gives the receiver: its dealing, and what is sealed, by holder."""

    dealing: Dealing
    sealed: Mapping[str, bytes]

    def payload(self) -> bytes:
        """The payload of ``share``."""
        return canonical({**self.dealing.to_json(), "sealed": hex_by_name(self.sealed)})


def read_dealt(payload: bytes, owner: str, roster: Roster, root: ProjectRoot) -> Dealt:
    """The receiver's check of what ``owner`` dealt. Raises MessageRejected."""
    content = read(payload, [*PUBLIC, "sealed"])
    dealing = Dealing.from_json(owner, {name: content[name] for name in PUBLIC}, roster)
    dealing.check(roster, root)
    holders = set(roster.members) - {owner}
    sealed = bytes_by_name(content["sealed"], "a sealed share", holders, SEALED_BYTES)
    if set(sealed) != holders:
        raise MessageRejected("it did not seal shares for every other member")
    return Dealt(dealing, sealed)


def dealt_to(holder: str, dealt: Mapping[str, Dealt]) -> bytes:
    """The payload of ``deal`` for one member: all dealings, and what is sealed for it."""
    dealings = {owner: dealt[owner].dealing.to_json() for owner in dealt}
    sealed = {owner: dealt[owner].sealed[holder] for owner in dealt if owner != holder}
    return canonical({"dealings": dealings, "sealed": hex_by_name(sealed)})


def deal_bytes(members: Collection[str]) -> int:
    """How long the payload of ``deal`` gets among these, with RSA keys of up to 4096 bits."""
    name, *_ = names = sorted(members, key=lambda each: len(canonical(each)))
    largest = Dealing(name, dict.fromkeys(names, bytes(COMMITMENT_BYTES)), bytes(32), bytes(512))
    of_each = len(canonical(largest.to_json())) + len(canonical(bytes(SEALED_BYTES).hex()))
    keys = sum(2 * len(canonical(each)) for each in names)
    return len(names) * (of_each + len("::,,")) + keys + len('{"dealings":{},"sealed":{}}')


def read_dealings(
    payload: bytes, own: Dealing, roster: Roster, root: ProjectRoot
) -> tuple[Dealings, Mapping[str, bytes]]:
    """A member's check of what was dealt (by U2), and what is sealed for it, both by owner.

    Raises MessageRejected.
    """
    content = read(payload, ["dealings", "sealed"])
    given = content["dealings"]
    if not isinstance(given, dict) or not set(given) <= set(roster.members):
        raise MessageRejected("its dealings are no object, or of sites that are not in the roster")
    dealings = {owner: Dealing.from_json(owner, given[owner], roster) for owner in sorted(given)}
    if dealings.get(own.owner) != own:
        raise MessageRejected(f"the dealing of {own.owner} is not among them as it was sent")
    for dealing in dealings.values():
        dealing.check(roster, root)
    owners = set(dealings) - {own.owner}
    sealed = bytes_by_name(content["sealed"], "a sealed share", owners, SEALED_BYTES)
    if set(sealed) != owners:
        raise MessageRejected("a sealed share is missing")
    return dealings, sealed

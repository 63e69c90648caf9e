"""Whose keys a session uses. All that follows is bound to this list as one digest."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from fedefm.errors import MessageRejected
from privacy.project_root import ProjectRoot
from privacy.secagg.advert import FIELDS, Advert, check_advert
from privacy.secagg.context import Context
from privacy.secagg.payload import read
from privacy.secagg.steps import canonical

LABEL = "fedefm secagg 1 session"


@dataclass(frozen=True)
class Roster:
    """The adverts of one session (U1), as one member or the receiver sees them."""

    context: Context
    adverts: Mapping[str, Advert]

    @property
    def members(self) -> tuple[str, ...]:
        """U1, sorted."""
        return tuple(sorted(self.adverts))

    @cached_property
    def session(self) -> bytes:
        """SHA-256 over the context and all adverts; stands in every key, share and signature.

        Who was shown another roster, or one of an earlier attempt, has nothing in common with this
        session. Each advert carries its member's own attempt number: were there one for all, a
        single liar could use up the numbers of the others.
        """
        adverts = hashlib.sha256(canonical(self.to_json()))
        content = [LABEL, self.context.digest().hex(), adverts.hexdigest()]
        return hashlib.sha256(canonical(content)).digest()

    def index(self, holder: str) -> int:
        """The number of a holder's shares, from 1 on."""
        return self.members.index(holder) + 1

    def to_json(self) -> dict[str, Any]:
        """The payload of ``roster`` is this under the key ``adverts``."""
        return {name: self.adverts[name].to_json() for name in self.members}


def read_advert(payload: bytes, sender: str, context: Context, root: ProjectRoot) -> Advert:
    """The receiver's check of one member's advert. Raises MessageRejected."""
    advert = Advert.from_json(sender, read(payload, FIELDS))
    check_advert(advert, context, root)
    return advert


def read_roster(payload: bytes, own: Advert, context: Context, root: ProjectRoot) -> Roster:
    """A member's check of all that it was shown. Raises MessageRejected."""
    adverts = read(payload, ["adverts"])["adverts"]
    if not isinstance(adverts, dict) or not set(adverts) <= set(context.members):
        raise MessageRejected("the roster is no object, or lists sites that were not planned")
    if canonical(adverts.get(own.name)) != canonical(own.to_json()):
        raise MessageRejected(f"the roster does not hold the advert that {own.name} sent")
    roster = Roster(context, {name: Advert.from_json(name, adverts[name]) for name in adverts})
    for name in roster.members:
        check_advert(roster.adverts[name], context, root)
    return roster

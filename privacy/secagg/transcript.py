"""What all who help to open a sum have seen alike, signed by each of them (Bonawitz et al., 4.4).

The threshold is so high that two different transcripts cannot both find enough signatures, even if
the receiver has ``context.colluders`` members sign both. So shares are released for one of them
only.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from fedefm.errors import MessageRejected
from privacy.identity import Identity
from privacy.project_root import ProjectRoot
from privacy.secagg.dealing import Dealing, digest_of
from privacy.secagg.payload import bytes_by_name, bytes_of, names_of, read
from privacy.secagg.roster import Roster
from privacy.secagg.steps import canonical

LABEL = b"fedefm secagg 1 consent"


@dataclass(frozen=True)
class Transcript:
    """A session as one party saw it until it knew whose masked vectors arrived.

    ``dealings`` are those of the members whose pairwise masks are in the sum (U2), and ``summed``
    are the members whose masked vectors are (U3), sorted.
    """

    roster: Roster
    dealings: Mapping[str, Dealing]
    summed: tuple[str, ...]

    @property
    def dealt(self) -> tuple[str, ...]:
        """U2, sorted."""
        return tuple(sorted(self.dealings))

    @property
    def dropped(self) -> tuple[str, ...]:
        """Who dealt shares, and whose masked vector did not arrive."""
        return tuple(name for name in self.dealt if name not in self.summed)

    @cached_property
    def to_sign(self) -> bytes:
        """The bytes under each signature."""
        content = [
            self.roster.session.hex(),
            digest_of(self.dealings).hex(),
            list(self.dealt),
            list(self.summed),
        ]
        return LABEL + b"\0" + canonical(content)

    def sign(self, identity: Identity) -> bytes:
        """The payload of ``consent``: to opening this sum, and no other of this session."""
        return canonical({"signature": identity.sign(self.to_sign).hex()})

    def check(self, member: str, signature: bytes, root: ProjectRoot) -> None:
        """Raises MessageRejected where ``member`` did not sign this transcript."""
        certificate = self.roster.adverts[member].certificate
        root.verify(member, certificate, signature, self.to_sign)


def read_members(
    payload: bytes, own: str, roster: Roster, dealings: Mapping[str, Dealing]
) -> Transcript:
    """A member's check of whose vectors are said to have arrived. Raises MessageRejected."""
    summed = names_of(read(payload, ["members"])["members"], "members")
    if not set(summed) <= set(dealings):
        raise MessageRejected("it counts in members who dealt no shares")
    if own not in summed:
        raise MessageRejected(f"it counts {own} as dropped")
    return Transcript(roster, dealings, summed)


def read_consent(payload: bytes, member: str, transcript: Transcript, root: ProjectRoot) -> bytes:
    """The receiver's check of one signature. Raises MessageRejected."""
    signature = bytes_of(read(payload, ["signature"])["signature"], "signature")
    transcript.check(member, signature, root)
    return signature


def read_consents(payload: bytes, transcript: Transcript) -> dict[str, bytes]:
    """The signatures that a member is shown, not yet checked. Raises MessageRejected."""
    content = read(payload, ["signatures"])
    return bytes_by_name(content["signatures"], "a signature", transcript.summed)

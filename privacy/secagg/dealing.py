"""What a member tells everybody about the shares that it deals: a commitment to each, signed.

With it a wrong share is recognized, by its holder when it is dealt and by the receiver when it is
released, and who deals cannot deny it.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fedefm.errors import MessageRejected
from privacy.project_root import ProjectRoot
from privacy.secagg import shares
from privacy.secagg.payload import bytes_by_name, bytes_of, hex_by_name
from privacy.secagg.roster import Roster
from privacy.secagg.shares import Share
from privacy.secagg.steps import canonical

LABEL = b"fedefm secagg 1 dealing"
COMMITMENT_BYTES, DIGEST_BYTES = 64, 32
PUBLIC = ("commitments", "seed_commitment", "signature")


@dataclass(frozen=True)
class Dealing:
    """What an owner tells everybody about its shares: a commitment for each holder of the roster.

    ``seed_commitment`` is to the seed itself; the mask's private key needs none, as its public key
    stands in the roster.
    """

    owner: str
    commitments: Mapping[str, bytes]
    seed_commitment: bytes
    signature: bytes = b""

    def to_json(self) -> dict[str, Any]:
        """All but the owner, under whose name it stands."""
        return {
            "commitments": hex_by_name(self.commitments),
            "seed_commitment": self.seed_commitment.hex(),
            "signature": self.signature.hex(),
        }

    @classmethod
    def from_json(cls, owner: str, data: Any, roster: Roster) -> "Dealing":
        """Read ``to_json``. Raises MessageRejected for anything else."""
        if not isinstance(data, dict) or set(data) != set(PUBLIC):
            raise MessageRejected(f"the dealing of {owner} must hold exactly {PUBLIC}")
        commitments = bytes_by_name(
            data["commitments"], f"a commitment of {owner}", roster.members, COMMITMENT_BYTES
        )
        if len(commitments) != len(roster.members):
            raise MessageRejected(f"{owner} did not commit to a share for every member")
        whole = bytes_of(data["seed_commitment"], f"seed_commitment of {owner}", DIGEST_BYTES)
        return cls(owner, commitments, whole, bytes_of(data["signature"], f"signature of {owner}"))

    def to_sign(self, roster: Roster) -> bytes:
        """The bytes under the owner's signature."""
        content = [
            roster.session.hex(),
            self.owner,
            hex_by_name(self.commitments),
            self.seed_commitment.hex(),
        ]
        return LABEL + b"\0" + canonical(content)

    def check(self, roster: Roster, root: ProjectRoot) -> None:
        """Raises MessageRejected where it was not made by its owner for this very session."""
        certificate = roster.adverts[self.owner].certificate
        root.verify(self.owner, certificate, self.signature, self.to_sign(roster))

    def fits_seed(self, roster: Roster, holder: str, share: Share) -> bool:
        """Whether this is the share of the seed that the owner committed to for ``holder``."""
        place = (self.commitments[holder], roster.session, self.owner, holder)
        return shares.fits_seed(*place, share)

    def fits_key(self, roster: Roster, holder: str, share: Share) -> bool:
        """Whether this is the share of the mask's private key."""
        place = (self.commitments[holder], roster.session, self.owner, holder)
        return shares.fits_key(*place, share)


def digest_of(dealings: Mapping[str, Dealing]) -> bytes:
    """SHA-256 over all dealings that a party has seen. Their signatures bind it to the session."""
    content = {owner: dealings[owner].to_json() for owner in dealings}
    return hashlib.sha256(canonical(content)).digest()

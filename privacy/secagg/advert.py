"""What a member says first: its keys and what it takes for agreed, signed with its certificate.

Bonawitz et al. CCS 2017, section 4.1 (advertise keys), in the form against an active receiver.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from privacy.identity import LONGEST_SIGNATURE, Identity
from privacy.project_root import LONGEST_CERTIFICATE, ProjectRoot, rejected
from privacy.secagg.context import Context
from privacy.secagg.keys import KEY_BYTES, SessionKeys, keeps_secrets
from privacy.secagg.payload import bytes_of
from privacy.secagg.steps import canonical

LABEL = b"fedefm secagg 1 advert"
FIELDS = ("agreed", "attempt", "certificate", "cipher_key", "mask_key", "ring", "signature")
LAST_ATTEMPT = 2**31 - 1
LONGEST_AGREED = 1024


@dataclass(frozen=True)
class Advert:
    """One member's keys for one sum, with its count of its own attempts at it."""

    name: str
    agreed: str
    ring: Mapping[str, Any]
    attempt: int
    mask_key: bytes
    cipher_key: bytes
    certificate: bytes = field(repr=False)
    signature: bytes = field(default=b"", repr=False)

    def to_json(self) -> dict[str, Any]:
        """All but the name, which stands where the advert is listed."""
        return {
            "agreed": self.agreed,
            "ring": dict(self.ring),
            "attempt": self.attempt,
            "mask_key": self.mask_key.hex(),
            "cipher_key": self.cipher_key.hex(),
            "certificate": self.certificate.decode("ascii"),
            "signature": self.signature.hex(),
        }

    @classmethod
    def from_json(cls, name: str, data: Any) -> "Advert":
        """Read ``to_json``. Raises MessageRejected, naming the site, for anything else."""
        if not isinstance(data, dict) or set(data) != set(FIELDS):
            raise rejected(name, f"its advert must hold exactly {', '.join(FIELDS)}")
        return cls(
            name,
            _text(name, data["agreed"]),
            _ring(name, data["ring"]),
            _attempt(name, data["attempt"]),
            bytes_of(data["mask_key"], f"mask_key of {name}", KEY_BYTES),
            bytes_of(data["cipher_key"], f"cipher_key of {name}", KEY_BYTES),
            _pem(name, data["certificate"]),
            bytes_of(data["signature"], f"signature of {name}", most=LONGEST_SIGNATURE),
        )


def make_advert(identity: Identity, context: Context, attempt: int, keys: SessionKeys) -> Advert:
    """The advert of ``identity`` for its ``attempt`` at one sum."""
    advert = Advert(
        identity.name,
        context.agreed,
        context.ring,
        attempt,
        keys.mask_public,
        keys.cipher_public,
        identity.certificate,
    )
    return replace(advert, signature=identity.sign(_to_sign(advert, context)))


def check_advert(advert: Advert, context: Context, root: ProjectRoot) -> None:
    """Raises MessageRejected, naming the site, unless its keys may be used in this sum.

    The signature comes first: only who signed another model or ring is said to have it.
    """
    root.verify(advert.name, advert.certificate, advert.signature, _to_sign(advert, context))
    if canonical(advert.ring) != canonical(context.ring):
        raise rejected(
            advert.name,
            f"it counts in another ring, {canonical(advert.ring).decode()}, than the one here, "
            f"{canonical(context.ring).decode()}; use the same run file everywhere",
        )
    if advert.agreed != context.agreed:
        raise rejected(
            advert.name,
            f"it trained another model: it holds {advert.agreed!r}, and here it is "
            f"{context.agreed!r}. Somebody gave out different models, or a site must catch up",
        )
    for what, key in (("mask", advert.mask_key), ("cipher", advert.cipher_key)):
        if not keeps_secrets(key):
            raise rejected(advert.name, f"its {what} key is no key that keeps a secret")
    if advert.mask_key == advert.cipher_key:
        raise rejected(advert.name, "its mask key is its cipher key too; shares would open it")


def _to_sign(advert: Advert, context: Context) -> bytes:
    """The bytes under the signature: the sum as the signer sees it, and all of the advert."""
    seen = replace(context, agreed=advert.agreed, ring=advert.ring)
    content = [
        seen.digest().hex(),
        advert.name,
        advert.attempt,
        advert.mask_key.hex(),
        advert.cipher_key.hex(),
    ]
    return LABEL + b"\0" + canonical(content)


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or len(value) > LONGEST_AGREED or not value.isprintable():
        raise rejected(name, f"agreed of its advert must be text, {LONGEST_AGREED} at most")
    return value


def _pem(name: str, value: Any) -> bytes:
    if not isinstance(value, str) or len(value) > LONGEST_CERTIFICATE or not value.isascii():
        raise rejected(
            name, f"certificate of its advert must be PEM, {LONGEST_CERTIFICATE} at most"
        )
    return value.encode("ascii")


def _attempt(name: str, value: Any) -> int:
    if type(value) is not int or not 0 <= value <= LAST_ATTEMPT:
        raise rejected(name, "attempt of its advert must be a whole number from 0 on")
    return value


def _ring(name: str, value: Any) -> dict[str, Any]:
    """Its content is compared with our own; here it is only kept small and plain."""
    plain = isinstance(value, dict) and all(
        isinstance(entry, (int, float)) or (isinstance(entry, str) and entry.isprintable())
        for entry in (*value.keys(), *value.values())
    )
    if not plain or len(json.dumps(value)) > LONGEST_AGREED:
        raise rejected(name, "ring of its advert must be a few named numbers")
    return dict(value)

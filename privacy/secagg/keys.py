"""The keys of one session of a secure sum: fresh X25519 pairs, signed by the site's certificate.

Bonawitz et al. CCS 2017, section 4, advertise round with signatures. Every derived key is bound
to the sum's context, its attempt and both sites, so that it is worth nothing in any other place.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from privacy.identity import LONGEST_SIGNATURE, Identity
from privacy.project_root import LONGEST_CERTIFICATE, ProjectRoot, rejected
from privacy.secagg.context import Context
from privacy.secagg.steps import canonical

KEY_BYTES = 32
MASK, SELF, CIPHER, ADVERT = (
    b"fedefm secagg 1 mask",
    b"fedefm secagg 1 self",
    b"fedefm secagg 1 cipher",
    b"fedefm secagg 1 advert",
)
LAST_ATTEMPT = 2**31 - 1
LONGEST_AGREED = 1024
_PRIME = 2**255 - 19
_PROBE = bytes(KEY_BYTES - 1) + b"\x40"  # any private key shows a point of low order


@dataclass(frozen=True)
class SessionKeys:
    """Two X25519 pairs, raw: one for the masks between two members, one to seal shares.

    Two, because the mask's private key is given away in shares, and the other never is.
    """

    mask_private: bytes = field(repr=False)
    mask_public: bytes
    cipher_private: bytes = field(repr=False)
    cipher_public: bytes

    @classmethod
    def fresh(cls) -> "SessionKeys":
        """New ones, for one attempt at one sum."""
        mask, cipher = X25519PrivateKey.generate(), X25519PrivateKey.generate()
        return cls(
            mask.private_bytes_raw(),
            mask.public_key().public_bytes_raw(),
            cipher.private_bytes_raw(),
            cipher.public_key().public_bytes_raw(),
        )


@dataclass(frozen=True)
class Advert:
    """What a member says first: its keys and what it takes for agreed, signed."""

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
        wanted = {"agreed", "ring", "attempt", "mask_key", "cipher_key", "certificate", "signature"}
        if not isinstance(data, dict) or set(data) != wanted:
            raise rejected(name, f"its advert must hold exactly {', '.join(sorted(wanted))}")
        return cls(
            name,
            _text(name, "agreed", data["agreed"], LONGEST_AGREED),
            _ring(name, data["ring"]),
            _attempt(name, data["attempt"]),
            _hex(name, "mask_key", data["mask_key"], KEY_BYTES, KEY_BYTES),
            _hex(name, "cipher_key", data["cipher_key"], KEY_BYTES, KEY_BYTES),
            _ascii(name, "certificate", data["certificate"]),
            _hex(name, "signature", data["signature"], 1, LONGEST_SIGNATURE),
        )


def make_advert(identity: Identity, context: Context, attempt: int, keys: SessionKeys) -> Advert:
    """The advert of ``identity`` for one sum, with ``attempt`` as the least that it may use."""
    advert = Advert(
        identity.name,
        context.agreed,
        context.ring,
        attempt,
        keys.mask_public,
        keys.cipher_public,
        identity.certificate,
    )
    return replace(advert, signature=identity.sign(_signed(advert, context)))


def check_advert(advert: Advert, context: Context, root: ProjectRoot) -> None:
    """Raises MessageRejected, naming the site, unless its keys may be used in this sum.

    The signature comes first: only who signed another model or ring is said to have it.
    """
    root.verify(advert.name, advert.certificate, advert.signature, _signed(advert, context))
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
        if int.from_bytes(key, "little") >= _PRIME or _exchanged(_PROBE, key) is None:
            raise rejected(advert.name, f"its {what} key is no key that keeps a secret")
    if advert.mask_key == advert.cipher_key:
        raise rejected(advert.name, "its mask key is its cipher key too; shares would open it")


def pair_mask_key(
    own_private: bytes, other_public: bytes, context_digest: bytes, one: str, other: str
) -> bytes:
    """The 32-byte key of the mask between ``one`` and ``other``; both get the same one.

    ``context_digest`` is that with the attempt. Raises MessageRejected, naming ``other``, where
    its public key gives no secret or is a reflection of our own.
    """
    pair = sorted([one, other])
    return _agreed_key(MASK, own_private, other_public, context_digest, pair, other)


def cipher_key(
    own_private: bytes, other_public: bytes, context_digest: bytes, owner: str, holder: str
) -> bytes:
    """The 32-byte key under which ``owner`` seals shares for ``holder``, the same for both.

    Another one than that of the way back. Raises MessageRejected as ``pair_mask_key``.
    """
    both = f"{owner} and {holder}"
    return _agreed_key(CIPHER, own_private, other_public, context_digest, [owner, holder], both)


def self_mask_key(seed: bytes, context_digest: bytes) -> bytes:
    """The 32-byte key of a member's self mask, out of its 32-byte seed."""
    return _derived(SELF, seed, context_digest, [])


def _agreed_key(
    label: bytes, private: bytes, public: bytes, digest: bytes, names: list[str], blamed: str
) -> bytes:
    own = X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()
    if public == own:
        raise rejected(blamed, "the public key is a reflection of our own; the sum cannot go on")
    secret = _exchanged(private, public)
    if secret is None:
        raise rejected(blamed, "the public key keeps no secret: it is a point of low order")
    return _derived(label, secret, digest, [*names, *sorted([own.hex(), public.hex()])])


def _exchanged(private: bytes, public: bytes) -> bytes | None:
    """The X25519 secret; None where ``public`` is of low order, so that all know the secret."""
    try:
        other = X25519PublicKey.from_public_bytes(public)
        return X25519PrivateKey.from_private_bytes(private).exchange(other)
    except ValueError:  # cryptography refuses the all-zero secret, as RFC 7748 section 6.1 asks
        return None


def _derived(label: bytes, secret: bytes, context_digest: bytes, rest: list[str]) -> bytes:
    """HKDF-SHA256 (RFC 5869), without salt; info: label, 0, digest of the context, JSON of rest."""
    info = label + b"\0" + context_digest + canonical(rest)
    return HKDF(hashes.SHA256(), KEY_BYTES, salt=None, info=info).derive(secret)


def _signed(advert: Advert, context: Context) -> bytes:
    """What the signature covers: the sum as the signer sees it, and all of the advert."""
    seen = replace(context, agreed=advert.agreed, ring=advert.ring)
    content = [
        seen.digest().hex(),
        advert.name,
        advert.attempt,
        advert.mask_key.hex(),
        advert.cipher_key.hex(),
    ]
    return ADVERT + b"\0" + canonical(content)


def _text(name: str, what: str, value: Any, longest: int) -> str:
    if not isinstance(value, str) or len(value) > longest or not value.isprintable():
        raise rejected(name, f"{what} of its advert must be text of at most {longest} characters")
    return value


def _ascii(name: str, what: str, value: Any) -> bytes:
    if not isinstance(value, str) or len(value) > LONGEST_CERTIFICATE or not value.isascii():
        raise rejected(name, f"{what} of its advert must be PEM, {LONGEST_CERTIFICATE} at most")
    return value.encode("ascii")


def _hex(name: str, what: str, value: Any, shortest: int, longest: int) -> bytes:
    try:
        raw = bytes.fromhex(value)
    except (TypeError, ValueError):
        raw = b""
    if not shortest <= len(raw) <= longest or raw.hex() != value:
        size = str(longest) if shortest == longest else f"{shortest} to {longest}"
        raise rejected(name, f"{what} of its advert must be {size} bytes in lower-case hex")
    return raw


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

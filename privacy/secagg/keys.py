"""The keys of one session of a secure sum: X25519 pairs, and what two sites derive from them.

Every derived key is bound to the session (its context, its attempts and all keys in its roster)
and to both sites, so that it is worth nothing in any other place.
"""

from dataclasses import dataclass, field

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from privacy.project_root import rejected
from privacy.secagg.steps import canonical

KEY_BYTES = 32
MASK, SELF, CIPHER = b"fedefm secagg 1 mask", b"fedefm secagg 1 self", b"fedefm secagg 1 cipher"
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


def pair_mask_key(
    own_private: bytes, other_public: bytes, session: bytes, one: str, other: str
) -> bytes:
    """The 32-byte key of the mask between ``one`` and ``other``; both get the same one.

    ``session`` is the 32-byte digest of the session. Raises MessageRejected, naming ``other``,
    where its public key gives no secret or is a reflection of our own.
    """
    return _agreed(MASK, own_private, other_public, session, sorted([one, other]), other)


def cipher_key(
    own_private: bytes, other_public: bytes, session: bytes, owner: str, holder: str
) -> bytes:
    """The 32-byte key under which ``owner`` seals shares for ``holder``, the same for both.

    Another one than that of the way back. Raises MessageRejected as ``pair_mask_key``.
    """
    both = f"{owner} and {holder}"
    return _agreed(CIPHER, own_private, other_public, session, [owner, holder], both)


def self_mask_key(seed: bytes, session: bytes) -> bytes:
    """The 32-byte key of a member's self mask, out of its 32-byte seed."""
    return _derived(SELF, seed, session, [])


def keeps_secrets(public: bytes) -> bool:
    """Whether a public key is in its one form, and of a point that is not of low order."""
    return int.from_bytes(public, "little") < _PRIME and _exchanged(_PROBE, public) is not None


def _agreed(
    label: bytes, private: bytes, public: bytes, session: bytes, names: list[str], blamed: str
) -> bytes:
    own = X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()
    if public == own:
        raise rejected(blamed, "the public key is a reflection of our own; the sum cannot go on")
    secret = _exchanged(private, public)
    if secret is None:
        raise rejected(blamed, "the public key keeps no secret: it is a point of low order")
    return _derived(label, secret, session, [*names, *sorted([own.hex(), public.hex()])])


def _exchanged(private: bytes, public: bytes) -> bytes | None:
    """The X25519 secret; None where ``public`` is of low order, so that all know the secret."""
    try:
        other = X25519PublicKey.from_public_bytes(public)
        return X25519PrivateKey.from_private_bytes(private).exchange(other)
    except ValueError:  # cryptography refuses the all-zero secret, as RFC 7748 section 6.1 asks
        return None


def _derived(label: bytes, secret: bytes, session: bytes, rest: list[str]) -> bytes:
    """HKDF-SHA256 (RFC 5869) without salt; info: label, a zero, the session, ``rest`` as JSON."""
    info = label + b"\0" + session + canonical(rest)
    return HKDF(hashes.SHA256(), KEY_BYTES, salt=None, info=info).derive(secret)

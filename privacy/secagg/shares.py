"""Shamir's secret sharing, t of n, and how a share travels to its holder and is recognized.

Shamir, CACM 1979, over the prime field of 2^521 - 1. Python's integers take a time that depends
on their values. That is acceptable here: each secret is random, is split once and never again, so
that nobody can measure twice.
"""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from fedefm.errors import MessageRejected, ProtocolError
from privacy.secagg.steps import canonical

PRIME = 2**521 - 1
SECRET_BYTES = 32
SHARE_BYTES = 66  # the least that hold every number of the field
MOST_HOLDERS = 2**16 - 1
SEED, KEY = b"fedefm secagg 1 share of a seed", b"fedefm secagg 1 share of a key"
WHOLE_SEED, SEALED = b"fedefm secagg 1 seed", b"fedefm secagg 1 sealed shares"


@dataclass(frozen=True)
class Share:
    """A point of the polynomial: ``index`` from 1 on, ``value`` 66 bytes, big-endian."""

    index: int
    value: bytes = field(repr=False)


def split(secret: bytes, threshold: int, count: int) -> list[Share]:
    """Shares 1 to ``count`` of a 32-byte ``secret``.

    Any ``threshold`` of them give it back; fewer say nothing about it.
    """
    if len(secret) != SECRET_BYTES or not 2 <= threshold <= count <= MOST_HOLDERS:
        raise ProtocolError(
            f"cannot split {len(secret)} bytes for {threshold} of {count} holders; it takes "
            f"{SECRET_BYTES} bytes and 2 <= threshold <= holders <= {MOST_HOLDERS}"
        )
    coefficients = [int.from_bytes(secret, "big")]
    coefficients += [secrets.randbelow(PRIME) for _ in range(threshold - 1)]
    return [
        Share(index, _value(coefficients, index).to_bytes(SHARE_BYTES, "big"))
        for index in range(1, count + 1)
    ]


def combine(shares: Sequence[Share], threshold: int) -> bytes:
    """The secret out of at least ``threshold`` shares, all of which must fit one another.

    Raises ProtocolError where they are too few, double, out of range or of no 32-byte secret.
    Among just ``threshold`` of them a wrong one need not be noticed: compare each with its
    ``commitment`` first.
    """
    points = _points(shares)
    if threshold < 2 or len(points) < threshold:
        raise ProtocolError(f"{len(points)} shares are too few to open a secret of {threshold}")
    known = dict(sorted(points.items())[:threshold])
    if any(_at(known, index) != value for index, value in points.items() if index not in known):
        raise ProtocolError("the shares are not of one secret: one of them is wrong")
    secret = _at(known, 0)
    if secret >= 2 ** (8 * SECRET_BYTES):
        raise ProtocolError(f"the shares give no secret of {SECRET_BYTES} bytes: one is wrong")
    return secret.to_bytes(SECRET_BYTES, "big")


def commitment(
    session: bytes, owner: str, holder: str, seed_share: Share, key_share: Share
) -> bytes:
    """What an owner tells all about the two shares of one holder: 64 bytes, a SHA-256 of each.

    Of each, because a holder only ever shows one of the two. Binding by SHA-256. Hiding because a
    secret is 32 random bytes: also who knows all shares but one must guess those to try a digest.
    """
    place = (session, owner, holder)
    return _committed(SEED, *place, seed_share) + _committed(KEY, *place, key_share)


def fits_seed(committed: bytes, session: bytes, owner: str, holder: str, share: Share) -> bool:
    """Whether ``share`` is the one of the owner's seed in ``commitment``."""
    return committed[:32] == _committed(SEED, session, owner, holder, share)


def fits_key(committed: bytes, session: bytes, owner: str, holder: str, share: Share) -> bool:
    """Whether ``share`` is the one of the owner's mask key in ``commitment``."""
    return committed[32:] == _committed(KEY, session, owner, holder, share)


def seed_commitment(session: bytes, owner: str, seed: bytes) -> bytes:
    """What an owner tells all about its 32-byte seed: SHA-256, hiding since the seed is random."""
    return _digest(WHOLE_SEED, session, [owner], seed)


def sealing_place(session: bytes, owner: str, holder: str) -> bytes:
    """The associated data of the shares that ``owner`` seals for ``holder`` in one attempt."""
    return SEALED + b"\0" + session + canonical([owner, holder])


def seal(key: bytes, blob: bytes, aad: bytes) -> bytes:
    """ChaCha20-Poly1305 of ``blob``, bound to ``aad``.

    The nonce is zero, which is right as ``key`` (``keys.cipher_key``) seals once: it is of one
    attempt, one owner and one holder, and out of a pair that was fresh.
    """
    return ChaCha20Poly1305(key).encrypt(bytes(12), blob, aad)


def unseal(key: bytes, sealed: bytes, aad: bytes) -> bytes:
    """Open ``seal``. Raises MessageRejected where it was altered or is for another place."""
    try:
        return ChaCha20Poly1305(key).decrypt(bytes(12), sealed, aad)
    except (InvalidTag, ValueError):
        raise MessageRejected(
            "a sealed share does not open: it was altered or is for another place"
        ) from None


def join(seed_share: Share, key_share: Share) -> bytes:
    """The blob of one holder's two shares, to be sealed."""
    return seed_share.value + key_share.value


def part(blob: bytes, index: int) -> tuple[Share, Share]:
    """The two shares of holder ``index`` out of ``join``. Raises MessageRejected."""
    if len(blob) != 2 * SHARE_BYTES:
        raise MessageRejected(f"a pair of shares has {len(blob)} bytes, not {2 * SHARE_BYTES}")
    return Share(index, blob[:SHARE_BYTES]), Share(index, blob[SHARE_BYTES:])


def _value(coefficients: Sequence[int], x: int) -> int:
    total = 0
    for coefficient in reversed(coefficients):
        total = (total * x + coefficient) % PRIME
    return total


def _points(shares: Sequence[Share]) -> dict[int, int]:
    points: dict[int, int] = {}
    for share in shares:
        number = int.from_bytes(share.value, "big")
        if not 1 <= share.index <= MOST_HOLDERS or share.index in points:
            raise ProtocolError(f"share {share.index} is there twice, or is no share's number")
        if len(share.value) != SHARE_BYTES or number >= PRIME:
            raise ProtocolError(f"share {share.index} is no number of the field")
        points[share.index] = number
    return points


def _at(points: dict[int, int], x: int) -> int:
    """Lagrange: where the polynomial through ``points`` is at ``x``."""
    total = 0
    for here, value in points.items():
        above = below = 1
        for there in points:
            if there != here:
                above = above * (x - there) % PRIME
                below = below * (here - there) % PRIME
        total += value * above * pow(below, -1, PRIME)
    return total % PRIME


def _committed(label: bytes, session: bytes, owner: str, holder: str, share: Share) -> bytes:
    return _digest(label, session, [owner, holder, share.index], share.value)


def _digest(label: bytes, session: bytes, place: list[str | int], content: bytes) -> bytes:
    text = canonical([label.decode("ascii"), session.hex(), place, content.hex()])
    return hashlib.sha256(text).digest()

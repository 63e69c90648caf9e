"""Session keys: only the two sites of a pair have theirs, and only for one sum and attempt."""

import hmac
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedefm.errors import MessageRejected
from privacy.secagg.context import Context
from privacy.secagg.keys import (
    SessionKeys,
    cipher_key,
    keeps_secrets,
    pair_mask_key,
    self_mask_key,
)

P = 2**255 - 19
RING = {"bits": 32, "value_bits": 24, "bound": 8.0, "parties": 4}
CONTEXT = Context("job", "run", 3, "sum", "server", ("a", "b", "c", "d"), False, RING, "model 7")
DIGEST = CONTEXT.digest(1)
KEYS = SessionKeys.fresh()
# Points whose multiples are all known, RFC 7748 section 7 and Bernstein's list; the last few are
# further writings of the first ones.
LOW_ORDER = [
    0,
    1,
    325606250916557431795983626356110631294008115727848805560023387167927233504,
    39382357235489614581723060781553021112529911719440698176882885853963445705823,
    P - 1,
    P,
    P + 1,
    2**255,
    2**255 + 1,
]


# ---------------------------------------------------------------- an implementation of its own


def x25519(private: bytes, public: bytes) -> bytes:
    """RFC 7748 section 5: the ladder, in whole numbers."""
    scalar = int.from_bytes(private, "little") & ~7 & (2**255 - 1) | 2**254
    x1 = int.from_bytes(public, "little") % 2**255
    x2, z2, x3, z3 = 1, 0, x1, 1
    for bit in reversed(range(255)):
        if scalar >> bit & 1:
            x2, z2, x3, z3 = x3, z3, x2, z2
        plus, minus = (x2 + z2) ** 2, (x2 - z2) ** 2
        crossed, across = (x3 - z3) * (x2 + z2), (x3 + z3) * (x2 - z2)
        x3, z3 = (crossed + across) ** 2 % P, x1 * (crossed - across) ** 2 % P
        x2, z2 = plus * minus % P, (plus - minus) * (plus + 121665 * (plus - minus)) % P
        if scalar >> bit & 1:
            x2, z2, x3, z3 = x3, z3, x2, z2
    return (x2 * pow(z2, -1, P) % P).to_bytes(32, "little")


def hkdf(secret: bytes, info: bytes, length: int = 32, salt: bytes = b"") -> bytes:
    """RFC 5869, from the standard library's HMAC."""
    key = hmac.digest(salt or bytes(32), secret, "sha256")
    out = last = b""
    while len(out) < length:
        last = hmac.digest(key, last + info + bytes([len(out) // 32 + 1]), "sha256")
        out += last
    return out[:length]


def number(text: str) -> bytes:
    return bytes.fromhex(text)


ALICE = number("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
ALICE_PUBLIC = number("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")
BOB = number("5dab087e624a8a4b79e17f8b83800ee66f3bb1292618b6fd1c2f8b27ff88e0eb")
BOB_PUBLIC = number("de9edb7d7b7dc1b4d35b61c2ece435373f8343c85b78674dadfc7e146f882b4f")
SHARED = number("4a5d9d5ba4ce2de1728e3bf480350f25e07e21c947d19e3376f09b3c1e161742")


def test_the_oracle_gives_the_vectors_of_rfc_7748() -> None:
    nine = (9).to_bytes(32, "little")
    assert x25519(ALICE, nine) == ALICE_PUBLIC
    assert x25519(BOB, nine) == BOB_PUBLIC
    assert x25519(ALICE, BOB_PUBLIC) == x25519(BOB, ALICE_PUBLIC) == SHARED


def test_the_oracle_gives_the_vectors_of_rfc_5869() -> None:
    first = hkdf(b"\x0b" * 22, bytes(range(0xF0, 0xFA)), 42, bytes(range(13)))
    assert first.hex() == (
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
    )
    third = hkdf(b"\x0b" * 22, b"", 42)
    assert third.hex() == (
        "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"
    )


def info(label: str, digest: bytes, names: list[str]) -> bytes:
    return label.encode() + b"\0" + digest + json.dumps(names, separators=(",", ":")).encode()


PUBLICS = [ALICE_PUBLIC.hex(), BOB_PUBLIC.hex()]  # sorted


@pytest.mark.parametrize("digest", [bytes(32), bytes(range(32))], ids=["zeros", "other"])
def test_keys_are_those_of_the_published_formula(digest: bytes) -> None:
    mask = hkdf(SHARED, info("fedefm secagg 1 mask", digest, ["a", "b", *PUBLICS]))
    assert pair_mask_key(ALICE, BOB_PUBLIC, digest, "b", "a") == mask
    sealing = hkdf(SHARED, info("fedefm secagg 1 cipher", digest, ["b", "a", *PUBLICS]))
    assert cipher_key(ALICE, BOB_PUBLIC, digest, "b", "a") == sealing
    own = hkdf(ALICE, info("fedefm secagg 1 self", digest, []))
    assert self_mask_key(ALICE, digest) == own


def test_keys_are_the_same_as_in_every_earlier_version() -> None:
    given = (ALICE, BOB_PUBLIC, bytes(range(32)), "site-1", "site-2")
    assert pair_mask_key(*given).hex() == (
        "c3dd9a02d4b7c3c6b3b7541fcf9b4fdd135dc7cb4e03647b032ebe7ad2e61524"
    )
    assert cipher_key(*given).hex() == (
        "4b92fd7e75fb76467592b78ca1398c82f487bcce303f7074cb9c9327fb3a1f28"
    )
    assert self_mask_key(ALICE, bytes(range(32))).hex() == (
        "f012ce2fd61301e770f7f229e8fd96a0ca2c15a8c0aeda747eb3b478eb9f467f"
    )


# ---------------------------------------------------------------- who has which key

NAMES = st.text(min_size=1, max_size=5)


@given(NAMES, NAMES)
def test_both_sites_of_a_pair_derive_the_same_keys(one: str, other: str) -> None:
    a, b = SessionKeys.fresh(), SessionKeys.fresh()
    masks = {
        pair_mask_key(a.mask_private, b.mask_public, DIGEST, one, other),
        pair_mask_key(b.mask_private, a.mask_public, DIGEST, other, one),
    }
    sealing = {
        cipher_key(a.cipher_private, b.cipher_public, DIGEST, one, other),
        cipher_key(b.cipher_private, a.cipher_public, DIGEST, one, other),
    }
    assert len(masks) == len(sealing) == 1


def test_no_key_is_good_for_anything_else() -> None:
    a, b = SessionKeys.fresh(), SessionKeys.fresh()
    other_sums = [
        CONTEXT.digest(2),
        replace(CONTEXT, round=4).digest(1),
        replace(CONTEXT, receiver="d").digest(1),
        replace(CONTEXT, what="metrics").digest(1),
        replace(CONTEXT, agreed="model 8").digest(1),
        replace(CONTEXT, members=("a", "b", "c")).digest(1),
        replace(CONTEXT, run_id="rerun").digest(1),
        replace(CONTEXT, joins=True).digest(1),
    ]
    places = [("a", "b"), ("a", "c"), ("ab", "c"), ("a", "bc"), ('a","b', "c"), ("a", 'b","c')]
    pair = (a.mask_private, b.mask_public)
    found = [pair_mask_key(*pair, digest, "a", "b") for digest in other_sums]
    found += [pair_mask_key(*pair, DIGEST, *names) for names in places]
    found += [cipher_key(*pair, DIGEST, *names) for names in places]
    found += [cipher_key(*pair, DIGEST, "b", "a"), cipher_key(*pair, other_sums[0], "a", "b")]
    found += [self_mask_key(a.mask_private, digest) for digest in (DIGEST, *other_sums)]
    assert len(set(found)) == len(found)


def test_every_session_has_fresh_keys() -> None:
    made = [SessionKeys.fresh() for _ in range(50)]
    raw = {key for keys in made for key in vars(keys).values()}
    assert len(raw) == 4 * len(made)
    assert {len(key) for key in raw} == {32}


def test_no_text_of_session_keys_shows_a_private_one() -> None:
    keys = SessionKeys.fresh()
    for secret in (keys.mask_private, keys.cipher_private):
        for text in (repr(keys), str(keys), f"{keys}"):
            assert repr(secret)[2:-1] not in text
            assert secret.hex() not in text


# ---------------------------------------------------------------- keys that keep no secret


@pytest.mark.parametrize("point", LOW_ORDER)
def test_a_key_of_low_order_is_refused_by_name(point: int) -> None:
    public = point.to_bytes(32, "little")
    with pytest.raises(MessageRejected, match=r"^eve: the public key keeps no secret"):
        pair_mask_key(KEYS.mask_private, public, DIGEST, "a", "eve")
    with pytest.raises(MessageRejected, match=r"^a and eve: the public key keeps no secret"):
        cipher_key(KEYS.cipher_private, public, DIGEST, "a", "eve")


@pytest.mark.parametrize("point", [*LOW_ORDER, P + 9, 2**255 + 9])
def test_only_a_key_in_its_one_form_and_of_high_order_keeps_secrets(point: int) -> None:
    assert not keeps_secrets(point.to_bytes(32, "little"))
    assert keeps_secrets((9).to_bytes(32, "little"))
    assert all(keeps_secrets(SessionKeys.fresh().mask_public) for _ in range(20))


def test_our_own_key_sent_back_is_refused() -> None:
    with pytest.raises(MessageRejected, match=r"^eve: the public key is a reflection of our own"):
        pair_mask_key(KEYS.mask_private, KEYS.mask_public, DIGEST, "a", "eve")
    with pytest.raises(MessageRejected, match=r"^a and eve: .* reflection of our own"):
        cipher_key(KEYS.cipher_private, KEYS.cipher_public, DIGEST, "a", "eve")

"""Enough shares give a secret back, fewer say nothing, and a wrong one is noticed."""

import hashlib
import itertools
import json
import random
import secrets
from collections.abc import Mapping, Sequence
from fractions import Fraction

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20
from cryptography.hazmat.primitives.poly1305 import Poly1305
from hypothesis import given
from hypothesis import strategies as st
from sympy import GF
from sympy.polys.matrices import DomainMatrix

from fedefm.errors import MessageRejected, ProtocolError
from privacy.secagg import shares
from privacy.secagg.shares import PRIME, SHARE_BYTES, Share, combine, split

DIGEST = bytes(range(32))
SECRETS = st.binary(min_size=32, max_size=32)
SIZES = st.integers(2, 12).flatmap(lambda n: st.tuples(st.integers(2, n), st.just(n)))


def share(index: int, number: int) -> Share:
    return Share(index, number.to_bytes(SHARE_BYTES, "big"))


def number(one: Share) -> int:
    return int.from_bytes(one.value, "big")


def coefficients_by_sympy(points: Sequence[Share]) -> list[int]:
    """The polynomial through the points, constant first: Gauss on Vandermonde's matrix."""
    field = GF(PRIME, symmetric=False)
    rows = [[field(point.index**power) for power in range(len(points))] for point in points]
    values = [[field(number(point))] for point in points]
    size = len(points)
    solved = DomainMatrix(rows, (size, size), field).lu_solve(
        DomainMatrix(values, (size, 1), field)
    )
    return [int(row[0]) for row in solved.to_list()]


def through(points: Mapping[int, int], x: int) -> int:
    """Lagrange over the rationals, brought into the field only at the end."""
    total = Fraction(0)
    for here, value in points.items():
        weight = Fraction(1)
        for there in points:
            if there != here:
                weight *= Fraction(x - there, here - there)
        total += value * weight
    return total.numerator * pow(total.denominator, -1, PRIME) % PRIME


# ---------------------------------------------------------------- known answers


def test_an_example_worked_by_hand() -> None:
    # f(x) = 1234 + 166 x + 94 x^2, the example of Wikipedia's article on Shamir's scheme
    points = {1: 1494, 2: 1942, 3: 2578, 4: 3402, 5: 4414, 6: 5614}
    for chosen in itertools.combinations(points, 3):
        secret = combine([share(index, points[index]) for index in chosen], 3)
        assert int.from_bytes(secret, "big") == 1234


def test_shares_are_the_values_of_the_polynomial_that_was_drawn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn = iter([166, 94])
    monkeypatch.setattr(secrets, "randbelow", lambda bound: next(drawn))
    made = split((1234).to_bytes(32, "big"), 3, 6)
    assert [(one.index, number(one)) for one in made] == [
        (1, 1494),
        (2, 1942),
        (3, 2578),
        (4, 3402),
        (5, 4414),
        (6, 5614),
    ]


def test_the_field_is_that_of_a_mersenne_prime() -> None:
    assert PRIME == 2**521 - 1
    remainder = 4  # Lucas and Lehmer
    for _ in range(521 - 2):
        remainder = (remainder * remainder - 2) % PRIME
    assert remainder == 0


# ---------------------------------------------------------------- against another library


@given(SECRETS, SIZES, st.randoms(use_true_random=False))
def test_sympy_finds_the_secret_in_our_shares(
    secret: bytes, size: tuple[int, int], rng: random.Random
) -> None:
    threshold, count = size
    chosen = rng.sample(split(secret, threshold, count), threshold)
    assert coefficients_by_sympy(chosen)[0] == int.from_bytes(secret, "big")


@given(SECRETS, SIZES)
def test_sympy_finds_a_polynomial_of_full_degree_through_all_our_shares(
    secret: bytes, size: tuple[int, int]
) -> None:
    threshold, count = size
    found = coefficients_by_sympy(split(secret, threshold, count))
    assert all(found[:threshold][1:])
    assert not any(found[threshold:])


@given(SECRETS, SIZES, st.randoms(use_true_random=False))
def test_we_find_the_secret_in_shares_that_were_made_elsewhere(
    secret: bytes, size: tuple[int, int], rng: random.Random
) -> None:
    threshold, count = size
    drawn = {0: int.from_bytes(secret, "big")}
    drawn |= {index: rng.randrange(PRIME) for index in range(1, threshold)}
    made = [share(index, through(drawn, index)) for index in range(1, count + 1)]
    assert combine(rng.sample(made, threshold), threshold) == secret


# ---------------------------------------------------------------- what shares say


@given(SECRETS, SIZES, st.randoms(use_true_random=False))
def test_any_threshold_of_them_or_more_give_the_secret(
    secret: bytes, size: tuple[int, int], rng: random.Random
) -> None:
    threshold, count = size
    made = split(secret, threshold, count)
    assert [one.index for one in made] == list(range(1, count + 1))
    assert {len(one.value) for one in made} == {SHARE_BYTES}
    assert combine(rng.sample(made, rng.randint(threshold, count)), threshold) == secret


@given(SECRETS, SECRETS, SIZES, st.randoms(use_true_random=False))
def test_fewer_fit_every_other_secret_just_as_well(
    secret: bytes, other: bytes, size: tuple[int, int], rng: random.Random
) -> None:
    threshold, count = size
    made = split(secret, threshold, count)
    known = {one.index: number(one) for one in rng.sample(made, threshold - 1)}
    # exactly one polynomial goes through them and the other secret: it deals shares of that
    supposed = {0: int.from_bytes(other, "big"), **known}
    dealt = [share(index, through(supposed, index)) for index in range(1, count + 1)]
    assert all(number(dealt[index - 1]) == value for index, value in known.items())
    assert combine(rng.sample(dealt, threshold), threshold) == other


@pytest.mark.parametrize("secret", [bytes(32), b"\xff" * 32], ids=["zeros", "ones"])
def test_a_share_is_any_number_of_the_field_whatever_the_secret(secret: bytes) -> None:
    drawn = [number(one) for _ in range(300) for one in split(secret, 3, 5)]
    upper = sum(value > PRIME // 2 for value in drawn) / len(drawn)
    odd = sum(value % 2 for value in drawn) / len(drawn)
    assert abs(upper - 0.5) < 0.08  # 6 standard deviations: any two shares are independent
    assert abs(odd - 0.5) < 0.08
    assert len(set(drawn)) == len(drawn)


# ---------------------------------------------------------------- what is refused

SPLIT = split(DIGEST, 3, 5)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "0 shares are too few to open a secret of 3"),
        (SPLIT[:2], "2 shares are too few"),
        ([*SPLIT[:2], SPLIT[1]], "share 2 is there twice"),
        ([*SPLIT[:3], Share(3, SPLIT[3].value)], "share 3 is there twice"),
        ([*SPLIT[:2], Share(0, SPLIT[2].value)], "share 0 is there twice, or is no"),
        ([*SPLIT[:2], Share(-1, SPLIT[2].value)], "share -1 is there twice, or is no"),
        ([*SPLIT[:2], Share(2**16, SPLIT[2].value)], "share 65536 is there twice, or is no"),
        ([*SPLIT[:2], share(3, PRIME)], "share 3 is no number of the field"),
        ([*SPLIT[:2], Share(3, SPLIT[2].value[1:])], "share 3 is no number of the field"),
        ([*SPLIT[:2], Share(3, b"\0" + SPLIT[2].value)], "share 3 is no number of the field"),
        ([*SPLIT[:2], share(3, 7)], "give no secret of 32 bytes: one is wrong"),
        ([*SPLIT[:3], share(4, 7)], "not of one secret: one of them is wrong"),
        ([*SPLIT[:2], Share(3, SPLIT[3].value)], "give no secret of 32 bytes"),
        ([*SPLIT[:2], split(DIGEST, 3, 5)[2]], "give no secret of 32 bytes"),
    ],
)
def test_shares_that_give_no_secret_are_refused(given: list[Share], message: str) -> None:
    with pytest.raises(ProtocolError, match=message):
        combine(given, 3)


@given(st.integers(0, 4), st.integers(1, PRIME - 1))
def test_with_one_share_more_than_needed_no_wrong_one_goes_unnoticed(which: int, by: int) -> None:
    wrong = list(SPLIT)
    wrong[which] = share(which + 1, (number(SPLIT[which]) + by) % PRIME)
    for index in {0, 4} - {which}:
        with pytest.raises(ProtocolError, match="not of one secret"):
            combine(wrong[:index] + wrong[index + 1 :], 3)


def test_with_just_enough_a_slightly_wrong_one_is_for_its_commitment_to_notice() -> None:
    wrong = [share(1, number(SPLIT[0]) + 1), *SPLIT[1:3]]  # Lagrange's weight of 1 is 3
    changed = int.from_bytes(combine(wrong, 3), "big")
    assert changed == int.from_bytes(DIGEST, "big") + 3
    committed = shares.commitment(DIGEST, "a", "b", SPLIT[0], SPLIT[0])
    assert not shares.fits_seed(committed, DIGEST, "a", "b", wrong[0])


@pytest.mark.parametrize(
    ("secret", "threshold", "count"),
    [(b"x" * 31, 2, 3), (b"x" * 33, 2, 3), (DIGEST, 1, 3), (DIGEST, 4, 3), (DIGEST, 2, 2**16)],
)
def test_what_cannot_be_split_is_refused(secret: bytes, threshold: int, count: int) -> None:
    with pytest.raises(ProtocolError, match=r"^cannot split \d+ bytes for"):
        split(secret, threshold, count)


def test_no_text_of_a_share_shows_it() -> None:
    assert repr(SPLIT[0]) == "Share(index=1)"


# ---------------------------------------------------------------- commitments

SEED_SHARE, KEY_SHARE = split(DIGEST, 2, 3)[1], split(bytes(32), 2, 3)[1]
COMMITTED = shares.commitment(DIGEST, "a", "b", SEED_SHARE, KEY_SHARE)


def test_a_commitment_is_the_two_digests_of_the_published_formula() -> None:
    def half(label: str, one: Share) -> bytes:
        content = [label, DIGEST.hex(), ["a", "b", 2], one.value.hex()]
        return hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).digest()

    assert half("fedefm secagg 1 share of a seed", SEED_SHARE) == COMMITTED[:32]
    assert half("fedefm secagg 1 share of a key", KEY_SHARE) == COMMITTED[32:]
    assert len(COMMITTED) == 64
    whole = json.dumps(
        ["fedefm secagg 1 seed", DIGEST.hex(), ["a"], bytes(32).hex()], separators=(",", ":")
    )
    assert shares.seed_commitment(DIGEST, "a", bytes(32)) == hashlib.sha256(whole.encode()).digest()


def test_a_share_fits_its_own_commitment_only() -> None:
    place = (COMMITTED, DIGEST, "a", "b")
    assert shares.fits_seed(*place, SEED_SHARE)
    assert shares.fits_key(*place, KEY_SHARE)
    for fits, one in ((shares.fits_seed, SEED_SHARE), (shares.fits_key, KEY_SHARE)):
        other = KEY_SHARE if one is SEED_SHARE else SEED_SHARE
        assert not fits(*place, other)
        assert not fits(*place, Share(1, one.value))
        assert not fits(*place, share(2, number(one) ^ 1))
        assert not fits(COMMITTED, DIGEST, "a", "c", one)
        assert not fits(COMMITTED, DIGEST, "b", "a", one)
        assert not fits(COMMITTED, bytes(32), "a", "b", one)
        assert not fits(COMMITTED[32:] + COMMITTED[:32], DIGEST, "a", "b", one)
        assert not fits(b"", DIGEST, "a", "b", one)
        assert not fits(COMMITTED[:16] + COMMITTED[32:48], DIGEST, "a", "b", one)


def test_a_seed_fits_its_own_commitment_only() -> None:
    committed = [
        shares.seed_commitment(digest, owner, seed)
        for digest in (DIGEST, bytes(32))
        for owner in ("a", "b")
        for seed in (DIGEST, bytes(32))
    ]
    assert len(set(committed)) == 8


# ---------------------------------------------------------------- sealed shares

KEY = bytes(range(100, 132))
PLACE = shares.sealing_place(DIGEST, "a", "b")


def by_hand(key: bytes, blob: bytes, aad: bytes) -> bytes:
    """RFC 8439 section 2.8 out of its two parts, with a nonce of zeros."""
    stream = Cipher(ChaCha20(key, bytes(16)), mode=None).encryptor()  # counter and nonce: 0
    mac = Poly1305(stream.update(bytes(64))[:32])
    sealed = stream.update(blob)
    for part in (aad, sealed):
        mac.update(part + bytes(-len(part) % 16))
    mac.update(len(aad).to_bytes(8, "little") + len(sealed).to_bytes(8, "little"))
    return sealed + mac.finalize()


@given(st.binary(max_size=200), st.binary(max_size=40))
def test_shares_are_sealed_as_rfc_8439_says(blob: bytes, aad: bytes) -> None:
    assert shares.seal(KEY, blob, aad) == by_hand(KEY, blob, aad)
    assert shares.unseal(KEY, by_hand(KEY, blob, aad), aad) == blob


def test_what_is_sealed_opens_in_its_own_place_only() -> None:
    sealed = shares.seal(KEY, shares.join(SEED_SHARE, KEY_SHARE), PLACE)
    assert shares.part(shares.unseal(KEY, sealed, PLACE), 2) == (SEED_SHARE, KEY_SHARE)
    elsewhere = [
        shares.sealing_place(DIGEST, "b", "a"),
        shares.sealing_place(DIGEST, "a", "c"),
        shares.sealing_place(bytes(32), "a", "b"),
        shares.sealing_place(DIGEST, 'a","b', ""),
    ]
    wrong = [(KEY, sealed, place) for place in elsewhere]
    wrong += [(bytes(32), sealed, PLACE), (KEY, b"", PLACE), (KEY, sealed[:-1], PLACE)]
    wrong += [(KEY, bytes([*sealed[:i], sealed[i] ^ 1, *sealed[i + 1 :]]), PLACE) for i in range(9)]
    for attempt in wrong:
        with pytest.raises(MessageRejected, match="a sealed share does not open"):
            shares.unseal(*attempt)


@pytest.mark.parametrize("length", [0, 66, 131, 133])
def test_a_pair_of_shares_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(MessageRejected, match=f"a pair of shares has {length} bytes, not 132"):
        shares.part(bytes(length), 1)

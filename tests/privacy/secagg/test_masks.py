"""Masks cancel, sums are exact, rounding is fair: against Python's integers and single blocks."""

import tracemalloc
from fractions import Fraction

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given, settings
from hypothesis import strategies as st

from fedefm.errors import ProtocolError
from privacy.secagg.masks import add_streams, add_vector, mask_input
from privacy.secagg.ring import BLOCK, Ring

RINGS = st.sampled_from([Ring.default(12, 8.0), Ring.default(12, 8.0, compact=True)])
FINE = Ring.default(12, 8.0, value_bits=28)
KEYS = st.integers(0, 2**64).map(lambda seed: key(seed))
ONLY_ROUND = ([], [])
ONE_AND_FLOAT32 = Fraction(65, 64)


def key(number: int) -> bytes:
    return number.to_bytes(32, "big")


def stream(secret: bytes, length: int) -> bytes:
    """Counter mode by hand: the counter's blocks enciphered one at a time."""
    block = Cipher(algorithms.AES(secret), modes.ECB()).encryptor()
    counters = range(-(-length // 16))
    return b"".join(block.update(count.to_bytes(16, "big")) for count in counters)[:length]


def numbers(secret: bytes, count: int, size: int = 4) -> list[int]:
    taken = stream(secret, size * count)
    return [int.from_bytes(taken[i : i + size], "little") for i in range(0, len(taken), size)]


def part(length: int, bound: float = 8.0, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    drawn = 0.05 * bound * rng.standard_t(2, length)
    return np.clip(drawn, -bound, bound).astype(np.float32)


def test_a_stream_is_aes_256_as_it_was_published():
    # zero key, counters 0, 1 and 2: H and E(K, Y0) of test case 13, and the ciphertext of zeros of
    # test case 14, in McGrew and Viega, "The Galois/Counter Mode of Operation", appendix B
    total = np.zeros(12, np.uint32)
    add_streams(total, [bytes(32)], [])
    blocks = ["dc95c078a2408989ad48a21492842087", "530f8afbc74536b9a963b4f1c4cb738b"]
    blocks += ["cea7403d4d606b6e074ec5d3baf39d18"]
    assert total.astype("<u4").tobytes().hex() == "".join(blocks)


@given(RINGS, st.lists(KEYS, max_size=3), st.lists(KEYS, max_size=3), KEYS, st.data())
def test_a_masked_part_is_what_whole_numbers_make_of_it(ring, plus, minus, rounding, data):
    values = data.draw(st.lists(st.floats(-8, 8, width=32), min_size=1, max_size=9))
    masked = mask_input(np.array(values, np.float32), ring, plus, minus, rounding)
    streams = [numbers(secret, len(values)) for secret in plus]
    streams += [[-n for n in numbers(secret, len(values))] for secret in minus]
    size = 2**ring.bits
    chance = numbers(rounding, len(values), size=2)
    for place, value in enumerate(values):
        hidden = sum(each[place] for each in streams)
        rounded = (int(masked[place]) - hidden + size // 2) % size - size // 2
        assert rounded in as_rounded(Fraction(value) / Fraction(ring.quantum), chance[place])
        assert masked[place] < size


def as_rounded(exact: Fraction, chance: int) -> set[int]:
    """Up if the chance (of 2^16) is below the fraction; either way in the last 2^-16 below it."""
    below = exact.numerator // exact.denominator
    threshold = (exact - below) * 2**16
    if chance >= threshold:
        return {below}
    return {below + 1} if chance < threshold - ONE_AND_FLOAT32 else {below, below + 1}


@settings(max_examples=30, deadline=None)
@given(RINGS | st.just(FINE), st.integers(2, 12), st.integers(1, 40), st.integers(0, 2**32))
def test_pairwise_masks_cancel_and_self_masks_come_off(ring, parties, length, seed):
    parts = [part(length, seed=seed + number) for number in range(parties)]
    total = np.zeros(length, np.uint32)
    for u in range(parties):
        plus = [pair(u, v) for v in range(u + 1, parties)]
        minus = [pair(v, u) for v in range(u)]
        give(total, mask_input(parts[u], ring, [own(u), *plus], minus, key(900 + u)), ring)
    add_streams(total, [], [own(u) for u in range(parties)])
    bare = np.zeros(length, np.uint32)
    for u in range(parties):
        give(bare, mask_input(parts[u], ring, *ONLY_ROUND, key(900 + u)), ring)
    assert np.array_equal(ring.signed(total), ring.signed(bare))
    close_to_the_sum(ring, total, parts)


def give(total: np.ndarray, part: np.ndarray, ring: Ring) -> None:
    add_vector(total, ring.pack(part.copy()), ring)


def pair(one: int, other: int) -> bytes:
    return key(100 * one + other + 10**6)


def own(party: int) -> bytes:
    return key(party + 10**9)


def close_to_the_sum(ring: Ring, total: np.ndarray, parts: list[np.ndarray]) -> None:
    """Within a quantum a party of the float64 sum; decoding adds float32's own rounding."""
    exact = np.sum([each.astype(np.float64) for each in parts], axis=0)
    in_quanta = ring.signed(total) * ring.quantum
    assert np.all(np.abs(in_quanta - exact) < len(parts) * ring.quantum)
    assert np.array_equal(ring.decode(total), in_quanta.astype(np.float32))


@settings(max_examples=200)
@given(st.data())
def test_nothing_overflows_at_the_extremes(data):
    bits = data.draw(st.sampled_from([32, 24]))
    parties = data.draw(st.sampled_from([1, 2, 4]) | st.integers(1, 40))
    most = max(v for v in range(2, bits) if parties * (2 ** (v - 1) - 1) < 2 ** (bits - 1))
    value_bits = data.draw(st.just(most) | st.integers(2, most))
    missing = data.draw(st.sampled_from([0, 0.25, 0.5, 1, 1.5]))
    filling = st.integers(-30, 20).map(lambda e: (2 ** (value_bits - 1) - missing) * 2.0**e)
    ring = Ring(bits, value_bits, data.draw(filling | st.floats(1e-6, 1e6)), parties)
    x = np.full(64, data.draw(st.sampled_from([1, -1])) * ring.limit, np.float32)
    total = np.zeros(64, np.uint32)
    for number in range(parties):
        give(total, mask_input(x, ring, *ONLY_ROUND, key(number)), ring)
    close_to_the_sum(ring, total, [x] * parties)


@given(st.booleans(), st.lists(st.integers(-(2**10), 2**10), min_size=3, max_size=12), KEYS)
def test_counts_are_added_exactly(compact, counts, rounding):
    ring = Ring.counts(len(counts), compact)
    total = np.zeros(3, np.uint32)
    for count in counts:
        x = np.array([count, -count, ring.limit], np.float32)
        give(total, mask_input(x, ring, *ONLY_ROUND, rounding), ring)
    expected = [sum(counts), -sum(counts), len(counts) * int(ring.limit)]
    assert ring.signed(total).tolist() == expected
    assert ring.decode(total).tolist() == [float(np.float32(each)) for each in expected]


@pytest.mark.parametrize("fraction", [0.0, 2.0**-12, 0.1, 0.5, 0.75, 0.999, -0.3, -(2.0**-30)])
@pytest.mark.parametrize("whole", [0, 1, -7, 2**14])
def test_rounding_is_fair(whole, fraction):
    ring, draws = Ring.counts(3), 2**20
    value = np.float32(whole + fraction)
    masked = mask_input(np.full(draws, value), ring, *ONLY_ROUND, key(1))
    rounded = ring.signed(masked).astype(np.float64)
    exact = float(value)
    share = exact - np.floor(exact)
    allowed = 2.0**-16 + 6 * np.sqrt(share * (1 - share) / draws)
    assert set(np.unique(rounded)) <= {np.floor(exact), np.ceil(exact)}
    assert abs(rounded.mean() - exact) <= allowed


def test_rounding_differs_between_keys_and_between_places():
    ring, x = Ring.counts(3), np.full(64, 0.5, np.float32)
    first, second = (mask_input(x, ring, *ONLY_ROUND, key(number)) for number in (1, 2))
    assert not np.array_equal(first, second)
    assert 0 < first.sum() < 64


@pytest.mark.parametrize("bits", [32, 24])
@pytest.mark.parametrize("length", [BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 5])
def test_blocks_join_without_a_seam(bits, length):
    ring = Ring.default(12, 8.0, compact=bits == 24)
    x, plus, minus = part(length), [key(1), key(2)], [key(3)]
    masked = mask_input(x, ring, plus, minus, key(4))
    for secret in plus:
        masked -= np.frombuffer(stream(secret, 4 * length), "<u4")
    masked += np.frombuffer(stream(minus[0], 4 * length), "<u4")
    close_to_the_sum(ring, masked, [x])


@pytest.mark.parametrize("bits", [32, 24])
@pytest.mark.parametrize("length", [0, 1, BLOCK, 2 * BLOCK + 5])
def test_vectors_are_added_as_they_travel(bits, length):
    ring, rng = Ring(bits, 8, 1.0, 2), np.random.default_rng(length)
    one, other = rng.integers(0, 2**bits, (2, length), dtype=np.uint32)
    total = one.copy()
    give(total, other, ring)
    expected = (one.astype(np.uint64) + other) % 2**bits
    assert np.array_equal(total % np.uint64(2**bits), expected)


@pytest.mark.parametrize("bits", [32, 24])
def test_a_masked_part_looks_like_noise(bits):
    ring = Ring.default(12, 8.0, compact=bits == 24)
    masked = mask_input(np.zeros(2**18, np.float32), ring, [key(1)], [], key(2))
    for byte in ring.pack(masked).reshape(-1, bits // 8).T:
        expected = len(byte) / 256
        chi2 = ((np.bincount(byte, minlength=256) - expected) ** 2 / expected).sum()
        assert 110 < chi2 < 430  # 255 degrees of freedom: beyond lies a mass below 1e-9


@pytest.mark.parametrize("value", [np.nan, np.inf, 8.5, -8.5])
def test_what_must_not_enter_is_refused(value):
    x = np.zeros(BLOCK + 9, np.float32)
    x[-1] = value
    with pytest.raises(ProtocolError):
        mask_input(x, Ring.default(12, 8.0), [key(1)], [], key(2))


@pytest.mark.parametrize("secret", [b"", bytes(16), bytes(33)])
def test_a_key_of_another_length_is_refused(secret):
    with pytest.raises(ValueError, match="32 bytes"):
        add_streams(np.zeros(4, np.uint32), [secret], [])
    with pytest.raises(ValueError, match="32 bytes"):
        mask_input(np.zeros(4, np.float32), Ring.default(3, 8.0), [], [], secret)


def test_masking_leaves_its_input_alone_and_needs_no_second_vector():
    x, ring = part(32 * BLOCK), Ring.default(16, 8.0)
    before = x.copy()
    tracemalloc.start()
    mask_input(x, ring, [key(n) for n in range(8)], [key(n) for n in range(8, 16)], key(16))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.array_equal(x, before)
    assert peak < x.nbytes + 8 * 4 * BLOCK

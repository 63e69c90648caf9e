"""Whole numbers that cannot overflow, against Python's own integers and fractions."""

import json
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedefm.errors import ConfigError, ProtocolError
from privacy.secagg.masks import mask_input
from privacy.secagg.ring import BLOCK, Ring

BITS = st.sampled_from([32, 24])
NEAR_A_BLOCK = [0, 1, 2, 5, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 3]


def words(length: int, bits: int = 32) -> np.ndarray:
    rng = np.random.default_rng(length)
    return rng.integers(0, 2**bits, length, dtype=np.uint32)


def could_overflow(bits: int, value_bits: int, parties: int) -> bool:
    return parties * (2 ** (value_bits - 1) - 1) > 2 ** (bits - 1) - 1


@given(BITS, st.integers(2, 32), st.integers(1, 2**25))
def test_a_ring_exists_exactly_where_no_sum_can_overflow(bits, value_bits, parties):
    if could_overflow(bits, value_bits, parties):
        with pytest.raises(ConfigError, match=str(parties)):
            Ring(bits, value_bits, 1.0, parties)
    else:
        Ring(bits, value_bits, 1.0, parties)


def test_the_refusal_gives_the_numbers_and_the_way_out():
    with pytest.raises(ConfigError) as refused:
        Ring.default(16, 8.0, compact=True, value_bits=24)
    for part in ("16 parties", "134217712", "8388607", "value_bits to 20", "compact to false"):
        assert part in str(refused.value)
    Ring.default(16, 8.0, compact=True, value_bits=20)


@pytest.mark.parametrize(
    "ring",
    [
        (16, 24, 1.0, 2),
        (32, 24, 1.0, 0),
        (32, 24, 0.0, 2),
        (32, 24, -1.0, 2),
        (32, 24, float("nan"), 2),
        (32, 24, float("inf"), 2),
        (32, 1, 1.0, 2),
        (32, 0, 1.0, 2),
        (24, 2, 1.0, 2**23),
    ],
)
def test_nonsense_is_refused(ring):
    with pytest.raises(ConfigError):
        Ring(*ring)


@pytest.mark.parametrize(
    ("parties", "compact", "bits", "value_bits"),
    [
        (3, False, 32, 24),
        (256, False, 32, 24),
        (257, False, 32, 23),
        (1000, False, 32, 22),
        (1, True, 24, 24),
        (3, True, 24, 22),
        (8, True, 24, 21),
        (16, True, 24, 20),
    ],
)
def test_the_defaults(parties, compact, bits, value_bits):
    assert Ring.default(parties, 8.0, compact) == Ring(bits, value_bits, 8.0, parties)


@st.composite
def rings(draw: st.DrawFn) -> Ring:
    """As many parties as fit, or fewer, and bounds that just fill a value's bits, or any."""
    bits = draw(BITS)
    value_bits = draw(st.integers(2, bits))
    most = (2 ** (bits - 1) - 1) // (2 ** (value_bits - 1) - 1)
    parties = draw(st.just(most) | st.integers(1, most))
    missing = draw(st.sampled_from([0, 0.25, 0.5, 1, 1.5]))
    filling = st.integers(-30, 20).map(lambda e: (2 ** (value_bits - 1) - missing) * 2.0**e)
    return Ring(bits, value_bits, draw(filling | st.floats(1e-12, 1e12)), parties)


@settings(max_examples=200)
@given(rings())
def test_the_quantum_is_the_least_power_of_two_with_which_any_sum_fits(ring):
    quantum, largest = Fraction(ring.quantum), Fraction(float(np.float32(ring.bound)))
    assert {quantum.numerator, quantum.denominator} & {1}
    assert quantum.numerator.bit_count() == quantum.denominator.bit_count() == 1
    assert ring.limit == largest
    assert fits(ring, largest / quantum)
    assert not fits(ring, largest / (quantum / 2))


def fits(ring: Ring, quanta: Fraction) -> bool:
    """Whether so large a value, rounded up, has its bits, and the sum of all has the ring's."""
    level = -(-quanta.numerator // quanta.denominator)
    return level <= 2 ** (ring.value_bits - 1) and ring.parties * level < 2 ** (ring.bits - 1)


@settings(max_examples=100)
@given(rings())
def test_no_part_within_the_bound_reaches_further_and_the_bound_itself_does(ring):
    at_the_bound = np.full(64, ring.limit, np.float32)
    given = ring.signed(mask_input(at_the_bound, ring, [], [], bytes(32)))
    assert given.max() <= ring.reach < ring.limit / ring.quantum + 1
    assert ring.parties * ring.reach <= 2 ** (ring.bits - 1) - 1


@pytest.mark.parametrize("place", [0, BLOCK - 1, BLOCK, 2 * BLOCK + 2])
@pytest.mark.parametrize("bits", [32, 24])
@pytest.mark.parametrize("value", [-(2**22), 2**22 - 1])
def test_the_largest_magnitude_is_found_wherever_it_stands(bits, place, value):
    total = np.full(2 * BLOCK + 3, 2**bits - 5, np.uint32)
    total[place] = value % 2**bits
    assert Ring(bits, 8, 1.0, 3).largest(total) == abs(value)
    assert Ring(bits, 8, 1.0, 3).largest(total[:0]) == 0


@given(BITS, st.integers(1, 10**6))
def test_counts_have_a_quantum_of_one(bits, parties):
    ring = Ring.counts(parties, compact=bits == 24)
    assert ring.quantum == 1
    assert ring.bits == bits
    assert ring.limit == ring.bound == 2 ** (ring.value_bits - 1) - 1


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 8.001, -8.001, 1e30])
@pytest.mark.parametrize("place", [0, BLOCK - 1, BLOCK, 2 * BLOCK + 6])
def test_one_bad_value_anywhere_is_refused(value, place):
    messages = set()
    for x in (np.zeros(2 * BLOCK + 7, np.float32), np.zeros(place + 1, np.float32)):
        x[place] = value
        with pytest.raises(ProtocolError) as refused:
            Ring.default(3, 8.0).check(x)
        messages.add(str(refused.value))
    assert messages == {message_about(value)}


def message_about(value: float) -> str:
    """The same wherever the value stands: a place could tell whose features it belongs to."""
    with pytest.raises(ProtocolError) as refused:
        Ring.default(3, 8.0).check(np.array([0, value], np.float32))
    return str(refused.value)


def test_the_refusal_names_the_setting_and_only_the_log_the_value(caplog):
    with pytest.raises(
        ProtocolError, match=r"beyond the bound.*privacy\.secagg\.bound.*8"
    ) as refused:
        Ring.default(3, 8.0).check(np.array([1, -9.5, 3], np.float32))
    assert "9.5" not in str(refused.value)
    assert "9.5" in caplog.text


def test_refusals_of_different_values_say_the_same():
    assert message_about(8.001) == message_about(-1e30)
    assert message_about(np.nan) == message_about(-np.inf)


@given(st.floats(1e-12, 1e12))
def test_the_bound_itself_may_enter_although_float32_may_round_it_up(bound):
    ring = Ring.default(3, bound)
    at_the_bound = np.full(3, bound, np.float32)
    ring.check(at_the_bound)
    ring.check(-at_the_bound)
    with pytest.raises(ProtocolError):
        ring.check(np.nextafter(at_the_bound, np.float32(np.inf)))


def test_an_empty_vector_is_nothing_to_refuse():
    Ring.default(3, 8.0).check(np.empty(0, np.float32))


@pytest.mark.parametrize("length", NEAR_A_BLOCK)
@pytest.mark.parametrize("bits", [32, 24])
def test_bytes_travel_little_endian_and_come_back(bits, length):
    ring, values = Ring(bits, 8, 1.0, 2), words(length, bits)
    packed = ring.pack(values.copy())
    assert packed.dtype == np.uint8
    assert packed.shape == (length * ring.bytes_per_value,)
    assert bytes(packed) == b"".join(int(v).to_bytes(bits // 8, "little") for v in values)
    assert np.array_equal(ring.unpack(packed), values)


@pytest.mark.parametrize("bits", [32, 24])
def test_packing_takes_no_second_vector(bits):
    values = words(3 * BLOCK, bits)
    assert np.shares_memory(Ring(bits, 8, 1.0, 2).pack(values), values)


def test_four_bytes_a_value_are_read_where_they_are():
    packed = words(10).view(np.uint8)
    packed.flags.writeable = False  # as what arrives may be
    assert np.shares_memory(Ring.default(3, 8.0).unpack(packed), packed)


@pytest.mark.parametrize("bits", [32, 24])
def test_half_a_value_is_refused(bits):
    with pytest.raises(ProtocolError, match=f"multiple of {bits // 8}"):
        Ring(bits, 8, 1.0, 2).unpack(np.zeros(bits // 8 * 5 + 1, np.uint8))


@given(BITS, st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=20))
def test_totals_are_twos_complement(bits, totals):
    ring = Ring(bits, 8, 4.0, 2)
    half, ring_size = 2 ** (bits - 1), 2**bits
    expected = [(total + half) % ring_size - half for total in totals]
    given_totals = np.array(totals, np.uint32)
    assert ring.signed(given_totals).tolist() == expected
    decoded = ring.decode(given_totals)
    assert decoded.dtype == np.float32
    assert decoded.tolist() == [float(np.float32(each)) * ring.quantum for each in expected]
    assert given_totals.tolist() == totals


@pytest.mark.parametrize("length", NEAR_A_BLOCK)
def test_decoding_reaches_every_block(length):
    ring = Ring.counts(2)
    counts = np.arange(length, dtype=np.uint32)
    assert np.array_equal(ring.decode(counts), np.arange(length, dtype=np.float32))


def test_the_description_is_json_and_tells_rings_apart():
    rings = [Ring(32, 24, 8.0, 3), Ring(24, 22, 8.0, 3), Ring(32, 23, 8.0, 3)]
    rings += [Ring(32, 24, 4.0, 3), Ring(32, 24, 8.0, 4)]
    texts = {json.dumps(ring.describe(), sort_keys=True) for ring in rings}
    assert len(texts) == len(rings)
    assert [Ring(**ring.describe()) for ring in rings] == rings

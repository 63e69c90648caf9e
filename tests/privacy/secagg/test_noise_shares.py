"""A sum of shares has the noise that is counted, whatever a patient does, and nothing overflows."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from fedefm.config import DpConfig, NoiseSharesConfig, SecaggConfig
from fedefm.errors import ConfigError, PrivacyError
from privacy.calibrate import sampling_for
from privacy.dp.randomness import SecretStream
from privacy.secagg.masks import add_vector, mask_input
from privacy.secagg.noise_shares import (
    AT_ONCE,
    TAIL,
    TOP,
    NoiseShares,
    least_others,
    noise_shares,
)

KEYS = [bytes([k]) * 32 for k in range(64)]


class Told:
    """A stream that says what it is told, over and over."""

    def __init__(self, normals: list[float], uniforms: list[float]) -> None:
        self._normals, self._uniforms = normals, uniforms

    def normal(self, count: int) -> NDArray[np.float64]:
        return np.resize(np.array(self._normals, dtype=np.float64), count)

    def uniform(self, count: int) -> NDArray[np.float64]:
        return np.resize(np.array(self._uniforms, dtype=np.float64), count)


def shares_of(numbers: int, noise: float = 1.0, honest: int = 4, most: int = 8) -> NoiseShares:
    return NoiseShares(0.5, noise, honest, most, numbers)


def whole(given: NDArray[np.float32], shares: NoiseShares) -> list[int]:
    """In quanta; fails where a number is no whole multiple."""
    counted = [Fraction(float(value)) / Fraction(shares.quantum) for value in given]
    assert all(count.denominator == 1 for count in counted)
    return [int(count) for count in counted]


@given(
    sums=st.lists(st.floats(-4, 4, width=32), min_size=1, max_size=20),
    draws=st.lists(st.floats(-9.5, 9.5), min_size=1, max_size=7),
    evens=st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=5),
)
def test_what_a_member_gives_is_what_python_s_fractions_give(sums, draws, evens):
    shares = shares_of(len(sums))
    noisy = shares.add(np.array(sums, np.float32), Told(draws, evens))
    expected = []
    for i, value in enumerate(sums):
        exact = Fraction(value) / Fraction(shares.quantum)
        up = Fraction(evens[i % len(evens)]) < exact % 1
        noise = round(draws[i % len(draws)] * (shares.deviation / shares.quantum))
        expected.append(math.floor(exact) + up + noise)
    off = [abs(a - b) for a, b in zip(whole(noisy, shares), expected, strict=True)]
    assert max(off) <= max(int(-1e-9 < v < 0) for v in sums)  # below 0 by less than float64 knows


@given(st.integers(2, 12), st.integers(0, 2**32 - 1))
def test_the_masked_sum_is_the_sum_of_what_members_gave(parties, seed):
    rng = np.random.default_rng(seed)
    shares = shares_of(50, honest=2)
    sums = rng.uniform(-4, 4, (parties, 50)).astype(np.float32)
    given = [shares.add(x, SecretStream()) for x in sums]
    ring = shares.ring(parties)
    assert ring.quantum == shares.quantum
    total = np.zeros(50, np.uint32)
    for k, x in enumerate(given):  # each adds a stream that its successor takes off
        minus = KEYS[(k - 1) % parties]
        masked = ring.pack(mask_input(x, ring, [KEYS[k]], [minus], bytes(32)))
        add_vector(total, masked, ring)
    expected = np.sum([whole(x, shares) for x in given], axis=0)
    assert np.array_equal(ring.signed(total), expected)


def test_a_share_has_its_deviation_and_the_honest_ones_together_what_is_counted():
    shares = NoiseShares(0.5, 1.3, 5, 40, 300_000)
    stream = SecretStream(KEYS[1])
    nothing = np.zeros(300_000, np.float32)
    given = [shares.add(nothing, stream).astype(np.float64) for _ in range(5)]
    assert given[0].std() == pytest.approx(1.3 * shares.sensitivity / math.sqrt(5), rel=5e-3)
    total = np.sum(given, axis=0) / (1.3 * shares.sensitivity)
    assert stats.kstest(total, "norm").pvalue > 1e-3
    tail, expected = (np.abs(total) > 3).sum(), 300_000 * 2 * stats.norm.sf(3)
    assert abs(tail - expected) < 5 * math.sqrt(expected)


def test_every_number_of_every_block_and_every_step_has_noise_of_its_own():
    shares = shares_of(3 * AT_ONCE + 5)
    stream, nothing = SecretStream(KEYS[2]), np.zeros(3 * AT_ONCE + 5, np.float32)
    one, other = shares.add(nothing, stream), shares.add(nothing, stream)
    blocks = [one[:AT_ONCE], one[AT_ONCE : 2 * AT_ONCE], one[2 * AT_ONCE : 3 * AT_ONCE]]
    for a, b in [(one, other), (blocks[0], blocks[1]), (blocks[1], blocks[2])]:
        assert abs(np.corrcoef(a, b)[0, 1]) < 0.03
    assert (one != 0).mean() > 0.99


def rounded_gaussian(s: float, reach: int) -> NDArray[np.float64]:
    at = np.arange(-reach, reach + 1)
    return stats.norm.cdf(at + 0.5, scale=s) - stats.norm.cdf(at - 0.5, scale=s)


@pytest.mark.parametrize(("s", "k"), [(0.5, 2), (0.7, 3), (1.0, 2), (1.0, 6), (1.3, 4)])
def test_a_sum_of_rounded_gaussians_is_one_rounded_gaussian_and_uniforms(s: float, k: int) -> None:
    """The proof's second step, at deviations so small that the difference can be seen at all."""
    reach = 40
    total = np.ones(1)
    for _ in range(k):
        total = np.convolve(total, rounded_gaussian(s, reach))
    fine = 2000  # of a density of G and k uniforms, the last of which is the rounding
    at = np.arange(-reach * fine, reach * fine + 1) / fine
    density = stats.norm.pdf(at, scale=s * math.sqrt(k))
    for _ in range(k):  # the mean of the density over a window of width 1, by the trapezoid rule
        sums = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)]) / fine
        ahead = np.concatenate([sums[fine // 2 :], np.full(fine // 2, sums[-1])])
        density = ahead - np.concatenate([np.zeros(fine // 2), sums[: -(fine // 2)]])
    middle = total[len(total) // 2 - 20 : len(total) // 2 + 21]
    claimed = density[(reach - 20) * fine : (reach + 20) * fine + 1 : fine]
    difference = np.abs(middle - claimed).max()
    assert difference < 10 * k * math.exp(-(math.pi**2) * s**2) + 1e-6
    if s <= 0.7:  # it is the mixed terms that are seen, not the integration
        assert difference > 1e-5


def moves(d: int, clip: float) -> list[NDArray[np.float64]]:
    """Ways in which one patient of length ``clip`` can move d numbers."""
    rng = np.random.default_rng(d)
    even, one, random = np.full(d, 1.0), np.zeros(d), rng.normal(size=d)
    one[0] = 1.0
    some = (np.arange(d) < max(1, d // 3)).astype(float)
    return [v * (clip / np.linalg.norm(v)) for v in (even, -even, one, random, some)]


@pytest.mark.parametrize("d", [1, 7, 500, 100_000])
@pytest.mark.parametrize("most", [4, 4000])
def test_no_patient_moves_the_whole_numbers_further_than_is_counted(d: int, most: int) -> None:
    shares = shares_of(d, most=most)
    clip = shares.clip_norm * (1 - 2.0**-12)
    still, widest = [0.0], 0.0
    for start in (0.0, 0.49 * shares.quantum, -0.5 * shares.quantum, 0.3):
        before = np.full(d, start)
        for move in moves(d, clip):
            uniforms = SecretStream().uniform(d).tolist()
            one = shares.add(before.astype(np.float32), Told(still, uniforms))
            other = shares.add((before + move).astype(np.float32), Told(still, uniforms))
            widest = max(widest, float(np.linalg.norm(one.astype(float) - other)))
    assert widest <= shares.sensitivity
    assert widest > 0.99 * clip


def test_many_small_moves_are_lifted_by_rounding_and_that_is_counted():
    """Half a quantum in all numbers but one: rounding makes 0 or 1 of each half."""
    shares, clip = shares_of(100_000, most=10_000), 0.5 * (1 - 2.0**-12)
    v = np.full(100_000, 0.5 * shares.quantum)
    v[0] = math.sqrt(clip**2 - v[1:] @ v[1:])
    uniforms = SecretStream(KEYS[3]).uniform(len(v)).tolist()
    one = shares.add(np.zeros(len(v), np.float32), Told([0.0], uniforms))
    other = shares.add(v.astype(np.float32), Told([0.0], uniforms))
    moved = float(np.linalg.norm(one.astype(float) - other))
    assert np.linalg.norm(v) == pytest.approx(clip)
    assert 1.03 * clip < moved <= shares.sensitivity


def test_the_noise_follows_what_rounding_adds():
    fine, coarse = shares_of(100_000, most=4), shares_of(100_000, most=10_000)
    assert fine.sensitivity == pytest.approx(fine.clip_norm, rel=1e-4)
    assert coarse.sensitivity > 1.02 * coarse.clip_norm
    assert coarse.deviation == pytest.approx(coarse.sensitivity / 2)


@given(
    honest=st.integers(1, 200),
    noise=st.floats(0.1, 20),
    most=st.integers(1, 3000),
    numbers=st.integers(1, 10**6),
    clip=st.floats(1e-3, 1e3),
)
def test_no_draw_takes_a_member_beyond_the_ring(honest, noise, most, numbers, clip):
    try:
        shares = NoiseShares(clip, noise, honest, most, numbers)
    except ConfigError:
        return
    full = np.float32(most * clip * (1 - 2.0**-12))
    ring = shares.ring(256)
    for sign in (1, -1):
        drawn = Told([sign * TAIL], [0.0 if sign > 0 else 1 - 2**-53])
        one = NoiseShares.add(_single(shares), np.array([sign * full], np.float32), drawn)
        ring.check(one)
        assert abs(whole(one, shares)[0]) * 256 < 2**31
    assert shares.deviation >= 100 * shares.quantum


def _single(shares: NoiseShares) -> NoiseShares:
    """The same quantum and deviation on one number."""
    single = object.__new__(NoiseShares)
    single.__dict__.update(vars(shares), numbers=1)
    single.__dict__["quantum"] = shares.quantum
    return single


def test_no_draw_of_a_secret_stream_reaches_the_tail_that_is_kept_free():
    assert math.sqrt(-2 * math.log(2.0**-65)) < TAIL


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 4.1])
def test_a_sum_that_clipping_cannot_give_is_not_released(bad: float) -> None:
    total = np.zeros(9, np.float32)
    total[4] = bad
    with pytest.raises(PrivacyError, match="nothing of it was released"):
        shares_of(9).add(total, SecretStream())


def test_a_vector_of_another_length_gets_no_noise():
    with pytest.raises(PrivacyError, match="noise for 9 numbers"):
        shares_of(9).add(np.zeros(8, np.float32), SecretStream())


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ((1.0, 1.0, 4, 10**6, 10**6), "lower privacy.dp.patients_per_step, train fewer numbers"),
        ((1.0, 1e-4, 4, 60, 1000), "quanta, and less than 100"),
        ((1.0, 1e6, 4, 60, 10**6), "does not fit 24 bits; lower privacy.dp.noise_multiplier"),
        ((1e-30, 1.0, 4, 60, 1000), "privacy.secagg.bound"),
    ],
)
def test_settings_without_a_fine_quantum_are_refused(
    settings: tuple[float, float, int, int, int], words: str
) -> None:
    with pytest.raises(ConfigError, match=words):
        NoiseShares(*settings)


def test_too_many_parties_are_refused_before_anything_is_added():
    with pytest.raises(ConfigError, match="257"):
        shares_of(9).ring(257)


def test_the_run_file_says_it_all():
    dp = DpConfig(noise_multiplier=1.1, clip_norm=0.7, patients_per_step=16)
    secagg = SecaggConfig(noise_shares=NoiseSharesConfig(honest=5), colluders=2)
    shares = noise_shares(dp, secagg, 1234)
    assert shares == NoiseShares(0.7, 1.1, 5, 36, 1234)
    for units in (16, 17, 40, 10**6):  # no site takes more, however large
        assert sampling_for(dp, units).cap <= 36
    assert least_others(secagg) == 6
    with pytest.raises(ConfigError, match="noise_shares"):
        noise_shares(dp, SecaggConfig(), 1234)
    with pytest.raises(ConfigError, match="noise_multiplier"):
        noise_shares(DpConfig(epsilon=3), secagg, 1234)
    assert least_others(SecaggConfig()) == 0


def test_the_largest_multiple_is_what_float32_and_the_ring_both_hold():
    assert TOP == 2**23 - 1
    assert float(np.float32(TOP)) == TOP

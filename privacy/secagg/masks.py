"""Masked vectors: rounding, and the streams that hide a part until they cancel or are taken away.

A stream is AES-256 in counter mode from counter zero; its little-endian 32-bit words are the mask.
A key is for one stream only, so that no counter comes twice. All work goes through blocks that stay
in a core's cache: each value is read from memory once and written once, however many masks it has.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from numpy.typing import NDArray

from privacy.secagg.ring import BLOCK, WORD, Ring

KEY_BYTES = 32
# Just below 2^16, so that a fraction which float32 rounds up to 1 still ends below 2^16.
FRACTIONS = np.nextafter(np.float32(2**16), np.float32(0))

Words = NDArray[np.uint32]


def mask_input(
    x: NDArray[np.float32],
    ring: Ring,
    plus: Sequence[bytes],
    minus: Sequence[bytes],
    rounding_key: bytes,
) -> Words:
    """``x`` in the ring, the streams of the keys ``plus`` added, those of ``minus`` taken off.

    Each value is rounded down or up to a multiple of the quantum, up as often as it lies beyond the
    lower one (to within 2^-16), by the stream of ``rounding_key``: nobody else may know this key.

    Raises:
        ProtocolError: a value is NaN, infinite or beyond the ring's bound.
    """
    rounded = _Rounding(ring, rounding_key)
    streams = _Streams(plus, minus)
    masked = np.empty(len(x), np.uint32)
    for part in _parts(len(x)):
        ring.check(x[part])
        rounded.write(x[part], masked[part])
        streams.add(masked[part])
        if ring.bits < 32:
            masked[part] &= np.uint32(2**ring.bits - 1)
    return masked


def add_streams(total: Words, plus: Sequence[bytes], minus: Sequence[bytes]) -> None:
    """Add and take off the streams of these keys, in place and modulo 2^32."""
    streams = _Streams(plus, minus)
    for part in _parts(len(total)):
        streams.add(total[part])


def add_vector(total: Words, packed: NDArray[np.uint8], ring: Ring) -> None:
    """Add what ``ring.pack`` made, in place, modulo 2^32, of which 2^24 is a divisor."""
    size = ring.bytes_per_value
    for part in _parts(len(total)):
        total[part] += ring.unpack(packed[size * part.start : size * part.stop])


class _Streams:
    """Several streams that go forward together, block by block."""

    def __init__(self, plus: Sequence[bytes], minus: Sequence[bytes]) -> None:
        self._plus = [_Stream(key) for key in plus]
        self._minus = [_Stream(key) for key in minus]
        self._words = np.empty(BLOCK, WORD)

    def add(self, block: Words) -> None:
        words = self._words[: len(block)]
        into = words.view(np.uint8).data
        for stream in self._plus:
            stream.fill(into)
            np.add(block, words, out=block)
        for stream in self._minus:
            stream.fill(into)
            np.subtract(block, words, out=block)


class _Rounding:
    """Stochastic rounding of consecutive blocks, with 16 random bits a value."""

    def __init__(self, ring: Ring, key: bytes) -> None:
        self._stream = _Stream(key)
        self._per_quantum = np.float32(1 / ring.quantum)
        self._scaled, self._whole = np.empty((2, BLOCK), np.float32)
        self._fraction, self._random = np.empty((2, BLOCK), np.dtype("<u2"))

    def write(self, x: NDArray[np.float32], into: Words) -> None:
        count = len(x)
        scaled, whole = self._scaled[:count], self._whole[:count]
        fraction, random = self._fraction[:count], self._random[:count]
        self._stream.fill(random.view(np.uint8).data)
        np.multiply(x, self._per_quantum, out=scaled)  # exact: the quantum is a power of two
        np.floor(scaled, out=whole)
        np.copyto(into.view(np.int32), whole, casting="unsafe")
        scaled -= whole
        scaled *= FRACTIONS
        np.copyto(fraction, scaled, casting="unsafe")
        np.add(into, random < fraction, out=into)


class _Stream:
    """The key stream of AES-256 in counter mode."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise ValueError(f"the key of a mask has {KEY_BYTES} bytes, not {len(key)}")
        self._cipher = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()

    def fill(self, into: memoryview) -> None:
        self._cipher.update_into(_ZEROS[: len(into)], into)


def _parts(length: int) -> Iterator[slice]:
    return (slice(start, min(start + BLOCK, length)) for start in range(0, length, BLOCK))


_ZEROS = memoryview(bytes(BLOCK * WORD.itemsize))  # encrypted, they are the stream itself

"""Whole numbers modulo 2^32 or 2^24 in place of float32, because only such a sum is exact.

A value becomes a multiple of ``quantum`` beside it, and a mask drawn evenly from the ring leaves
nothing of what it covers.
"""

import logging
import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fedefm.errors import ConfigError, ProtocolError

BLOCK = 2**16  # values at once: what one step needs of them stays in a core's cache
VALUE_BITS = 24  # as many as float32 has, and 256 parties fit
COUNT_BITS = 24  # float32, in which counts arrive, tells whole numbers apart up to 2^24
BOUNDS = (2.0**-60, 2.0**60)  # far from where float32 loses digits or ends
WORD = np.dtype("<u4")
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Ring:
    """How the values of ``parties`` parties are written, so that their sum cannot overflow.

    Whoever adds up to ``parties`` vectors of magnitudes up to ``bound`` stays within ``bits`` bits,
    whatever the values; settings of which this is not true are refused here. ``value_bits`` are
    those of one value with its sign, ``bound`` is meant as the float32 nearest to it.
    """

    bits: Literal[32, 24]
    value_bits: int
    bound: float
    parties: int

    def __post_init__(self) -> None:
        if self.bits not in (32, 24):
            raise ConfigError(f"a secure sum works with 32 or 24 bits a value, not {self.bits}")
        if self.parties < 1:
            raise ConfigError(f"a secure sum needs parties, not {self.parties}")
        if not BOUNDS[0] <= self.bound <= BOUNDS[1]:
            raise ConfigError(
                f"privacy.secagg.bound is {self.bound}; it must lie between 2^-60 and 2^60, and be "
                f"the largest magnitude that a value may have"
            )
        most = most_value_bits(self.bits, self.parties)
        if not 2 <= self.value_bits <= most:
            raise ConfigError(self._overflow(most))

    @classmethod
    def default(
        cls, parties: int, bound: float, compact: bool = False, value_bits: int | None = None
    ) -> "Ring":
        """24 value bits in 32; ``compact``: 24 bits a value, of which those that fit are used.

        Raises:
            ConfigError: the sum of so many parties could overflow, or a setting makes no sense.
        """
        bits: Literal[32, 24] = 24 if compact else 32
        if value_bits is None:
            value_bits = min(VALUE_BITS, most_value_bits(bits, parties))
        return cls(bits, value_bits, float(bound), parties)

    @classmethod
    def counts(cls, parties: int, compact: bool = False) -> "Ring":
        """For whole numbers, which are added exactly: the quantum is 1."""
        bits: Literal[32, 24] = 24 if compact else 32
        value_bits = min(COUNT_BITS, most_value_bits(bits, parties))
        return cls(bits, value_bits, float(max(1, _top(value_bits))), parties)

    @property
    def limit(self) -> float:
        """The largest magnitude that may enter: ``bound`` as float32 knows it."""
        return float(np.float32(self.bound))

    @property
    def quantum(self) -> float:
        """What the last bit is worth: the least power of two with which any sum fits.

        A float32 divided by a power of two stays exact, hence nothing is rounded but on purpose.
        """
        largest = _top(self.value_bits)
        if self.parties * (largest + 1) <= _top(self.bits):
            largest += 1  # as a bound that is a power of two, as most are, just needs it
        fraction, exponent = math.frexp(self.limit / largest)
        return math.ldexp(1.0, exponent - (fraction == 0.5))

    @property
    def reach(self) -> int:
        """The most quanta that a value within the bound becomes, rounded up."""
        return math.ceil(self.limit / self.quantum)

    @property
    def bytes_per_value(self) -> int:
        return self.bits // 8

    def describe(self) -> dict[str, Any]:
        """What all members must agree on, ready for JSON."""
        return asdict(self)

    def check(self, x: NDArray[np.float32]) -> None:
        """Refuse a vector that must not enter a sum.

        Raises:
            ProtocolError: a value is NaN, infinite or beyond the bound. The message, which others
                may read, says nothing of the values; how large the largest is stands in the log.
        """
        blocks = (x[start : start + BLOCK] for start in range(0, len(x), BLOCK))
        if not all(max(part.max(), -part.min()) <= self.limit for part in blocks):  # NaN: neither
            largest = float(np.abs(x).max())
            logger.error("the largest magnitude in the vector to sum is %g", largest)
            raise ProtocolError(self._beyond(largest))

    def pack(self, values: NDArray[np.uint32]) -> NDArray[np.uint8]:
        """The bytes as they travel, little-endian: four a value, or the lower three.

        They lie where the ``values`` were, which are used up: memory for a second vector is much.
        """
        words = values.astype(WORD, copy=False)
        packed = words.view(np.uint8)
        if self.bits == 32:
            return packed
        for start in range(0, len(words), BLOCK):
            rows = packed[4 * start : 4 * (start + BLOCK)].reshape(-1, 4)
            packed[3 * start : 3 * (start + len(rows))] = _columns(rows, 3).reshape(-1)
        return packed[: 3 * len(words)]

    def unpack(self, packed: NDArray[np.uint8]) -> NDArray[np.uint32]:
        """The values of ``pack``, for reading: with four bytes a value they are not copied.

        Raises:
            ProtocolError: the bytes are not a whole number of values.
        """
        if len(packed) % self.bytes_per_value:
            raise ProtocolError(
                f"a vector of a secure sum has {len(packed)} bytes, which is no multiple of "
                f"{self.bytes_per_value}"
            )
        if self.bits == 32:
            return packed.view(WORD).astype(np.uint32, copy=False)
        rows = packed.reshape(-1, 3)
        values = np.empty(len(rows), WORD)
        for start in range(0, len(rows), BLOCK):
            part = slice(start, start + BLOCK)
            values[part] = _columns(rows[part], 4).reshape(-1).view(WORD)
        return values.astype(np.uint32, copy=False)

    def signed(self, total: NDArray[np.uint32]) -> NDArray[np.int32]:
        """The sum in quanta, exactly: two's complement of ``bits`` bits."""
        unused = 32 - self.bits
        shifted: NDArray[np.int32] = np.left_shift(total, unused).view(np.int32)
        shifted >>= unused
        return shifted

    def largest(self, total: NDArray[np.uint32]) -> int:
        """The largest magnitude in the sum, in quanta."""
        found = 0
        for start in range(0, len(total), BLOCK):
            signed = self.signed(total[start : start + BLOCK])
            found = max(found, int(signed.max()), -int(signed.min()))
        return found

    def decode(self, total: NDArray[np.uint32]) -> NDArray[np.float32]:
        """The sum as float32, which is exact up to 2^24 quanta and rounded to nearest above."""
        values = np.empty(len(total), np.float32)
        quantum = np.float32(self.quantum)
        for start in range(0, len(total), BLOCK):
            part = slice(start, start + BLOCK)
            values[part] = self.signed(total[part])
            values[part] *= quantum
        return values

    def _overflow(self, most: int) -> str:
        if most < 2:
            return f"a secure sum in {self.bits} bits cannot hold {self.parties} parties: use fewer"
        if self.value_bits < 2:
            return f"privacy.secagg.value_bits is {self.value_bits}; a value takes 2 at least"
        return (
            f"the sum of {self.parties} parties with {self.value_bits} value bits can reach "
            f"{self.parties * _top(self.value_bits)}, and {self.bits} bits hold {_top(self.bits)}: "
            f"set privacy.secagg.value_bits to {most} or less"
            + (", or privacy.secagg.compact to false" if self.bits == 24 else "")
        )

    def _beyond(self, largest: float) -> str:
        if not math.isfinite(largest):
            return (
                "a value of the vector to sum is not finite: training failed, and nothing is sent"
            )
        return (
            "a value of the vector to sum is beyond the bound, and privacy.secagg.bound allows "
            f"{self.bound:.6g}: raise it in the run file (by how much, the site's log says); "
            "nothing is sent"
        )


def most_value_bits(bits: int, parties: int) -> int:
    """The most bits that a value may have where so many parties add theirs; 1: none fits."""
    return (_top(bits) // max(1, parties) + 1).bit_length()


def _top(bits: int) -> int:
    """The largest number of two's complement."""
    return (1 << (bits - 1)) - 1


def _columns(rows: NDArray[np.uint8], width: int) -> NDArray[np.uint8]:
    """The first three columns, and zeros; NumPy copies columns five times as fast as rows."""
    copied = np.zeros((len(rows), width), np.uint8)
    for column in range(3):
        copied[:, column] = rows[:, column]
    return copied

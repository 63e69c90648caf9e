"""Noise in shares: each member adds a little, and only the opened sum has all of it.

With all of its noise added at each of N sites, a sum has N times what one patient needs. Where only
the sum is ever seen, each member can add a share instead: deviation ``sigma Delta / sqrt(h)``, of
which ``h`` make up noise multiplier ``sigma``. After "The Distributed Discrete Gaussian Mechanism"
(Kairouz, Liu, Steinke, ICML 2021, arXiv 2102.06387), with rounded Gaussians in place of discrete
ones, as their sum is almost a rounded Gaussian again. All lengths below are in quanta of the ring.

1. What a patient moves. A member's sum x of clipped gradients, d numbers, moves by a v of at most
   C in L2 (``Clip`` stays 2^-12 below, for the rounding of float32 in the back-ends). It is rounded
   to ``floor(x + u)``, u even in [0, 1), secret and fresh. Compare two datasets at the same u: each
   whole number moves by ``v + e``, e of mean 0 and of range 1, independent over the numbers; so
   ``|v + e|^2 = |v|^2 + 2 v e + |e|^2`` is at most (Hoeffding, once for each of the last two)
   ``Delta^2 = C^2 + 2 C sqrt(t/2) + d/4 + sqrt(d t/2)`` but for a chance of ``2 exp(-t)``, here
   2^-63 a step. Replacing a patient moves x by 2 C at most, and whole numbers by 2 Delta.
2. What k honest members add: each a Gaussian of deviation s = sigma Delta / sqrt(h), rounded. That
   has at n the mass of ``F = normal(s) * uniform(-1/2, 1/2)``, a density read off at whole numbers,
   hence the characteristic function of F, aliased: the sum over whole m of ``F^(f + m)``, where
   ``F^(f) = exp(-2 pi^2 s^2 f^2) sinc(f)`` (Poisson summation). The product over k members is, but
   for terms that mix aliases, the sum over m of ``F^(f + m)^k``, which belongs to ``round(G + V)``:
   G normal of deviation ``sqrt(k) s``, V the sum of k - 1 uniforms, independent. A mixed term is at
   most ``exp(-pi^2 s^2)``, as the squares of two numbers 1 apart sum to 1/2 at least. From s = 100
   on, which is checked, the two laws are within 10^-40000, whatever k, d and ring: below any delta.
3. So what is opened is ``Z + round(G + V) = round(Z + G + V)``, Z the sum of the members' whole
   numbers: a post-processing of ``Z + G``, the Gaussian mechanism of noise multiplier
   ``sigma sqrt(k / h)``. That is what ``Mechanism(shares=h)`` counts, for k of at least h. Numbers
   never wrap in the ring, and if they did, that would be post-processing, too.
4. Colluding members know their own noise and take it off; k counts the honest ones *in the opened
   sum*. A member therefore helps to open none of fewer than h members and the colluders that the
   run allows for. Whom the receiver leaves out it chooses when all it has seen are masked vectors.
   An honest member adds what its run file says, and the digest of that is in all that it signs.

It rests on others: with k honest members in the sum the noise multiplier is ``sigma sqrt(k / h)``,
and ``sigma / sqrt(h)`` where nobody else is honest. It holds against whom the masks hold against.
As for all noise here, the distance of float64 Box-Muller draws from ideal ones is not covered.
"""

import hashlib
import math
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fedefm.config import DpConfig, SecaggConfig
from fedefm.errors import ConfigError, PrivacyError
from privacy.calibrate import largest_step
from privacy.secagg.ring import VALUE_BITS, Ring
from privacy.secagg.steps import canonical

TAIL = 10.0  # deviations that no draw of a SecretStream reaches
LEAST_DEVIATION = 100.0  # of a share, in quanta
COARSEST = 0.1  # of the clip norm: what rounding may add to what a patient moves
UNLIKELY = 64 * math.log(2)  # t: a patient moves more with a chance of 2 exp(-t) a step
TOP = 2 ** (VALUE_BITS - 1) - 1  # quanta that a member's number may reach, exact in float32
AT_ONCE = 1 << 16  # numbers that stay in a core's cache

Floats = NDArray[np.float32]


class Normals(Protocol):
    """Standard normals, and uniforms in [0, 1), that nobody can repeat: a ``SecretStream``."""

    def normal(self, count: int) -> NDArray[np.float64]: ...

    def uniform(self, count: int) -> NDArray[np.float64]: ...


@dataclass(frozen=True)
class NoiseShares:
    """One member's share of the noise of one step; equal at all members.

    ``honest`` shares have together the deviation ``noise_multiplier`` times ``sensitivity``, on
    each of ``numbers`` numbers. Of at most ``most`` patients, each within ``clip_norm``, is a
    member's sum made, so that with its noise it cannot leave the ring.

    Raises:
        ConfigError: the settings leave no quantum that is fine enough.
    """

    clip_norm: float
    noise_multiplier: float
    honest: int
    most: int
    numbers: int

    def __post_init__(self) -> None:
        added = self.sensitivity / self.clip_norm - 1
        if added > COARSEST:
            raise ConfigError(
                f"rounding the sum of up to {self.most} patients' gradients of {self.numbers} "
                f"numbers adds {100 * added:.2g} % to what one patient moves, and so to the noise; "
                "lower privacy.dp.patients_per_step, train fewer numbers (model.train_last), or "
                "leave out privacy.secagg.noise_shares"
            )
        if self.deviation < LEAST_DEVIATION * self.quantum:
            raise ConfigError(
                f"a share of the noise has a deviation of {self.deviation / self.quantum:.3g} "
                f"quanta, and less than {LEAST_DEVIATION:g} is no Gaussian once it is rounded; "
                "raise privacy.dp.noise_multiplier"
            )
        self.ring(1)  # raises where the clip norm is beyond what a ring counts with

    @cached_property
    def quantum(self) -> float:
        """The least power of two whose ``TOP`` multiples hold a member's sum and its noise."""
        _, least = math.frexp(self.most * self.clip_norm / TOP)
        for exponent in range(least - 1, least + 2 * VALUE_BITS):
            if self._fits(quantum := math.ldexp(1.0, exponent)):
                return quantum
        raise ConfigError(
            f"a share of noise multiplier {self.noise_multiplier:g} on {self.numbers} numbers does "
            f"not fit {VALUE_BITS} bits; lower privacy.dp.noise_multiplier, or leave out "
            "privacy.secagg.noise_shares"
        )

    @property
    def sensitivity(self) -> float:
        """What one patient moves in L2: its clipped gradient, and what rounding adds to it."""
        return self._moved(self.quantum)

    @property
    def deviation(self) -> float:
        """Of one member's share, per number."""
        return self._share(self.quantum)

    def ring(self, parties: int) -> Ring:
        """Where the shares of ``parties`` members are added, exactly, with the same quantum."""
        return Ring(32, VALUE_BITS, TOP * self.quantum, parties)

    def agreed(self, model: str) -> str:
        """The digest of this noise and of the ``model`` whose digest is given, for the context.

        Members whose run files differ in it would each count on noise that the others do not add.
        """
        return hashlib.sha256(canonical([model, asdict(self)])).hexdigest()

    def add(self, total: Floats, stream: Normals) -> Floats:
        """``total``, a member's sum of clipped gradients, rounded and with a fresh share of noise.

        Whole multiples of the quantum, at most ``TOP`` of them. Raises PrivacyError where a number
        is not finite or beyond what ``most`` patients give.
        """
        if total.shape != (self.numbers,):
            raise PrivacyError(f"noise for {self.numbers} numbers, and there are {total.shape}")
        noisy = np.empty(self.numbers, np.float32)
        for start in range(0, self.numbers, AT_ONCE):
            part = slice(start, start + AT_ONCE)
            noisy[part] = self._whole(total[part].astype(np.float64), stream)
        noisy *= np.float32(self.quantum)  # exact: a power of two
        return noisy

    def _moved(self, quantum: float) -> float:
        """Delta."""
        clip, d = self.clip_norm / quantum, self.numbers
        square = clip**2 + 2 * clip * math.sqrt(UNLIKELY / 2) + d / 4 + math.sqrt(d * UNLIKELY / 2)
        return quantum * math.sqrt(square)

    def _share(self, quantum: float) -> float:
        return self.noise_multiplier * self._moved(quantum) / math.sqrt(self.honest)

    def _fits(self, quantum: float) -> bool:
        """A sum that is rounded up, and noise that is rounded up."""
        reach = self.most * self.clip_norm + TAIL * self._share(quantum)
        return bool(reach / quantum + 2 <= TOP)

    def _whole(self, numbers: NDArray[np.float64], stream: Normals) -> NDArray[np.float64]:
        """``floor(numbers + u) + round(noise)`` in quanta; uses up ``numbers``."""
        if not np.abs(numbers).max() <= self.most * self.clip_norm:  # NaN is not, either
            raise PrivacyError(
                "a clipped sum is not finite or larger than its patients can make it; nothing of "
                "it was released"
            )
        noise = stream.normal(len(numbers))
        noise *= self.deviation / self.quantum
        numbers *= 1 / self.quantum  # exact
        whole = np.floor(numbers)
        numbers -= whole
        whole += stream.uniform(len(numbers)) < numbers
        whole += np.rint(noise, out=noise)
        return whole


def noise_shares(dp: DpConfig, secagg: SecaggConfig, numbers: int) -> NoiseShares:
    """The shares that a run file asks for on ``numbers`` trained numbers.

    From the run file alone, so that every member and the receiver come to the same. Raises
    ConfigError where it does not ask for any, or they cannot be had.
    """
    if secagg.noise_shares is None or dp.noise_multiplier is None:
        raise ConfigError("no privacy.secagg.noise_shares of a privacy.dp.noise_multiplier is set")
    honest = secagg.noise_shares.honest
    return NoiseShares(dp.clip_norm, dp.noise_multiplier, honest, largest_step(dp), numbers)


def least_others(secagg: SecaggConfig) -> int:
    """How many others must be in a sum before a member helps to open it; 0 without shares.

    With itself they are as many honest ones as the noise is counted for, and the colluders.
    """
    return 0 if secagg.noise_shares is None else secagg.noise_shares.honest + secagg.colluders - 1

"""Gaussian noise on a power-of-two grid.

Added in plain floating point, the noise would leave the low bits of the sum visible (Mironov, CCS
2012). Here the sum is first rounded to multiples of a power of two. Noise rounded to the same grid
is then the same as ideal noise added to that rounded sum, and everything rounded afterwards, which
needs no secret: what is released is post-processing of the Gaussian mechanism.
"""

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from fedefm.errors import PrivacyError
from privacy.dp.gradients import ROUNDING
from privacy.dp.randomness import NORMALS_AT_ONCE, Doubles, SecretStream

GRID_SHARE = ROUNDING / 16  # of the bound, by which rounding to the grid may lift sensitivity
FINEST = 2.0**-20  # of the noise's deviation; a grid need not be finer, nor may it be coarser
TAIL = 10  # deviations that no draw of a SecretStream reaches


class GridNoise:
    """Noise of deviation ``noise_multiplier * bound`` for a sum of at most ``most`` vectors.

    Guarantee: let the sums of two neighboring datasets be at most ``bound * (1 - ROUNDING)`` apart
    in L2, as ``Clip`` leaves them, ``ROUNDING`` being 2^-12. Rounding d numbers to a grid g moves
    each by at most g/2, two sums apart by at most ``sqrt(d) g <= 2^-16 bound``. So the rounded
    sums differ by less than ``bound``, and the noise is ``noise_multiplier`` times what can differ.
    All steps are exact in float64; the last one, to float32, sees only what is noisy already.

    Not covered: the rounding of float32 in a back-end. Where it adds up n clipped vectors one by
    one, two sums err by at most ``n^2 2^-24 bound``, for which the margin stands up to 60 of them,
    and by far less unless all point the same way; a back-end that multiplies matrices over all
    frames has no such bound. Nor is the distance of float64 Box-Muller draws from ideal ones, whose
    tail ends at 9.5 deviations.

    Raises:
        PrivacyError: the numbers leave no such grid, or a sum is not finite.
    """

    def __init__(
        self, bound: float, noise_multiplier: float, numbers: int, most: int, stream: SecretStream
    ) -> None:
        self.deviation = noise_multiplier * bound
        if not (math.isfinite(self.deviation) and self.deviation > 0 and numbers > 0):
            raise PrivacyError(
                f"no noise of {noise_multiplier} times {bound} on {numbers} numbers can be drawn"
            )
        finest = min(bound * GRID_SHARE / math.sqrt(numbers), self.deviation * FINEST)
        self.grid = 2.0 ** math.floor(math.log2(finest))
        if (most * bound + TAIL * self.deviation) / self.grid >= 2.0**52:
            raise PrivacyError(
                f"noise of {noise_multiplier} times the clip norm is too large to be added exactly "
                f"to {numbers} numbers; lower it"
            )
        self._stream = stream

    def add(self, total: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """``total`` with fresh noise on each of its numbers, in float32, on the same device."""
        return {name: self._add(numbers) for name, numbers in total.items()}

    def _add(self, numbers: Tensor) -> Tensor:
        flat = numbers.detach().reshape(-1).cpu().numpy()
        noisy = np.empty(len(flat), dtype=np.float32)
        for start in range(0, len(flat), NORMALS_AT_ONCE):
            part = slice(start, start + NORMALS_AT_ONCE)
            noisy[part] = self._on_grid(flat[part].astype(np.float64))
        if not np.isfinite(noisy).all():
            raise PrivacyError("a clipped sum is not finite; nothing of it was released")
        return torch.from_numpy(noisy).reshape(numbers.shape).to(numbers.device)

    def _on_grid(self, numbers: Doubles) -> Doubles:
        """``round(numbers) + round(noise)``, both in multiples of the grid; uses up ``numbers``."""
        noise = self._stream.normal(len(numbers))
        noise *= self.deviation / self.grid
        numbers *= 1 / self.grid
        total = _nearest(numbers)
        total += _nearest(noise)
        total *= self.grid
        return total


def _nearest(numbers: Doubles) -> Doubles:
    """The nearest integers, in place; halves upward, so that a shift by one shifts the result."""
    numbers += 0.5
    return np.floor(numbers, out=numbers)

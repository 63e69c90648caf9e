"""A noisy mean over a site's patients, for choices that are visible in what leaves.

How much a site trusts each returned expert is measured on its private images and shows in the
weights that it sends, so it is a release like a training step, and is counted as one.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from fedefm.train.protection import PerImage
from privacy.calibrate import Sampling
from privacy.dp.gradients import ROUNDING
from privacy.dp.noise import GridNoise
from privacy.dp.randomness import SecretStream
from privacy.dp.sampling import PatientFrames, Sampler
from privacy.dp.trainer import Account, check_account
from privacy.mechanism import Unit

BOUND = 1.0  # L2, of a patient's vector: shares of at least 0 and at most 1 in sum


class PrivateMean:
    """Shares that come from private images; a ``fedefm.train.protection.Mean``.

    Guarantee: the result of a call is post-processing of one step of ``account.mechanism``, which
    was reserved before an image was read. Patients are drawn as in training. Each gives the mean of
    ``per_image`` over up to ``frames_per_patient`` of its frames, clipped to an L2 norm of 1; one
    that is not finite, or for which ``per_image`` fails, gives zeros. ``per_image`` sees the frames
    of one patient at a time, so nothing in it can couple two. The sum with noise of deviation
    ``noise_multiplier`` is divided by the expected number of patients; negative shares become 0,
    and the rest are made to sum to 1.

    Raises:
        PrivacyError: the account counts other steps than these.
        BudgetExhausted: when called, the account refuses; nothing was read.
    """

    def __init__(
        self,
        frames: PatientFrames,
        sampling: Sampling,
        noise_multiplier: float,
        account: Account,
        frames_per_patient: int,
        unit: Unit,
        randomness: SecretStream | None = None,
    ) -> None:
        self._mechanism = sampling.mechanism(noise_multiplier)
        check_account(account, self._mechanism)
        self._stream = SecretStream() if randomness is None else randomness
        self._sampler = Sampler(frames.patients, sampling, frames_per_patient, unit, self._stream)
        self._sampling, self._account = sampling, account

    @torch.no_grad()
    def __call__(self, per_image: PerImage, length: int, rng: torch.Generator) -> Tensor:
        """``(length,)`` shares of at least 0, in sum 1; equal where the noise left none above 0.

        ``rng`` is not used, as it comes from the run's seed, which is public.
        """
        noise = GridNoise(
            BOUND,
            self._mechanism.noise_multiplier,
            numbers=length,
            most=self._sampling.units,
            stream=self._stream,
        )
        check_account(self._account, self._mechanism)
        reservation = self._account.reserve(1)
        total = _clipped_sum(per_image, self._sampler.draw(), length)
        noisy = noise.add({"shares": total})["shares"]
        self._account.settle(reservation, 1)
        return _shares(noisy / self._sampling.expected)


def _clipped_sum(per_image: PerImage, drawn: Sequence[Tensor], length: int) -> Tensor:
    """``(length,)`` float64: the clipped vectors of all drawn units, added up."""
    total = torch.zeros(length, dtype=torch.float64)
    for rows in drawn:
        try:
            vectors = per_image(rows)
        except Exception:  # a unit for which it fails must not be heard: privacy.dp.forgiving
            continue
        if vectors.shape != (len(rows), length):
            raise ValueError(f"{tuple(vectors.shape)} numbers of {len(rows)} images, {length} each")
        vector = vectors.double().cpu().mean(dim=0)
        if vector.isfinite().all():
            total += vector * min(1.0, BOUND * (1 - ROUNDING) / max(float(vector.norm()), 1e-30))
    return total


def _shares(means: Tensor) -> Tensor:
    positive = means.clamp(min=0)
    total = positive.sum()
    return positive / total if total > 0 else torch.full_like(means, 1 / len(means))

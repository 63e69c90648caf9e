"""One private step whose noise is made by many sites together.

A share of the noise protects nobody by itself. So what a step finds does not become part of the
model here: it leaves as part of a secure sum or not at all, and the model that comes back is made
of the sum (``privacy.secagg.noise_shares``).
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from fedefm.errors import PrivacyError
from fedefm.train.objective import Objective
from fedefm.train.optimization import momentum_sgd
from fedefm.train.trainer import FitStats, Transform
from privacy.calibrate import Sampling
from privacy.dp.gradients import Clip, Gradients
from privacy.dp.randomness import SecretStream
from privacy.dp.sampling import PatientFrames
from privacy.dp.trainer import Account, Noise, PrivateTrainer
from privacy.mechanism import Unit
from privacy.secagg.noise_shares import NoiseShares


class SharingTrainer(PrivateTrainer):
    """A ``Trainer`` of single steps that leaves the model as it was.

    Guarantee: what ``give`` returns is one step's sum of clipped gradients with this site's share
    of the noise, once; added to those of ``shares.honest - 1`` other honest sites it is a step of
    ``account.mechanism``, and alone it is one of ``account.mechanism.own_noise``. Nothing else of a
    step is kept: no weights, no momentum.
    """

    def __init__(
        self,
        frames: PatientFrames,
        sampling: Sampling,
        clip: Clip,
        gradients: Gradients | None,
        shares: NoiseShares,
        account: Account,
        frames_per_patient: int,
        unit: Unit,
        transform: Transform | None,
        randomness: SecretStream | None = None,
    ) -> None:
        _check(shares, sampling, clip)
        super().__init__(
            frames,
            sampling,
            clip,
            gradients,
            shares.noise_multiplier,
            account,
            frames_per_patient,
            unit,
            momentum_sgd(0.0),  # never asked: a step here does not descend
            transform,
            randomness,
            shares.honest,
        )
        self._shares = shares
        self._found: dict[str, Tensor] | None = None
        self._to_give: dict[str, Tensor] | None = None

    def fit(
        self,
        model: nn.Module,
        objective: Objective,
        steps: int,
        learning_rate: float,
        rng: torch.Generator,
    ) -> FitStats:
        """Compute one step for ``give``; ``model`` and ``learning_rate`` are not used up by it.

        Raises PrivacyError for more than one step, whose sum would need a model in between.
        """
        self._found = self._to_give = None
        if steps != 1:
            raise PrivacyError(
                f"{steps} steps at once cannot share their noise: only the sum of all sites is "
                "noisy enough to go on from; set federation.local_steps to 1"
            )
        stats = super().fit(model, objective, steps, learning_rate, rng)
        self._to_give, self._found = self._found, None
        return stats

    def give(self) -> dict[str, Tensor]:
        """The newest fit's noisy sum by parameter name, for one secure sum. Raises PrivacyError
        where there is none, or it was given before: in two sums it could be told apart."""
        given, self._to_give = self._to_give, None
        if given is None:
            raise PrivacyError("there is no step to give to the sum, or it was given before")
        return given

    def _noise_for(self, parameters: Mapping[str, nn.Parameter]) -> Noise:
        numbers = sum(parameter.numel() for parameter in parameters.values())
        if numbers != self._shares.numbers:
            raise PrivacyError(
                f"the shares of the noise are for {self._shares.numbers} trained numbers, and the "
                f"model has {numbers}; build both from the same run file"
            )
        return _Shared(self._shares, self._stream)

    def _descend(
        self, parameters: Mapping[str, nn.Parameter], noisy: Mapping[str, Tensor], rate: float
    ) -> None:
        self._found = {name: noisy[name] for name in parameters}


class _Shared:
    """``NoiseShares`` on named tensors."""

    def __init__(self, shares: NoiseShares, stream: SecretStream) -> None:
        self._shares, self._stream = shares, stream

    def add(self, total: Mapping[str, Tensor]) -> dict[str, Tensor]:
        flat = torch.cat([part.detach().reshape(-1).float().cpu() for part in total.values()])
        noisy = torch.from_numpy(self._shares.add(flat.numpy(), self._stream))
        parts = noisy.split([part.numel() for part in total.values()])
        return {name: part.view_as(total[name]) for name, part in zip(total, parts, strict=True)}


def _check(shares: NoiseShares, sampling: Sampling, clip: Clip) -> None:
    """Raises PrivacyError where a step can hold more, or longer, vectors than the noise is for."""
    if clip.norm > shares.clip_norm or sampling.cap > shares.most:
        raise PrivacyError(
            f"the shares of the noise are for up to {shares.most} units within {shares.clip_norm}, "
            f"and a step has up to {sampling.cap} within {clip.norm}; build both from the same "
            "run file"
        )

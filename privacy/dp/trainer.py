"""DP-SGD for a site's patients, behind the protocol of every other trainer.

A step draws patients, sums their clipped gradients, adds noise and divides by the number that was
to be expected (Abadi et al., CCS 2016, arXiv 1607.00133; patients instead of images). Whatever is
made of the noisy sums, by momentum or the moments of AdamW, is post-processing and costs nothing.
"""

import logging
import time
from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor, nn

from fedefm.errors import ModelError, PrivacyError
from fedefm.train.objective import Objective
from fedefm.train.optimization import Optimization
from fedefm.train.trainer import FitStats, Transform
from privacy.calibrate import Sampling
from privacy.dp.automatic import ChosenGradients
from privacy.dp.forgiving import checked_sum, forgiving_sum
from privacy.dp.gradients import Clip, Gradients, trainable
from privacy.dp.noise import GridNoise
from privacy.dp.probe import SAMPLES, check_independence
from privacy.dp.randomness import SecretStream
from privacy.dp.rehearsal import in_rehearsal
from privacy.dp.sampling import PatientFrames, Sampler, unit_batch
from privacy.mechanism import Mechanism, Unit

log = logging.getLogger(__name__)


class Account(Protocol):
    """Where steps are paid for, before they are taken."""

    @property
    def mechanism(self) -> Mechanism:
        """What one step is counted as."""
        ...

    def reserve(self, steps: int) -> int:
        """Write down, durably, that so many steps may be taken. Raises BudgetExhausted."""
        ...

    def settle(self, reservation: int, steps: int) -> None:
        """So many steps of the reservation were taken."""
        ...


class Noise(Protocol):
    """What a step's sum gets before anybody sees it."""

    def add(self, total: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """``total``, by parameter name, with fresh noise on each of its numbers."""
        ...


class PrivateTrainer:
    """Steps by noisy sums of clipped gradients; a ``fedefm.train.trainer.Trainer``.

    Guarantee: weights, state and ``FitStats`` of one call are the outcome of ``steps`` steps of
    ``account.mechanism``, which were reserved before an image was read; how long a call took is
    measured and not covered. The account is asked once a call, and a call that fails leaves its
    steps spent.

    Args:
        sampling: how patients are drawn, and the public number that a step's sum is divided by.
        gradients: None: the fastest back-end, found on random images when first needed.
        noise_multiplier: deviation of the noise, in clip norms; as ``account.mechanism`` has it.
        frames_per_patient: how many images a drawn patient gives at most.
        optimization: what is made of a noisy gradient; it sees no image, so it costs nothing.
        transform: changes each image by itself; a mixture of two would break the guarantee.
        randomness: for tests only; see ``SecretStream``.
        shares: of how many sites' noise ``account.mechanism`` is made.

    Raises:
        DataError: there are no frames.
        PrivacyError: the account counts other steps than these, or there are more patients than
            ``sampling.units``; when fitting, a model or objective that couples samples.
        BudgetExhausted: when fitting, the account refuses; the model is as it was.
        ModelError: when fitting, the weights are no longer finite.
    """

    def __init__(
        self,
        frames: PatientFrames,
        sampling: Sampling,
        clip: Clip,
        gradients: Gradients | None,
        noise_multiplier: float,
        account: Account,
        frames_per_patient: int,
        unit: Unit,
        optimization: Optimization,
        transform: Transform | None,
        randomness: SecretStream | None = None,
        shares: int = 1,
    ) -> None:
        self._mechanism = sampling.mechanism(noise_multiplier, shares)
        check_account(account, self._mechanism)
        self._stream = SecretStream() if randomness is None else randomness
        self._sampler = Sampler(frames.patients, sampling, frames_per_patient, unit, self._stream)
        self._frames, self._transform = frames, transform
        self._sampling, self._clip, self._account = sampling, clip, account
        self._frames_per_unit = frames_per_patient if unit == "patient" else 1
        self._gradients = gradients or ChosenGradients(
            "auto", max(1, round(sampling.expected)), self._frames_per_unit, frames.random_batch
        )
        self._rehearsed: list[tuple[nn.Module, object]] = []
        self._optimization = optimization
        self._kept: dict[str, Tensor] = {}

    def fit(
        self,
        model: nn.Module,
        objective: Objective,
        steps: int,
        learning_rate: float,
        rng: torch.Generator,
    ) -> FitStats:
        """Take ``steps`` private steps.

        ``rng`` is not used. It comes from the run's seed, which everybody in the run knows, and who
        knows the draws has neither amplification by sampling nor noise against him.
        """
        started = time.perf_counter()
        parameters = trainable(model)
        self._rehearse(model, objective)
        noise = self._noise_for(parameters)
        check_account(self._account, self._mechanism)
        reservation = self._account.reserve(steps)
        model.train()
        ignored = 0
        for _ in range(steps):
            total, bad = self._clipped_sum(model, objective, parameters)
            self._descend(parameters, noise.add(total), learning_rate)
            ignored += bad
        self._account.settle(reservation, steps)
        if ignored:  # a private number: for the site's own log, never for FitStats
            log.warning("%d gradients failed or were not finite, and counted as zero", ignored)
        _check_finite(parameters)
        return FitStats(None, steps, self._expected_images(steps), time.perf_counter() - started)

    def state(self) -> dict[str, Tensor]:
        """What the optimization keeps, by parameter name: made of what is noisy already."""
        return {name: tensor.clone() for name, tensor in self._kept.items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on with what was kept."""
        self._kept = {name: tensor.clone() for name, tensor in state.items()}

    def _rehearse(self, model: nn.Module, objective: Objective) -> None:
        """Refuse what cannot be trained privately, on random images, before anything is spent."""
        kind = _kind(objective)
        if any(known is model and of == kind for known, of in self._rehearsed):
            return
        batch = self._frames.random_batch(SAMPLES, torch.Generator().manual_seed(0))
        check_independence(model, objective, batch)
        with in_rehearsal(model):
            step = unit_batch(batch, [1] * len(batch.images))
            checked_sum(self._gradients, model, objective, step, self._clip)
        self._rehearsed.append((model, kind))

    def _noise_for(self, parameters: Mapping[str, nn.Parameter]) -> Noise:
        return GridNoise(
            self._clip.norm,
            self._mechanism.noise_multiplier,
            numbers=sum(parameter.numel() for parameter in parameters.values()),
            most=self._sampling.units,
            stream=self._stream,
        )

    def _clipped_sum(
        self, model: nn.Module, objective: Objective, parameters: Mapping[str, nn.Parameter]
    ) -> tuple[dict[str, Tensor], int]:
        """The sum for every parameter, and how many units were ignored; zeros for an empty draw."""
        drawn = self._sampler.draw()
        if not drawn:
            return {name: torch.zeros_like(p) for name, p in parameters.items()}, 0
        batch = self._frames.batch(torch.cat(drawn), self._transform, self._stream.generator())
        step = unit_batch(batch, [len(rows) for rows in drawn])
        found = forgiving_sum(self._gradients, model, objective, step, self._clip)
        return {name: found.gradients[name] for name in parameters}, found.ignored

    def _descend(
        self, parameters: Mapping[str, nn.Parameter], noisy: Mapping[str, Tensor], rate: float
    ) -> None:
        """One step of the optimization; ``noisy`` holds every parameter, or it fails."""
        optimizer = self._optimization.optimizer(parameters, rate, self._kept)
        for name, parameter in parameters.items():
            parameter.grad = (noisy[name] / self._sampling.expected).to(parameter.dtype)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        self._kept |= self._optimization.kept(optimizer, parameters)

    def _expected_images(self, steps: int) -> int:
        """From public numbers alone; patients with few images give fewer."""
        return round(steps * self._sampling.expected * self._frames_per_unit)


def _kind(objective: Objective) -> tuple[object, ...]:
    """Equal for what one factory makes twice; another function inside makes it another kind."""
    inside = [cell.cell_contents for cell in getattr(objective, "__closure__", None) or ()]
    return (getattr(objective, "__code__", objective), *filter(callable, inside))


def check_account(account: Account, mechanism: Mechanism) -> None:
    """Raises PrivacyError where the account counts other steps than those that are taken."""
    if account.mechanism != mechanism:
        raise PrivacyError(
            f"the account counts {account.mechanism} a step, and the trainer would take "
            f"{mechanism}; build both from the same settings"
        )


def _check_finite(parameters: Mapping[str, nn.Parameter]) -> None:
    if not all(bool(parameter.isfinite().all()) for parameter in parameters.values()):
        raise ModelError("weights became infinite or NaN; lower training.learning_rate")

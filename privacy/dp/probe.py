"""Before any epsilon is claimed: does a sample's gradient depend on that sample alone?

Clipping bounds what one patient adds to a step only where the other samples' gradients do not move
with this patient's. BatchNorm, a mean over the batch or a contrastive loss break it, and then the
noise is too small for the epsilon that is written down; nothing else in training would notice. So a
batch of random images is passed through the model in training mode, with samples exchanged, taken
away and spoilt, and what belongs to the other samples is compared.

What it cannot see: a dependence that these batches do not bring about.
"""

from collections.abc import Callable, Sequence
from dataclasses import fields, replace

import torch
from torch import Tensor, nn

from fedefm.errors import FedEFMError, PrivacyError
from fedefm.train.objective import Batch, Objective, noise_batch
from privacy.dp.culprit import (
    OBJECTIVE,
    advice,
    backward_culprit,
    described,
    differ,
    forward_culprit,
)
from privacy.dp.rehearsal import Observed, in_rehearsal, observe

SAMPLES = 5  # rarely a number of channels, heads or tokens
SAME_SIZE = 1e-5  # relative; equal shapes run through equal kernels
OTHER_SIZE = 1e-4  # relative; kernels for another batch size add up in another order
GRADIENT = 1e-3  # relative, in L2
ATTEMPTS = 3  # a rounding may switch a ReLU at its kink, though hardly in three batches in a row

CHECKS = (
    "the objective gives one loss per sample",
    "no sample's output or loss moves with another sample",
    "no sample's gradient moves with another sample",
    "no output, loss or gradient moves when another sample is left out",
    "a sample that is not a number spoils no other's loss",
    "the model keeps nothing of the samples that it saw",
)


def check_independence(
    model: nn.Module,
    objective: Objective,
    batch: Batch,
    passed: Callable[[str], None] = lambda check: None,
) -> None:
    """Refuse a model or objective in which the samples of a batch see each other.

    Args:
        model: not yet wrapped by a gradient back-end; it is left exactly as it was.
        batch: at least SAMPLES random samples, never patients' (their frames' ``random_batch``).
        passed: told each of CHECKS that holds, in their order.

    Raises:
        PrivacyError: naming the module at fault, or the objective, and what to put in its place.
    """
    if len(batch.images) < SAMPLES:
        raise ValueError(f"the probe needs {SAMPLES} samples, not {len(batch.images)}")
    batch = batch.at(slice(0, SAMPLES))
    _refuse_what_runs_only_in_groups(model)
    with in_rehearsal(model):
        probe = _Probe(model, objective, batch)
        checks = (
            probe.shape,
            probe.exchange,
            probe.gradient,
            probe.absence,
            probe.spoilt,
            probe.memory,
        )
        for name, check in zip(CHECKS, checks, strict=True):
            check()
            passed(name)


def random_batch(
    image: Sequence[int], classes: int, masks: bool = False, samples: int = SAMPLES
) -> Batch:
    """Noise in the shape (C, H, W) of ``image``, with random labels or masks below ``classes``."""
    return noise_batch(image, classes, masks, samples, torch.Generator().manual_seed(0))


class _Probe:
    """The checks on one model, all against the same calm pass."""

    def __init__(self, model: nn.Module, objective: Objective, batch: Batch) -> None:
        self._model, self._objective, self._batch = model, objective, batch
        self._strangers = strangers(batch, seed=1)
        self._first, self._last = 0, SAMPLES - 1
        self._calm = self._observe(batch)
        self._states: list[dict[str, Tensor]] = []  # after each exchange

    def shape(self) -> None:
        losses = self._calm.losses
        if losses.shape != (SAMPLES,) or not losses.is_floating_point():
            raise self._refusal(
                f"gives a {losses.dtype} tensor of shape {tuple(losses.shape)} for {SAMPLES} "
                f"samples, not ({SAMPLES},) losses",
                OBJECTIVE,
            )
        if not losses.isfinite().all():
            raise PrivacyError(
                "no epsilon can be claimed: the losses of random images are not finite, so nothing "
                "can be compared; look at the model's weights and at the objective"
            )

    def exchange(self) -> None:
        for sample in range(SAMPLES):
            other = self._exchanged(self._batch, sample)
            seen = self._observe(other, backward=False)
            self._compare_outputs(other, seen, others(sample))
            self._states.append(seen.state)

    def gradient(self) -> None:
        for sample in (self._first, self._last):
            other = self._exchanged(self._batch, sample)
            watched = others(sample)
            if _moved(self._calm.images, self._observe(other).images, watched, SAME_SIZE):
                raise self._gradient_refusal(other, watched)
        changed = self._exchanged(self._batch, self._last)
        if self._effects_differ(self._batch, changed):
            raise self._gradient_refusal(changed, torch.arange(1, self._last))

    def absence(self) -> None:
        rest = self._batch.at(slice(0, self._last))
        stayed = torch.arange(self._last)
        observed = self._observe_fewer(rest)
        self._compare_outputs(rest, observed, stayed, OTHER_SIZE)
        batches = (self._batch, *(strangers(self._batch, seed) for seed in range(2, 1 + ATTEMPTS)))
        if all(self._gradients_miss_the_last(batch) for batch in batches):
            raise self._gradient_refusal(rest, stayed)
        alone = self._batch.at(slice(0, 1))
        self._compare_outputs(alone, self._observe_fewer(alone), torch.zeros(1).long(), OTHER_SIZE)

    def spoilt(self) -> None:
        """Against couplings too weak for a comparison of rounded numbers."""
        spoilt = self._batch.each(lambda tensor: _spoilt(tensor, self._last))
        try:
            observed = observe(self._model, self._objective, spoilt, backward=False)
        except Exception:  # refusing a NaN aloud is no coupling
            return
        self._compare_outputs(spoilt, observed, others(self._last))

    def memory(self) -> None:
        rest = self._observe(self._batch.at(slice(0, self._last)), backward=False)
        for state in (*self._states, rest.state):
            self._compare_states(state)
        again = self._observe(self._batch, backward=False)
        if differ(self._calm.losses, again.losses, SAME_SIZE):
            raise PrivacyError(
                "no epsilon can be claimed: the same batch gives other losses the second time, so "
                "the model or the objective remembers what it saw, or draws from a generator of "
                "its own; keep no state there, and draw from torch's global generator"
            )

    def _exchanged(self, batch: Batch, sample: int) -> Batch:
        """``batch`` with a stranger in row ``sample``."""
        changed = batch.each(Tensor.clone)
        for field in fields(batch):
            getattr(changed, field.name)[sample] = getattr(self._strangers, field.name)[sample]
        return changed

    def _observe(self, batch: Batch, backward: bool = True) -> Observed:
        try:
            return observe(self._model, self._objective, batch, backward)
        except FedEFMError:
            raise
        except Exception as error:
            raise PrivacyError(
                f"no epsilon can be claimed: {len(batch.images)} random images of shape "
                f"{tuple(batch.images.shape[1:])} cannot be passed through the model "
                f"({type(error).__name__}: {_short(error)})"
            ) from error

    def _observe_fewer(self, batch: Batch) -> Observed:
        """Poisson sampling gives batches of any size, so the model must take them."""
        try:
            return self._observe(batch)
        except FedEFMError as error:
            raise PrivacyError(
                f"{error}, although {SAMPLES} can; private steps have batches of any size"
            ) from error

    def _compare_outputs(
        self, other: Batch, seen: Observed, watched: Tensor, relative: float = SAME_SIZE
    ) -> None:
        pairs = [(self._calm.losses, seen.losses)]
        pairs += [
            (before, after)
            for before, after in zip(self._calm.outputs, seen.outputs, strict=False)
            if before.dim() and len(before) == SAMPLES and len(after) == len(other.images)
        ]
        if seen.losses.shape != other.rows.shape or any(
            differ(before[watched], after[watched], relative) for before, after in pairs
        ):
            place = forward_culprit(self._model, self._objective, self._batch, other, watched)
            raise self._refusal("lets a sample's loss depend on the rest of its batch", place)

    def _gradients_miss_the_last(self, batch: Batch) -> bool:
        """Whether gradients of the others depend on the last sample being there."""
        rest = batch.at(slice(0, self._last))
        before, after = self._observe(batch), self._observe(rest)
        stayed = torch.arange(self._last)
        return _moved(before.images, after.images, stayed, GRADIENT) or self._effects_differ(
            batch, rest
        )

    def _effects_differ(self, batch: Batch, other: Batch) -> bool:
        """What exchanging one sample adds to the gradient must not depend on who else is there."""
        here, there = self._effect_on_weights(batch), self._effect_on_weights(other)
        if here is None or there is None:
            return False
        return not (here - there).norm() <= GRADIENT * here.norm() + SAME_SIZE * self._size()

    def _effect_on_weights(self, batch: Batch) -> Tensor | None:
        calm = self._calm if batch is self._batch else self._observe(batch)
        changed = self._observe(self._exchanged(batch, self._first))
        if calm.weights is None or changed.weights is None:
            return None
        return changed.weights - calm.weights

    def _size(self) -> float:
        return 0.0 if self._calm.weights is None else float(self._calm.weights.norm())

    def _compare_states(self, after: dict[str, Tensor]) -> None:
        before = self._calm.state
        for name in sorted(set(before) | set(after)):
            if name not in before or name not in after or differ(before[name], after[name], 0.0):
                raise self._refusal(
                    f"keeps {name.rpartition('.')[2]!r} of the samples that it saw, and weights "
                    "are sent with it",
                    name.rpartition(".")[0],
                )

    def _gradient_refusal(self, other: Batch, watched: Tensor) -> PrivacyError:
        place = backward_culprit(self._model, self._objective, self._batch, other, watched)
        return self._refusal(
            "lets a sample's gradient depend on the rest of its batch", place or ""
        )

    def _refusal(self, what: str, place: str) -> PrivacyError:
        return PrivacyError(
            f"no epsilon can be claimed: {described(self._model, place, self._objective)} {what}; "
            f"{advice(self._model, place)}"
        )


def strangers(batch: Batch, seed: int) -> Batch:
    """For each row of ``batch`` another image, and another row's label and what else it has."""
    rng = torch.Generator().manual_seed(seed)
    noise = torch.randn(batch.images.shape, generator=rng).to(batch.images)
    images = batch.images.mean() + 1.5 * batch.images.std() * noise
    return replace(batch.each(_of_another_row), images=images, rows=batch.rows)


def _of_another_row(values: Tensor) -> Tensor:
    """For each row one that differs from it, if there is one."""
    changed = values.clone()
    for row, value in enumerate(values):
        for candidate in values:
            if not torch.equal(candidate, value):
                changed[row] = candidate
    return changed


def _spoilt(values: Tensor, row: int) -> Tensor:
    """NaN in one row, of what can be NaN."""
    changed = values.clone()
    if values.is_floating_point():
        changed[row] = torch.nan
    return changed


def others(sample: int) -> Tensor:
    """All places of the batch but ``sample``."""
    return torch.tensor([place for place in range(SAMPLES) if place != sample])


def _moved(before: Tensor | None, after: Tensor | None, watched: Tensor, relative: float) -> bool:
    if before is None or after is None:
        return False
    return differ(before[watched], after[watched], relative)


def _refuse_what_runs_only_in_groups(model: nn.Module) -> None:
    """SyncBatchNorm computes over several processes, and refuses to run alone on a CPU."""
    for name, module in model.named_modules():
        if isinstance(module, nn.SyncBatchNorm):
            raise PrivacyError(
                f"no epsilon can be claimed: module {name!r} (SyncBatchNorm) computes over the "
                f"batches of all processes; {advice(model, name)}"
            )


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]

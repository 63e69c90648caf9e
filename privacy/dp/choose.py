"""Picks the fastest way to compute clipped gradients, after checking it against the reference.

All of it happens on random images and labels, so neither times nor choice tell about a patient.
"""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fedefm.errors import PrivacyError
from fedefm.train.objective import Objective
from privacy.dp.bookkeeping import BookkeepingGradients
from privacy.dp.ghost import GhostGradients
from privacy.dp.gradients import Clip, ClippedSum, Gradients, UnitBatch, trainable
from privacy.dp.hooks import HookGradients
from privacy.dp.loop import LoopGradients

log = logging.getLogger(__name__)

BACKENDS: tuple[Gradients, ...] = (
    BookkeepingGradients(),
    LoopGradients(),
    HookGradients(),
    GhostGradients(),
)
ROUNDS = 3  # of which the first warms up, and is not timed
HOPELESS = 2.0  # times the fastest: not tried again
# In single precision a ReLU's input near zero may fall on either side, which moves a sum by
# percents in some draws. A back-end that is wrong is so in all of them.
AGREES = 1e-3
WRITTEN_OUT = 2 * 2**30  # bytes of gradients by frame, above which hooks are not tried unasked

Draw = Callable[[int], UnitBatch]
"""A round's number to a step of random frames."""


@dataclass(frozen=True)
class Choice:
    """The fastest back-end, the best seconds of each that was right, and why others were not."""

    gradients: Gradients
    seconds: dict[str, float]
    refused: dict[str, str]

    def __str__(self) -> str:
        best = self.seconds[self.gradients.name]
        times = [f"{name} {t / best:.2f} x" for name, t in self.seconds.items()]
        refused = [f"{name} refused: {reason}" for name, reason in self.refused.items()]
        return f"{self.gradients.name} ({'; '.join([', '.join(times), *refused])})"


def choose(
    model: nn.Module,
    objective: Objective,
    draw: Draw,
    clip: Clip,
    wanted: str = "auto",
    backends: Sequence[Gradients] = BACKENDS,
) -> Choice:
    """Time the back-ends in turn on a few random steps.

    ``wanted`` names one that is to be used however slow it is; the reference needs no trial.

    Raises:
        PrivacyError: the wanted one is unknown, refuses the model, or is wrong on it.
    """
    if wanted == LoopGradients.name:
        return Choice(LoopGradients(), {}, {})
    rivals = [b for b in backends if wanted in ("auto", b.name) and b.name != LoopGradients.name]
    if not rivals and wanted != "auto":
        names = ", ".join(["auto", *(b.name for b in backends)])
        raise PrivacyError(f"gradients {wanted!r} are unknown; choose one of {names}")
    with torch.random.fork_rng(devices=[]):
        trial = _Trial(model, objective, clip)
        if wanted == "auto":
            rivals = trial.affordable(rivals, draw(0))
        for number in range(ROUNDS):
            rivals = trial.round(draw(number), rivals)
            if number == 0:
                trial.forget_times()
            elif wanted == "auto":
                rivals = trial.promising(rivals)
    choice = trial.choice([b for b in backends if wanted in ("auto", b.name)])
    log.info("gradients by %s", choice)
    return choice


class _Trial:
    def __init__(self, model: nn.Module, objective: Objective, clip: Clip) -> None:
        self._model, self._objective, self._clip = model, objective, clip
        self._reference = LoopGradients()
        self._seconds: dict[str, float] = {}
        self._errors: dict[str, float] = {}
        self._refused: dict[str, str] = {}

    def affordable(self, rivals: Sequence[Gradients], step: UnitBatch) -> list[Gradients]:
        """All but hooks where they would write out too much."""
        size = sum(p.numel() * p.element_size() for p in trainable(self._model).values())
        needed = size * len(step.units)
        if needed <= WRITTEN_OUT:
            return list(rivals)
        self._refused[HookGradients.name] = f"it would write out {needed / 2**30:.1f} GiB"
        return [rival for rival in rivals if rival.name != HookGradients.name]

    def round(self, step: UnitBatch, rivals: Sequence[Gradients]) -> list[Gradients]:
        """Each takes the step once; those that do not refuse."""
        truth = self._timed(self._reference, step)
        left = []
        for rival in rivals:
            try:
                found = self._timed(rival, step)
            except PrivacyError as refusal:
                self._refused[rival.name] = str(refusal)
                self._seconds.pop(rival.name, None)
            else:
                error = _error(found, truth)
                self._errors[rival.name] = min(error, self._errors.get(rival.name, error))
                left.append(rival)
        return left

    def forget_times(self) -> None:
        """The first time includes imports and memory that is met for the first time."""
        self._seconds.clear()

    def promising(self, rivals: Sequence[Gradients]) -> list[Gradients]:
        """Those that may still be the fastest."""
        best = min(self._seconds.values())
        return [rival for rival in rivals if self._seconds[rival.name] <= HOPELESS * best]

    def choice(self, candidates: Sequence[Gradients]) -> Choice:
        """The fastest of the candidates that was right at least once."""
        for name, error in self._errors.items():
            if name in self._seconds and not error <= AGREES:
                self._refused[name] = f"its sum is off by {error:.0e} of that of 'loop'"
                del self._seconds[name]
        left = [candidate for candidate in candidates if candidate.name in self._seconds]
        if not left:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in self._refused.items())
            raise PrivacyError(f"gradients by {reasons}")
        fastest = min(left, key=lambda candidate: self._seconds[candidate.name])
        return Choice(fastest, self._seconds, self._refused)

    def _timed(self, backend: Gradients, step: UnitBatch) -> ClippedSum:
        start = time.perf_counter()
        found = backend.clipped_sum(self._model, self._objective, step, self._clip)
        float(found.norms.sum())  # waits for an accelerator
        taken = time.perf_counter() - start
        self._seconds[backend.name] = min(taken, self._seconds.get(backend.name, taken))
        return found


def _error(found: ClippedSum, truth: ClippedSum) -> float:
    """Relative, of the sum as one vector or of the worst norm."""
    sums, norms = _difference(_flat(found), _flat(truth)), found.norms - truth.norms
    return max(sums, float((norms.abs() / truth.norms.clamp_min(1e-12)).max()))


def _difference(a: Tensor, b: Tensor) -> float:
    return float((a - b).norm() / b.norm().clamp_min(1e-12))


def _flat(found: ClippedSum) -> Tensor:
    return torch.cat([gradient.flatten() for gradient in found.gradients.values()])

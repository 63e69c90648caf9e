"""The back-end that a run file names, or the fastest one, found when a model is first trained."""

import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from fedefm.train.objective import Batch, Objective
from privacy.dp.choose import Choice, choose
from privacy.dp.gradients import Clip, ClippedSum, UnitBatch, trainable

RandomBatch = Callable[[int, torch.Generator], Batch]
"""So many samples of noise, of the kind and in the shapes of the frames that are trained on."""


class ChosenGradients:
    """Chooses once for each model, set of trained parameters and kind of objective.

    Args:
        wanted: ``auto``, or the name of a back-end, which is then only checked.
        units: how many units a step is expected to have; public, as are the following.
        frames: how many frames a unit may give.
        random_batch: as of ``PatientFrames``.
    """

    def __init__(self, wanted: str, units: int, frames: int, random_batch: RandomBatch) -> None:
        self.name = wanted
        self.choices: list[Choice] = []
        self._units, self._frames, self._random_batch = units, frames, random_batch
        self._chosen: weakref.WeakKeyDictionary[nn.Module, dict[Any, Choice]] = (
            weakref.WeakKeyDictionary()
        )

    def clipped_sum(
        self, model: nn.Module, objective: Objective, step: UnitBatch, clip: Clip
    ) -> ClippedSum:
        """As in ``Gradients``; the first call for a model takes the time of a dozen."""
        choice = self._choice(model, objective, step, clip)
        return choice.gradients.clipped_sum(model, objective, step, clip)

    def _choice(
        self, model: nn.Module, objective: Objective, step: UnitBatch, clip: Clip
    ) -> Choice:
        kind = getattr(objective, "__code__", objective)  # the same for every call of a factory
        known = self._chosen.setdefault(model, {})
        key = (tuple(trainable(model)), kind, clip)
        if key not in known:
            draw = partial(self._random, step.units.device)
            known[key] = choose(model, objective, draw, clip, self.name)
            self.choices.append(known[key])
        return known[key]

    def _random(self, place: torch.device, number: int) -> UnitBatch:
        """A step of noise; the frames of a real one are not looked at."""
        rng = torch.Generator().manual_seed(number)
        count = self._units * self._frames
        batch = self._random_batch(count, rng).each(lambda tensor: tensor.to(place))
        units = torch.arange(self._units).repeat_interleave(self._frames).to(place)
        shares = torch.full((count,), 1 / self._frames, device=place)
        return UnitBatch(batch, units, shares, self._units)

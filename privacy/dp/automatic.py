"""The back-end that a run file names, or the fastest one, found when a model is first trained."""

import weakref
from functools import partial
from typing import Any

import torch
from torch import nn

from fedefm.train.objective import Batch, Objective
from privacy.dp.choose import Choice, choose
from privacy.dp.gradients import Clip, ClippedSum, UnitBatch, trainable


class ChosenGradients:
    """Chooses once for each model, set of trained parameters and kind of objective.

    Args:
        wanted: ``auto``, or the name of a back-end, which is then only checked.
        units: how many units a step is expected to have; public, as are the following.
        frames: how many frames a unit may give.
        classes: labels, or values of masks, are below it.
    """

    def __init__(self, wanted: str, units: int, frames: int, classes: int) -> None:
        self.name = wanted
        self.choices: list[Choice] = []
        self._units, self._frames, self._classes = units, frames, classes
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
        shape = tuple(step.batch.images.shape[1:])
        known = self._chosen.setdefault(model, {})
        key = (tuple(trainable(model)), kind, shape, clip)
        if key not in known:
            draw = partial(self._random, step.batch)
            known[key] = choose(model, objective, draw, clip, self.name)
            self.choices.append(known[key])
        return known[key]

    def _random(self, like: Batch, number: int) -> UnitBatch:
        """Noise in the shapes of ``like``, of which nothing else is looked at."""
        rng = torch.Generator().manual_seed(number)
        count = self._units * self._frames
        labels = torch.randint(self._classes, (count, *like.labels.shape[1:]), generator=rng)
        images = torch.randn(count, *like.images.shape[1:], generator=rng)
        place = like.images.device
        batch = Batch(images.to(place), labels.to(place), torch.zeros(count).long().to(place))
        units = torch.arange(self._units).repeat_interleave(self._frames).to(place)
        shares = torch.full((count,), 1 / self._frames, device=place)
        return UnitBatch(batch, units, shares, self._units)

"""A batch of images, whatever belongs to them, and noise in its place for trial passes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import TypeVar

import torch
from torch import Tensor

Kind = TypeVar("Kind", bound="Batch")


@dataclass(frozen=True)
class Batch:
    """What one training step sees.

    ``images`` (B, 1, S, S) float32, each of zero mean and unit deviation; ``labels`` (B,) class
    index or (B, S, S) mask, int64; ``rows`` (B,) positions in the dataset, int64.

    A kind of batch that holds more is a subclass with further tensors ``(B, ...)``; who changes a
    batch keeps its kind, with ``at``, ``each`` and ``dataclasses.replace``.
    """

    images: Tensor
    labels: Tensor
    rows: Tensor

    def at(self: Kind, places: Tensor | slice) -> Kind:
        """The part of the batch at ``places``."""
        return self.each(lambda tensor: tensor[places])

    def each(self: Kind, change: Callable[[Tensor], Tensor]) -> Kind:
        """The batch with ``change`` made to each of its tensors."""
        changed = {field.name: change(getattr(self, field.name)) for field in fields(self)}
        return replace(self, **changed)


def noise_batch(
    image: Sequence[int], classes: int, masks: bool, samples: int, rng: torch.Generator
) -> Batch:
    """Noise in the shape (C, H, W) of ``image``, with random labels or masks below ``classes``."""
    shape = (samples, *image[1:]) if masks else (samples,)
    labels = torch.randint(max(1, classes), shape, generator=rng)  # unlabeled frames have none
    images = torch.randn(samples, *image, generator=rng)
    return Batch(images, labels, torch.zeros(samples).long())

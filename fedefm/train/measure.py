"""How good a model is while training goes on: quick, on images that are not trained on.

What good means depends on what is trained. Whatever it is, an image is worth at most 1, and the sum
over images is told in whole points, which secure sums add up exactly.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from fedefm.data.dataset import Batch, FrameDataset

BATCH = 256

Measure = Callable[[nn.Module, str], tuple[int, int]]
"""``points, images = measure(model, split)`` on own images; ``(0, 0)`` where the site has none."""


@dataclass(frozen=True)
class Scale:
    """By which ``name`` events and results tell what models are worth, in whole points."""

    name: str
    point: float = 1.0

    def mean(self, points: float, images: int) -> float:
        """What an image is worth, where so many ``images`` have so many points in all."""
        return points * self.point / images


@dataclass(frozen=True)
class Yardstick(Scale):
    """What a model is worth on images.

    ``score`` gives it for each image of a batch, ``(B,)``, the larger the better and at most 1.
    Images are rounded to whole points one by one.
    """

    score: Callable[[nn.Module, Batch], Tensor] = field(kw_only=True)

    @torch.inference_mode()
    def by_image(self, model: nn.Module, dataset: FrameDataset) -> Tensor:
        """``(N,)``: what ``model`` is worth on each image of ``dataset``, from -1 to 1."""
        was_training = model.training
        model.eval()
        device = next((part.device for part in model.parameters()), torch.device("cpu"))
        batches = map(dataset.batch, torch.arange(len(dataset)).split(BATCH))
        moved = (batch.each(lambda tensor: tensor.to(device)) for batch in batches)
        parts = [self.score(model, batch).cpu() for batch in moved]
        model.train(was_training)
        return torch.cat(parts).clamp(-1, 1)

    def points(self, model: nn.Module, dataset: FrameDataset) -> int:
        """What ``model`` is worth on ``dataset`` in all."""
        return int((self.by_image(model, dataset) / self.point).round().sum())

    def over(self, model: nn.Module, datasets: Mapping[str, FrameDataset]) -> float:
        """The mean over the images of all sites together."""
        images = sum(len(dataset) for dataset in datasets.values())
        points = sum(self.points(model, dataset) for dataset in datasets.values())
        return self.mean(points, images)


def right_answers(model: nn.Module, batch: Batch) -> Tensor:
    """``(B,)``: 1 where the model puts an image into its class, else 0."""
    logits: Tensor = model(batch.images)
    return (logits.argmax(dim=1) == batch.labels).float()


ACCURACY = Yardstick("accuracy", score=right_answers)


def measure_on(yardstick: Yardstick, datasets: Mapping[str, FrameDataset | None]) -> Measure:
    """How models do on the images of a site, which ``datasets`` holds by split."""

    def measure(model: nn.Module, split: str) -> tuple[int, int]:
        dataset = datasets.get(split)
        return (0, 0) if dataset is None else (yardstick.points(model, dataset), len(dataset))

    return measure


def measure_nothing(model: nn.Module, split: str) -> tuple[int, int]:
    """``Measure`` of a site without images to measure on."""
    return 0, 0

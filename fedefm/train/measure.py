"""Accuracy while training goes on: quick, on data that is not trained on."""

from collections.abc import Callable, Mapping

import torch
from torch import nn

from fedefm.data.dataset import FrameDataset

BATCH = 256

Measure = Callable[[nn.Module, str], tuple[int, int]]
"""``right, images = measure(model, split)`` on own images; ``(0, 0)`` where the site has none."""


def measure_on(datasets: Mapping[str, FrameDataset | None]) -> Measure:
    """How a model does on the images of a site, which ``datasets`` holds by split."""

    def measure(model: nn.Module, split: str) -> tuple[int, int]:
        dataset = datasets.get(split)
        return (0, 0) if dataset is None else (correct(model, dataset), len(dataset))

    return measure


def measure_nothing(model: nn.Module, split: str) -> tuple[int, int]:
    """``Measure`` of a site without images to measure on."""
    return 0, 0


@torch.inference_mode()
def correct(model: nn.Module, dataset: FrameDataset) -> int:
    """How many images of ``dataset`` the model puts into the right class."""
    was_training = model.training
    model.eval()
    right = 0
    for rows in torch.arange(len(dataset)).split(BATCH):
        batch = dataset.batch(rows)
        right += int((model(batch.images).argmax(dim=1) == batch.labels).sum())
    model.train(was_training)
    return right


def pooled_accuracy(model: nn.Module, datasets: Mapping[str, FrameDataset]) -> float:
    """Share of right answers over the images of all sites together."""
    images = sum(len(dataset) for dataset in datasets.values())
    return sum(correct(model, dataset) for dataset in datasets.values()) / images

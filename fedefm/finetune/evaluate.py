"""What a trained model is worth on images it has not seen, patient by patient.

Nothing here changes a model: it is put into evaluation mode and given back in the mode it came in.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from fedefm.data.dataset import FrameDataset
from fedefm.errors import DataError
from fedefm.finetune.bootstrap import Interval, by_patient, pooled_intervals
from fedefm.finetune.mask_scores import SegmentationScores, score_masks
from fedefm.finetune.overlap import Labels


@dataclass(frozen=True)
class FoundationScores:
    """Accuracy is the share of images put into the right class; intervals are by patient."""

    images: int
    patients: int
    accuracy: Interval
    per_class: dict[str, Interval]  # of the images of a class, the share recognized
    confusion: tuple[tuple[int, ...], ...]  # row: true class, column: predicted class


@torch.inference_mode()
def evaluate_foundation(
    model: nn.Module, dataset: FrameDataset, batch_size: int = 64, seed: int = 0
) -> FoundationScores:
    """Accuracy of ``model`` (logits ``(B, K)``) on ``dataset``, overall and of each class.

    Raises DataError if the dataset is empty. ``seed`` draws the bootstrap.
    """
    refuse_empty(dataset)
    return score_classes(predicted_classes(model, dataset, batch_size), dataset, seed)


def score_classes(predicted: Labels, dataset: FrameDataset, seed: int = 0) -> FoundationScores:
    """Scores of the classes ``(N,)`` that were predicted for ``dataset``."""
    truth, patients = dataset.labels.numpy(), dataset.patients.numpy()
    classes = len(dataset.classes)
    right = (predicted == truth).astype(float)
    of_class = truth[:, None] == np.arange(classes)
    scores = np.column_stack([right, np.where(of_class, right[:, None], np.nan)])
    overall, *each = pooled_intervals(by_patient(scores, patients), seed)
    confusion = np.zeros((classes, classes), dtype=int)
    np.add.at(confusion, (truth, predicted), 1)
    return FoundationScores(
        images=len(dataset),
        patients=overall.patients,
        accuracy=overall,
        per_class=dict(zip(dataset.classes, each, strict=True)),
        confusion=tuple(tuple(int(n) for n in row) for row in confusion),
    )


@torch.inference_mode()
def evaluate_segmenter(
    model: nn.Module, dataset: FrameDataset, batch_size: int = 32, seed: int = 0
) -> SegmentationScores:
    """Scores of ``model`` (logits ``(B, K, H, W)``) on ``dataset``, whose classes name mask values.

    Raises DataError if the dataset is empty or has no masks. ``seed`` draws the bootstrap.
    """
    refuse_unmarked(dataset)
    predicted = predicted_classes(model, dataset, batch_size)
    return score_dataset(predicted, dataset, seed)


def score_dataset(predicted: Labels, dataset: FrameDataset, seed: int = 0) -> SegmentationScores:
    """Scores of the label maps ``(N, H, W)`` that were predicted for ``dataset``."""
    origins = dataset.origins
    return score_masks(
        predicted,
        refuse_unmarked(dataset).numpy(),
        dataset.patients.numpy(),
        dataset.classes[1:],
        seed,
        spacing=None if origins is None else origins.spacing.double().numpy(),
        shape=None if origins is None else origins.shrunk.double().numpy(),
    )


def batched_logits(model: nn.Module, dataset: FrameDataset, batch_size: int) -> Iterator[Tensor]:
    """The logits of every row of ``dataset`` in order, a batch at a time."""
    device = next(model.parameters()).device
    with evaluation_mode(model):
        for rows in torch.arange(len(dataset)).split(batch_size):
            yield model(dataset.batch(rows).images.to(device))


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Every module in evaluation mode, and afterwards each in the mode it had."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def predicted_classes(model: nn.Module, dataset: FrameDataset, batch_size: int) -> Labels:
    """The class that the model gives to each image or pixel of ``dataset``."""
    logits = batched_logits(model, dataset, batch_size)
    return np.concatenate([one.argmax(dim=1).cpu().numpy() for one in logits])


def refuse_unmarked(dataset: FrameDataset) -> Tensor:
    """The true masks of ``dataset``. Raises DataError where there are none, or no images."""
    refuse_empty(dataset)
    if dataset.masks is None:
        raise DataError("the dataset has no masks to compare with; fill mask_path in its manifest")
    return dataset.masks


def refuse_empty(dataset: FrameDataset) -> None:
    """Raises DataError where there is nothing to measure on."""
    if len(dataset) == 0:
        raise DataError("there are no images to evaluate on; check the manifest and the split")

"""What a trained model is worth on images it has not seen, patient by patient.

Nothing here changes a model: it is put into evaluation mode and given back in the mode it came in.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from fedefm.data.dataset import FrameDataset
from fedefm.errors import DataError
from fedefm.finetune.bootstrap import Interval, by_patient, patient_intervals, pooled_intervals
from fedefm.finetune.centerline import cldice
from fedefm.finetune.overlap import Labels, Scores, overlap, ratio


@dataclass(frozen=True)
class FoundationScores:
    """Accuracy is the share of images put into the right class; intervals are by patient."""

    images: int
    patients: int
    accuracy: Interval
    per_class: dict[str, Interval]  # of the images of a class, the share recognized
    confusion: tuple[tuple[int, ...], ...]  # row: true class, column: predicted class


@dataclass(frozen=True)
class SegmentationScores:
    """Overlap and center line scores: per image, then per patient, then the mean over patients.

    ``jaccard`` is IoU. ``mean_dice``, ``miou`` and ``mean_cldice`` are means over the device
    classes of an image; ``miou_with_background`` counts the background as one more class.
    ``false_alarm`` is the share of images without any device in which one was seen. All are
    measured at the model's own resolution.
    """

    images: int
    patients: int
    mean_dice: Interval
    miou: Interval
    miou_with_background: Interval
    mean_cldice: Interval
    false_alarm: Interval
    dice: dict[str, Interval]
    jaccard: dict[str, Interval]
    cldice: dict[str, Interval]
    image_dice: tuple[float, ...] = field(repr=False)  # of each dataset row, mean over devices


@torch.inference_mode()
def evaluate_foundation(
    model: nn.Module, dataset: FrameDataset, batch_size: int = 64, seed: int = 0
) -> FoundationScores:
    """Accuracy of ``model`` (logits ``(B, K)``) on ``dataset``, overall and of each class.

    Raises DataError if the dataset is empty. ``seed`` draws the bootstrap.
    """
    _refuse_empty(dataset)
    predicted = _answers(model, dataset, batch_size)
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
    predicted, truth = _masks(model, dataset, batch_size)
    return score_masks(predicted, truth, dataset.patients.numpy(), dataset.classes[1:], seed)


@torch.inference_mode()
def mean_dice(model: nn.Module, dataset: FrameDataset, batch_size: int = 32) -> float:
    """The ``mean_dice`` of ``evaluate_segmenter`` alone, for looking often; nan if undefined."""
    predicted, truth = _masks(model, dataset, batch_size)
    image_dice = _mean(overlap(predicted, truth, len(dataset.classes)).dice()[:, 1:])
    patients = by_patient(image_dice[:, None], dataset.patients.numpy()).means()
    return float(_mean(patients.T)[0])


def score_masks(
    predicted: Labels, truth: Labels, patients: Labels, devices: tuple[str, ...], seed: int = 0
) -> SegmentationScores:
    """Compare label maps ``(N, H, W)`` of images that belong to ``patients`` ``(N,)``.

    ``devices`` name the values 1, 2, ...; 0 is the background.
    """
    count = len(devices) + 1
    counts = overlap(predicted, truth, count)
    dice, jaccard = counts.dice()[:, 1:], counts.jaccard()
    lines = cldice(predicted, truth, count)[:, 1:]
    alarm = np.where(truth.any(axis=(1, 2)), np.nan, predicted.any(axis=(1, 2)))
    image_dice = _mean(dice)

    def intervals(scores: Scores) -> tuple[Interval, ...]:
        return patient_intervals(by_patient(scores, patients), seed)

    def each(scores: Scores) -> dict[str, Interval]:
        return dict(zip(devices, intervals(scores), strict=True))

    means = [image_dice, _mean(jaccard[:, 1:]), _mean(jaccard), _mean(lines), alarm]
    mean_dice, miou, miou_with_background, mean_cldice, false_alarm = intervals(
        np.column_stack(means)
    )
    return SegmentationScores(
        images=len(truth),
        patients=len(np.unique(patients)),
        mean_dice=mean_dice,
        miou=miou,
        miou_with_background=miou_with_background,
        mean_cldice=mean_cldice,
        false_alarm=false_alarm,
        dice=each(dice),
        jaccard=each(jaccard[:, 1:]),
        cldice=each(lines),
        image_dice=tuple(image_dice.tolist()),
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


def _masks(model: nn.Module, dataset: FrameDataset, batch_size: int) -> tuple[Labels, Labels]:
    """Predicted and true label maps ``(N, H, W)``."""
    _refuse_empty(dataset)
    if dataset.masks is None:
        raise DataError("the dataset has no masks to compare with; fill mask_path in its manifest")
    return _answers(model, dataset, batch_size), dataset.masks.numpy()


def _answers(model: nn.Module, dataset: FrameDataset, batch_size: int) -> Labels:
    """The class that the model gives to each image or pixel."""
    logits = batched_logits(model, dataset, batch_size)
    return np.concatenate([one.argmax(dim=1).cpu().numpy() for one in logits])


def _mean(scores: Scores) -> Scores:
    """Mean over classes where defined, nan where none is."""
    known = ~np.isnan(scores)
    return ratio(np.where(known, scores, 0.0).sum(axis=1), known.sum(axis=1))


def _refuse_empty(dataset: FrameDataset) -> None:
    if len(dataset) == 0:
        raise DataError("there are no images to evaluate on; check the manifest and the split")

"""What single sites teach the encoder that all of them share (MedUniverse): tasks of their own.

Each site's model is the encoder and a head for its task. Only the encoder travels; the head stays
where its labels are. What a task is worth is told under one name, ``score``, since the sites of a
run have different ones: from 0, or below, to 1 for the best.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from fedefm.config import ModelConfig, SiteTask, TrainingConfig
from fedefm.config.names import ScanMode
from fedefm.data.batch import Batch
from fedefm.data.dataset import FrameDataset, Progress
from fedefm.data.loading import Splits, load_splits, splits_of
from fedefm.data.manifest import Manifest
from fedefm.data.single_labels import load_single_labels
from fedefm.data.targets import FINENESS, load_targets
from fedefm.errors import ModelError
from fedefm.model.encoder import Encoder, build_encoder
from fedefm.model.foundation import FoundationModel, build_foundation
from fedefm.model.segmenter import Segmenter, build_segmenter
from fedefm.train.mask_loss import segmentation_objective
from fedefm.train.measure import Scale, Yardstick, right_answers
from fedefm.train.objective import Objective, classification

SCORE = "score"
SHARED = "backbone."  # how the names of an encoder's numbers begin in every model here
POINT = 1 / 32  # points of thousands of images must fit into a secure sum
NEAR = 0.1  # of the range: errors below count squared, others as they are, so that none rules
_SMOOTH = 1.0  # pixels; where there is nothing, and nothing is marked, all is right


def overlap(model: nn.Module, batch: Batch) -> Tensor:
    """``(B,)``: Dice of the marked pixels, in the mean over the classes behind the background."""
    logits: Tensor = model(batch.images)
    marked = functional.one_hot(logits.argmax(dim=1), logits.shape[1]).flatten(1, 2)[..., 1:]
    truth = functional.one_hot(batch.labels, logits.shape[1]).flatten(1, 2)[..., 1:]
    both, sizes = (marked * truth).sum(dim=1), (marked + truth).sum(dim=1)
    return ((2 * both + _SMOOTH) / (sizes + _SMOOTH)).mean(dim=1)


def number_objective(model: nn.Module, batch: Batch) -> Tensor:
    """The ``Objective`` of regression: ``(B,)`` Huber losses of the place in the range."""
    told, truth = _told(model, batch), batch.labels / FINENESS
    return functional.huber_loss(told, truth, reduction="none", delta=NEAR) / NEAR


def nearness(model: nn.Module, batch: Batch) -> Tensor:
    """``(B,)``: 1 less the absolute error, as a share of the range."""
    return 1 - (_told(model, batch) - batch.labels / FINENESS).abs()


RIGHT = Yardstick(SCORE, POINT, score=right_answers)
OVERLAP = Yardstick(SCORE, POINT, score=overlap)
NEARNESS = Yardstick(SCORE, POINT, score=nearness)


class Classifying:
    """Saying which of ``classes`` an image is."""

    yardstick = RIGHT

    def __init__(self, classes: tuple[str, ...]) -> None:
        self._classes = classes

    def build(self, model: ModelConfig, seed: int) -> FoundationModel:
        """Encoder and a linear head. Raises ModelError."""
        return build_foundation(model.backbone, self._classes, model.image_size, "trainable", seed)

    def load(
        self,
        manifest: Manifest,
        model: ModelConfig,
        progress: Progress | None = None,
        scan_mode: ScanMode | None = None,
    ) -> Splits:
        """Images of one label each. Raises DataError."""
        size = model.image_size

        def of(split: str) -> FrameDataset:
            return load_single_labels(manifest, split, self._classes, size, progress)

        return splits_of(manifest, of)

    def objective(self, present: Tensor, training: TrainingConfig) -> Objective:
        """Cross-entropy over the site's own classes."""
        return classification(torch.ones_like(present), 0.0)


class Marking:
    """Marking what ``classes`` name, the background first."""

    yardstick = OVERLAP

    def __init__(self, classes: tuple[str, ...]) -> None:
        self._classes = classes

    def build(self, model: ModelConfig, seed: int) -> Segmenter:
        """Encoder and decoder. Raises ModelError."""
        return build_segmenter(model.backbone, len(self._classes), model.image_size, seed)

    def load(
        self,
        manifest: Manifest,
        model: ModelConfig,
        progress: Progress | None = None,
        scan_mode: ScanMode | None = None,
    ) -> Splits:
        """Images with masks. Raises DataError."""
        return load_splits(manifest, self._classes, model.image_size, True, progress)

    def objective(self, present: Tensor, training: TrainingConfig) -> Objective:
        """Cross-entropy and Dice."""
        return segmentation_objective


class Telling:
    """Telling a number between ``lowest`` and ``highest`` of an image."""

    yardstick = NEARNESS

    def __init__(self, lowest: float, highest: float) -> None:
        self._lowest, self._highest = lowest, highest

    def build(self, model: ModelConfig, seed: int) -> FoundationModel:
        """Encoder, and a linear head with one output. Raises ModelError."""
        return build_foundation(model.backbone, (SCORE,), model.image_size, "trainable", seed)

    def load(
        self,
        manifest: Manifest,
        model: ModelConfig,
        progress: Progress | None = None,
        scan_mode: ScanMode | None = None,
    ) -> Splits:
        """Images with a number each. Raises DataError."""
        size = model.image_size

        def of(split: str) -> FrameDataset:
            return load_targets(manifest, split, self._lowest, self._highest, size, progress)

        return splits_of(manifest, of)

    def objective(self, present: Tensor, training: TrainingConfig) -> Objective:
        """Huber loss of the place in the range."""
        return number_objective


class SharedEncoder:
    """What the models of all sites have in common: a ``Product`` of sites with different tasks."""

    title = "encoder, trained in stages on different tasks"
    scale = Scale(SCORE, POINT)

    def build(self, model: ModelConfig, seed: int) -> Encoder:
        """The encoder alone. Raises ModelError."""
        return build_encoder(model.backbone, model.image_size, seed)

    def draw(self, folder: Path, model: nn.Module, tests: Mapping[str, FrameDataset]) -> None:
        """Nothing: features are no picture."""


def pretext_of_task(task: SiteTask) -> Classifying | Marking | Telling:
    """What a site with this ``task`` trains."""
    if task.kind == "classification":
        return Classifying(task.classes)
    if task.kind == "segmentation":
        return Marking(task.classes)
    if task.lowest is None or task.highest is None:
        raise ModelError("a task of regression has no range; set lowest and highest")
    return Telling(task.lowest, task.highest)


def _told(model: nn.Module, batch: Batch) -> Tensor:
    told: Tensor = model(batch.images)
    return told[:, 0]

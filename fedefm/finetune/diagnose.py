"""From a foundation model to a diagnosis: the one label of an image that holds.

As UltraFedFM fine-tunes: mean over the patch tokens, normalization and one linear layer (the head
of our foundation models), softmax and cross-entropy. AdamW, layer-wise decay, drop path and warm-up
are settings of the training; see ``fedefm.config.FinetuneConfig``.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fedefm.data.dataset import Batch, FrameDataset, Progress
from fedefm.data.manifest import Manifest
from fedefm.data.single_labels import load_single_labels
from fedefm.data.transforms import Transform
from fedefm.errors import DataError
from fedefm.finetune.augment import ultrasound_views
from fedefm.finetune.auroc import auroc
from fedefm.finetune.card import ModelCard
from fedefm.finetune.checkpoint import save_diagnosis
from fedefm.finetune.diagnosis_scores import DiagnosisScores, one_against_rest, score_diagnosis
from fedefm.finetune.evaluate import batched_logits, refuse_empty
from fedefm.finetune.start import Start
from fedefm.finetune.task import Answers
from fedefm.model.foundation import FoundationModel
from fedefm.train.objective import Objective

_BATCH = 64


@dataclass(frozen=True)
class Diagnosis:
    """Saying which one of ``classes`` an image shows."""

    classes: tuple[str, ...]
    measure = "AUROC"

    @property
    def title(self) -> str:
        """What the model does."""
        return f"diagnosis of images: one of {len(self.classes)} classes an image"

    @property
    def objective(self) -> Objective:
        """Cross-entropy of the one label."""
        return diagnosis_objective

    def build(self, start: Start, seed: int) -> FoundationModel:
        """The model before its first step, with a fresh head."""
        return start.diagnosis(self.classes, seed)

    def load(
        self,
        manifest: Manifest,
        split: str | None,
        image_size: int,
        progress: Progress | None = None,
    ) -> FrameDataset:
        """Images with one label each. Raises DataError as ``load_single_labels`` does."""
        return load_single_labels(manifest, split, self.classes, image_size, progress)

    def check(self, train: FrameDataset, validation: FrameDataset | None) -> None:
        """Raises DataError where images of one class alone are to teach, or to choose weights."""
        _refuse_one_class(
            train, "to learn from", "add others, or take a larger share of labels or another seed"
        )
        if validation is not None:
            _refuse_one_class(
                validation, "of the validation split", "add others to it, or leave the split out"
            )

    def augmentation(self, image_size: int) -> Transform:
        """Other views of an ultrasound image."""
        return ultrasound_views()

    @torch.inference_mode()
    def answers(self, model: nn.Module, dataset: FrameDataset) -> Answers:
        """Probabilities ``(N, K)``, in float64: float32 would make the surest ones equal."""
        refuse_empty(dataset)
        logits = torch.cat([one.cpu() for one in batched_logits(model, dataset, _BATCH)])
        return logits.double().softmax(dim=1).numpy()

    def score(self, answers: Answers, dataset: FrameDataset, seed: int = 0) -> DiagnosisScores:
        """Accuracy, AUROC of each class and its mean, and the confusion of classes."""
        return score_diagnosis(answers.astype(np.float64), dataset, seed)

    def look(self, answers: Answers, dataset: FrameDataset) -> float:
        """Mean AUROC over the classes that have one."""
        areas = auroc(answers.astype(np.float64), one_against_rest(dataset))
        known = areas[~np.isnan(areas)]
        return float(known.mean()) if known.size else float("nan")

    def save(self, path: Path, model: FoundationModel, card: ModelCard) -> None:
        """Write the checkpoint, whole or not at all."""
        save_diagnosis(path, model, card)

    def draw(
        self, folder: Path, answers: Answers, dataset: FrameDataset, scores: DiagnosisScores
    ) -> None:
        """Nothing: a class is no picture."""


def diagnosis_objective(model: nn.Module, batch: Batch) -> Tensor:
    """The ``Objective`` of one label an image: ``(B,)`` cross-entropies of the softmax."""
    return functional.cross_entropy(model(batch.images), batch.labels, reduction="none")


def _refuse_one_class(data: FrameDataset, which: str, way_out: str) -> None:
    found = data.labels.unique()
    if len(found) == 1:
        raise DataError(
            f"the images {which} are all of class {data.classes[int(found)]!r}, and nothing can be "
            f"told apart; {way_out}"
        )

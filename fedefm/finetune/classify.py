"""From a foundation model to a classifier of the tubes and lines in a chest X-ray.

RANZCR CLiP (Kaggle, 2021) says of each image which of eleven findings on tubes and lines it shows,
several or none of them. So each label is a yes or no of its own: one sigmoid and one binary
cross-entropy each, in the mean over labels.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fedefm.data.dataset import Batch, FrameDataset, Progress
from fedefm.data.label_sets import load_label_sets, memberships
from fedefm.data.manifest import Manifest
from fedefm.data.transforms import Transform
from fedefm.finetune.augment import chest_views
from fedefm.finetune.auroc import auroc
from fedefm.finetune.card import ModelCard
from fedefm.finetune.checkpoint import save_classifier
from fedefm.finetune.evaluate import batched_logits, refuse_empty
from fedefm.finetune.label_scores import LabelScores, score_labels
from fedefm.finetune.start import Start
from fedefm.finetune.task import Answers
from fedefm.model.foundation import FoundationModel
from fedefm.train.objective import Objective

# Most labels are on few images, and a model that never says yes is nearly always right. A fixed
# number, not one measured from the data at hand: how common a finding is at a hospital would be a
# statistic of its patients, and would differ between hospitals.
LABEL_WEIGHT = 5.0
_BATCH = 64


@dataclass(frozen=True)
class LabelClassification:
    """Saying which of several labels ``classes`` hold for an image."""

    classes: tuple[str, ...]
    measure = "AUROC"

    @property
    def title(self) -> str:
        """What the model does."""
        return f"classification of images by {len(self.classes)} labels, several an image"

    @property
    def objective(self) -> Objective:
        """Binary cross-entropy of each label."""
        return label_objective

    def build(self, start: Start, seed: int) -> FoundationModel:
        """The classifier before its first step, with a fresh head."""
        return start.classifier(self.classes, seed)

    def load(
        self,
        manifest: Manifest,
        split: str | None,
        image_size: int,
        progress: Progress | None = None,
    ) -> FrameDataset:
        """Images with sets of labels. Raises DataError as ``load_label_sets`` does."""
        return load_label_sets(manifest, split, self.classes, image_size, progress)

    def check(self, train: FrameDataset, validation: FrameDataset | None) -> None:
        """Nothing to find: images with none of the labels teach, too."""

    def augmentation(self, image_size: int) -> Transform:
        """Other views of a chest X-ray."""
        return chest_views()

    @torch.inference_mode()
    def answers(self, model: nn.Module, dataset: FrameDataset) -> Answers:
        """Logits ``(N, K)``."""
        refuse_empty(dataset)
        return torch.cat([one.cpu() for one in batched_logits(model, dataset, _BATCH)]).numpy()

    def score(self, answers: Answers, dataset: FrameDataset, seed: int = 0) -> LabelScores:
        """AUROC of each label, its mean, and the paper's accuracy."""
        scores, truth = answers.astype(np.float64), self._truth(dataset)
        return score_labels(scores, truth, dataset.patients.numpy(), self.classes, seed)

    def look(self, answers: Answers, dataset: FrameDataset) -> float:
        """Mean AUROC over the labels that have one."""
        areas = auroc(answers.astype(np.float64), self._truth(dataset))
        known = areas[~np.isnan(areas)]
        return float(known.mean()) if known.size else float("nan")

    def save(self, path: Path, model: FoundationModel, card: ModelCard) -> None:
        """Write the checkpoint, whole or not at all."""
        save_classifier(path, model, card)

    def draw(
        self, folder: Path, answers: Answers, dataset: FrameDataset, scores: LabelScores
    ) -> None:
        """Nothing: a label is no picture."""

    def _truth(self, dataset: FrameDataset) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        return memberships(dataset.labels, len(self.classes)).numpy()


def label_objective(model: nn.Module, batch: Batch) -> Tensor:
    """The ``Objective`` of several labels an image: ``(B,)`` losses of ``batch``, sets as labels.

    The mean over labels of the binary cross-entropy, in which a label that holds counts
    LABEL_WEIGHT times.
    """
    logits: Tensor = model(batch.images)
    truth = memberships(batch.labels, logits.shape[1]).to(logits.dtype)
    weight = logits.new_full((logits.shape[1],), LABEL_WEIGHT)
    losses = functional.binary_cross_entropy_with_logits(
        logits, truth, pos_weight=weight, reduction="none"
    )
    return losses.mean(dim=1)

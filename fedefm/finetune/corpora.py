"""A foundation model's own task: telling from which corpus an image is."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from fedefm.data.dataset import FrameDataset, Progress
from fedefm.data.manifest import Manifest
from fedefm.finetune.evaluate import (
    FoundationScores,
    predicted_classes,
    refuse_empty,
    score_classes,
)
from fedefm.finetune.task import Answers

_BATCH = 64


@dataclass(frozen=True)
class CorpusRecognition:
    """Judges a foundation model over the labels ``classes``; a ``Judge``."""

    classes: tuple[str, ...]

    def load(
        self,
        manifest: Manifest,
        split: str | None,
        image_size: int,
        progress: Progress | None = None,
    ) -> FrameDataset:
        """Images with one label each. Raises DataError as ``FrameDataset.from_manifest`` does."""
        return FrameDataset.from_manifest(
            manifest, split, self.classes, image_size, progress=progress
        )

    @torch.inference_mode()
    def answers(self, model: nn.Module, dataset: FrameDataset) -> Answers:
        """The class (N,) that each image is put into."""
        refuse_empty(dataset)
        return predicted_classes(model, dataset, _BATCH)

    def score(self, answers: Answers, dataset: FrameDataset, seed: int = 0) -> FoundationScores:
        """Accuracy, over all and of each class."""
        return score_classes(answers.astype(np.int64, copy=False), dataset, seed)

"""From a foundation model to a catheter and guidewire segmenter.

The recipe is the paper's: cross-entropy and Dice half and half, SGD with momentum, the learning
rate falling as ``(1 - t/T)^0.9``. What differs: the weights kept are the best on the validation
split (the public code selects on its test set), and augmentation is drawn anew for every image.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from fedefm.data.dataset import FrameDataset, Progress
from fedefm.data.manifest import Manifest
from fedefm.data.transforms import Transform, compose
from fedefm.errors import ConfigError
from fedefm.finetune.augment import fluoroscopy_views, random_tile
from fedefm.finetune.card import ModelCard
from fedefm.finetune.checkpoint import FRAME_SIZE, TrainedSegmenter, save_trained_segmenter
from fedefm.finetune.evaluate import refuse_unmarked, score_dataset
from fedefm.finetune.examples import draw_examples
from fedefm.finetune.mask_scores import SegmentationScores, mean_dice
from fedefm.finetune.overlap import Labels
from fedefm.finetune.start import Start
from fedefm.finetune.task import Answers, image_size_of
from fedefm.finetune.tiling import LARGEST_SIDE, tiled_logits
from fedefm.model.segmenter import Segmenter
from fedefm.train.mask_loss import segmentation_objective
from fedefm.train.objective import Objective

_BATCH = 32


@dataclass(frozen=True)
class Segmentation:
    """Marking devices: ``classes`` name the values of the masks, the background first.

    With a ``frame_size`` above the model's image size, frames are kept at that size, tiles of them
    are learned from, and overlapping tiles are put together when the model is used.
    """

    classes: tuple[str, ...]
    frame_size: int | None = None  # pixels a side; None: the model's own
    measure = "Dice"

    @property
    def title(self) -> str:
        """What the model does."""
        return "segmentation of " + " and ".join(self.classes[1:])

    @property
    def objective(self) -> Objective:
        """Cross-entropy and Dice."""
        return segmentation_objective

    def build(self, start: Start, seed: int) -> Segmenter:
        """The segmenter before its first step. Raises ConfigError if frames are smaller than it."""
        model = start.segmenter(len(self.classes), seed)
        size = int(model.info["image_size"])
        if self.frame_size is None:
            return model
        if not size <= self.frame_size <= LARGEST_SIDE:
            raise ConfigError(
                f"a frame size of {self.frame_size} cannot be cut into tiles of {size} pixels, the "
                f"model's image size; choose one from {size} to {LARGEST_SIDE}"
            )
        model.info[FRAME_SIZE] = str(self.frame_size)
        return model

    def load(
        self,
        manifest: Manifest,
        split: str | None,
        image_size: int,
        progress: Progress | None = None,
    ) -> FrameDataset:
        """Frames with masks. Raises DataError as ``FrameDataset.from_manifest`` does."""
        size = self.frame_size or image_size
        return FrameDataset.from_manifest(manifest, split, self.classes, size, True, progress)

    def check(self, train: FrameDataset, validation: FrameDataset | None) -> None:
        """Nothing to find: masks were looked at when they were loaded."""

    def augmentation(self, image_size: int) -> Transform:
        """Other views of a frame, or of a tile of it."""
        if self.frame_size in (None, image_size):
            return fluoroscopy_views()
        return compose(random_tile(image_size), fluoroscopy_views())

    @torch.inference_mode()
    def answers(self, model: nn.Module, dataset: FrameDataset) -> Answers:
        """Label maps ``(N, H, W)`` at the size of the frames."""
        refuse_unmarked(dataset)
        size, side = image_size_of(model), dataset.images.shape[-1]
        at_once = _BATCH if side == size else 1  # the tiles of a frame are a batch
        maps = [
            tiled_logits(model, dataset.images[rows].float() / 255, size).argmax(dim=1)
            for rows in torch.arange(len(dataset)).split(at_once)
        ]
        return np.concatenate([one.to(torch.uint8).cpu().numpy() for one in maps])

    def score(self, answers: Answers, dataset: FrameDataset, seed: int = 0) -> SegmentationScores:
        """Overlap, center lines and distances."""
        return score_dataset(_maps(answers), dataset, seed)

    def look(self, answers: Answers, dataset: FrameDataset) -> float:
        """Mean Dice over the devices."""
        truth = refuse_unmarked(dataset).numpy()
        return mean_dice(_maps(answers), truth, dataset.patients.numpy(), len(self.classes))

    def save(self, path: Path, model: Segmenter, card: ModelCard) -> None:
        """Write the checkpoint, whole or not at all."""
        save_trained_segmenter(path, TrainedSegmenter(model, self.classes, card))

    def draw(
        self, folder: Path, answers: Answers, dataset: FrameDataset, scores: SegmentationScores
    ) -> None:
        """Truth beside prediction: the best, the usual and the worst."""
        draw_examples(folder, _maps(answers), dataset, scores.image_dice)


def _maps(answers: Answers) -> Labels:
    return answers.astype(np.uint8, copy=False)

"""From a foundation model to a catheter and guidewire segmenter.

The recipe is the paper's: cross-entropy and Dice half and half, SGD with momentum, the learning
rate falling as ``(1 - t/T)^0.9``. What differs: the weights kept are the best on the validation
split (the public code selects on its test set), and augmentation is drawn anew for every image.
"""

from dataclasses import dataclass
from math import isnan

from torch import nn

from fedefm.config import FinetuneConfig
from fedefm.data.dataset import FrameDataset
from fedefm.data.transforms import (
    Transform,
    compose,
    gaussian_noise,
    random_intensity,
    random_view,
)
from fedefm.errors import DataError
from fedefm.events import EventLog
from fedefm.finetune.evaluate import SegmentationScores, evaluate_segmenter, mean_dice
from fedefm.finetune.labels import labeled_rows
from fedefm.finetune.loss import segmentation_objective
from fedefm.model.weights import Weights, load_weights, weights_of
from fedefm.seeding import generator_for
from fedefm.train.protection import Protection
from fedefm.train.trainer import SgdTrainer, Trainer

MOMENTUM = 0.9
CLIP_NORM = 5.0
POLY_POWER = 0.9
_CHUNK = 10  # steps that share one learning rate
_VALIDATIONS = 10  # looks at the validation split per run; each costs a pass over it


@dataclass(frozen=True)
class FinetuneResult:
    """What a fine-tuning run did; the model it was given holds the weights of ``best_step``."""

    steps: int
    best_step: int  # the last step where nothing could be validated
    validation: SegmentationScores | None
    train_images: int | None  # None: private
    train_patients: int  # private: as published, or counted


def finetune_segmenter(
    model: nn.Module,
    train: FrameDataset,
    validation: FrameDataset | None,
    config: FinetuneConfig,
    seed: int,
    events: EventLog | None = None,
    protection: Protection | None = None,
) -> FinetuneResult:
    """Train ``model`` in place on a share of the patients of ``train`` and keep its best weights.

    With a ``protection``, its trainer takes the steps, on the patients that it was made for, and
    the last weights are kept: to choose by validation images would be a release of its own.

    Args:
        model: segmenter, logits ``(B, K, H, W)``.
        train, validation: datasets with masks of K classes; without ``validation`` the last weights
            are kept.
        seed: draws the labeled patients, the batches and the augmentation.
    Raises DataError if a dataset has no masks, ModelError if the loss diverges.
    """
    for dataset in (train, *((validation,) if validation else ())):
        _check_masks(dataset)
    events = events or EventLog()
    if protection is None:
        labeled = train.subset(labeled_rows(train.patients, config.label_fraction, seed))
        plain = SgdTrainer(labeled, config.batch_size, MOMENTUM, CLIP_NORM, augmentation())
        trainer: Trainer = plain
        images, patients = len(labeled), len(labeled.patients.unique())
    else:
        trainer, images, patients = protection.trainer, None, protection.size or 0
    rng = generator_for(seed, "finetune", 0, "batches")
    best = _Best(validation if protection is None else None)
    step = 0
    for steps in _chunks(config.steps):
        rate = poly_rate(config.learning_rate, step, config.steps)
        stats = trainer.fit(model, segmentation_objective, steps, rate, rng)
        step += steps
        loss = stats.loss if protection is None else None
        events.emit("finetune_step", step=step, steps=config.steps, loss=loss, rate=rate)
        if _validates(step, steps, config.steps):
            best.look(model, step, events)
    best.restore(model)
    scores = evaluate_segmenter(model, validation) if validation else None
    return FinetuneResult(config.steps, best.step, scores, images, patients)


def poly_rate(base: float, step: int, steps: int) -> float:
    """``base (1 - step/steps)^0.9``: from ``base`` at the first step towards 0 after the last."""
    return float(base * (1 - step / steps) ** POLY_POWER)


def augmentation() -> Transform:
    """What a fluoroscopy frame may look like instead: other framing, side, exposure and dose."""
    return compose(
        random_view(scale=(0.6, 1.0), horizontal=True, vertical=True, degrees=15),
        random_intensity(),
        gaussian_noise((0.0, 0.03)),
    )


def _check_masks(dataset: FrameDataset) -> None:
    if dataset.masks is None:
        raise DataError("the dataset has no masks to learn from; fill mask_path in its manifest")


class _Best:
    """The best weights so far by validation Dice; the latest ones where Dice is not defined."""

    def __init__(self, validation: FrameDataset | None) -> None:
        self._validation = validation
        self._weights: Weights | None = None
        self._dice = -1.0
        self.step = 0

    def look(self, model: nn.Module, step: int, events: EventLog) -> None:
        if self._validation is None:
            self.step = step
            return
        dice = mean_dice(model, self._validation)
        events.emit("finetune_validation", step=step, dice=None if isnan(dice) else dice)
        if not dice < self._dice:
            self._dice, self.step, self._weights = dice, step, weights_of(model)

    def restore(self, model: nn.Module) -> None:
        if self._weights is not None:
            load_weights(model, self._weights)


def _chunks(steps: int) -> list[int]:
    whole, rest = divmod(steps, _CHUNK)
    return [_CHUNK] * whole + ([rest] if rest else [])


def _validates(step: int, taken: int, steps: int) -> bool:
    """Whether one of the evenly spaced looks falls into the steps just taken; the last one does."""
    return step * _VALIDATIONS // steps > (step - taken) * _VALIDATIONS // steps

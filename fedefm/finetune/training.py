"""Training of a model for a task: steps, looks at the validation images, and the weights kept.

Nothing here knows the task. Weights that were best on the validation images are kept, and training
may end early where they have not become better for a while.
"""

from dataclasses import dataclass, replace
from math import isnan

from torch import nn

from fedefm.config import FinetuneConfig
from fedefm.data.dataset import FrameDataset
from fedefm.data.scan_mode import random_scan_mode
from fedefm.data.transforms import Transform, compose
from fedefm.errors import ConfigError
from fedefm.events import EventLog
from fedefm.finetune.card import Scores
from fedefm.finetune.labels import labeled_rows
from fedefm.finetune.layer_decay import layer_shares
from fedefm.finetune.task import Model, Task, image_size_of
from fedefm.model.drop_path import drop_path
from fedefm.model.trained_part import train_only_last
from fedefm.model.weights import Weights, load_weights, weights_of
from fedefm.seeding import generator_for
from fedefm.train.optimization import Optimization, adamw, momentum_sgd
from fedefm.train.protection import Protection
from fedefm.train.rates import cosine_rate
from fedefm.train.trainer import PlainTrainer, Trainer

MOMENTUM = 0.9
CLIP_NORM = 5.0
POLY_POWER = 0.9
_CHUNK = 10  # steps that share one learning rate
LOOKS = 10  # at the validation split per run; each costs a pass over it


@dataclass(frozen=True)
class FinetuneResult:
    """What a fine-tuning run did; the model it was given holds the weights of ``best_step``."""

    steps: int  # taken
    best_step: int  # the last step where nothing could be validated
    validation: Scores | None
    train_images: int | None  # None: private
    train_patients: int  # private: as published, or counted
    stopped_early: bool = False  # before all steps that were asked for


def finetune(
    task: Task,
    model: Model,
    train: FrameDataset,
    validation: FrameDataset | None,
    config: FinetuneConfig,
    seed: int,
    events: EventLog | None = None,
    protection: Protection | None = None,
) -> FinetuneResult:
    """Train ``model`` in place on a share of the patients of ``train`` and keep its best weights.

    With a ``protection``, its trainer takes the steps, on the patients that it was made for, and
    the last weights are kept: to choose weights, or when to stop, by validation images would be a
    release of its own.

    Args:
        model: what ``task`` built; with ``train_last``, what is frozen then stays so.
        train, validation: what ``task`` loaded; without ``validation`` the last weights are kept.
        seed: draws the labeled patients, the batches and the augmentation.
    Raises ModelError if the loss diverges or the model cannot have drop path, ConfigError for
    settings that data or privacy do not allow, DataError where nothing can be learned.
    """
    events = events or EventLog()
    freeze(model, config)
    looked_at = validation if protection is None else None
    refuse_settings(config, looked_at is not None, protection is not None)
    if protection is None:
        labeled = train.subset(labeled_rows(train.patients, config.label_fraction, seed))
        task.check(labeled, validation)
        views, rule = views_for(config, task, model), optimization_for(config, model)
        plain = PlainTrainer(labeled, config.batch_size, rule, CLIP_NORM, views)
        trainer: Trainer = plain
        images, patients = len(labeled), len(labeled.patients.unique())
    else:
        trainer, images, patients = protection.trainer, None, protection.size or 0
    rng, paths = (generator_for(seed, "finetune", 0, what) for what in ("batches", "drop path"))
    best = _Best(task, looked_at)
    step = 0
    for steps in _chunks(config.steps):
        rate = rate_at(config, step)
        with drop_path(model, config.drop_path, paths):
            stats = trainer.fit(model, task.objective, steps, rate, rng)
        step += steps
        loss = stats.loss if protection is None else None
        events.emit("finetune_step", step=step, steps=config.steps, loss=loss, rate=rate)
        if _validates(step, steps, config.steps):
            best.look(model, step, events)
        if best.waited == config.patience:
            break
    best.restore(model)
    scores = task.score(task.answers(model, validation), validation) if validation else None
    return FinetuneResult(step, best.step, scores, images, patients, step < config.steps)


def freeze(model: Model, config: FinetuneConfig) -> None:
    """Let no more of the backbone learn than ``config`` says. Raises ModelError, see there."""
    if config.train_last is not None:
        train_only_last(model, config.train_last)


def refuse_settings(config: FinetuneConfig, validates: bool, private: bool) -> None:
    """Raises ConfigError for private drop path, and for patience with nothing to stop by."""
    if private and config.drop_path:
        raise ConfigError(
            "drop path gives an image another loss each time, and private training passes images "
            "several times to see that clipping holds; leave drop_path out"
        )
    if config.patience is None or validates:
        return
    if private:
        raise ConfigError(
            "when to stop would tell about the validation images, so private training takes all of "
            "its steps; leave patience out"
        )
    raise ConfigError(
        "there is no validation split to stop by; leave patience out, or add one to the manifest"
    )


def views_for(config: FinetuneConfig, task: Task, model: Model) -> Transform:
    """How training images and their masks are varied.

    The scan mode comes first: a conversion takes whole frames, upright and not yet cut.
    """
    views = task.augmentation(image_size_of(model))
    if config.scan_mode is None:
        return views
    return compose(random_scan_mode(config.scan_mode, config.convert), views)


def optimization_for(config: FinetuneConfig, model: Model) -> Optimization:
    """By which rule steps are taken, and what of the rate each block gets."""
    plain = momentum_sgd(MOMENTUM) if config.optimizer == "sgd" else adamw(config.weight_decay)
    if config.layer_decay == 1:
        return plain
    return replace(plain, shares=layer_shares(model, config.layer_decay))


def rate_at(config: FinetuneConfig, step: int) -> float:
    """The rate after ``step`` steps."""
    if config.schedule == "cosine":
        return cosine_rate(config.learning_rate, step, config.steps, config.warmup_steps)
    return poly_rate(config.learning_rate, step, config.steps)


def poly_rate(base: float, step: int, steps: int) -> float:
    """``base (1 - step/steps)^0.9``: from ``base`` at the first step towards 0 after the last."""
    return float(base * (1 - step / steps) ** POLY_POWER)


class _Best:
    """The best weights so far by a task's measure; the latest ones where that is not defined."""

    def __init__(self, task: Task, validation: FrameDataset | None) -> None:
        self._task, self._validation = task, validation
        self._weights: Weights | None = None
        self._score = float("-inf")
        self.step = 0
        self.waited = 0  # looks since the best one

    def look(self, model: nn.Module, step: int, events: EventLog) -> None:
        if self._validation is None:
            self.step = step
            return
        task = self._task
        score = task.look(task.answers(model, self._validation), self._validation)
        shown = None if isnan(score) else score
        events.emit("finetune_validation", step=step, measure=task.measure, score=shown)
        worse = self._score > 0 and score <= self._score  # a Dice of 0: it has not begun to learn
        self.waited = self.waited + 1 if worse else 0
        if not score < self._score:
            self._score, self.step, self._weights = score, step, weights_of(model)

    def restore(self, model: nn.Module) -> None:
        if self._weights is not None:
            load_weights(model, self._weights)


def _chunks(steps: int) -> list[int]:
    whole, rest = divmod(steps, _CHUNK)
    return [_CHUNK] * whole + ([rest] if rest else [])


def _validates(step: int, taken: int, steps: int) -> bool:
    """Whether one of the evenly spaced looks falls into the steps just taken; the last one does."""
    return step * LOOKS // steps > (step - taken) * LOOKS // steps

"""What ``fedefm privacy probe`` does: a model is found, wherever it comes from, and probed."""

import importlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from torch.nn import functional

from fedefm.data.dataset import Batch
from fedefm.errors import ConfigError, ModelError, PrivacyError
from fedefm.finetune.checkpoint import is_segmenter
from fedefm.model.checkpoint import read_checkpoint_info
from fedefm.model.foundation import BACKBONES, build_foundation, read_foundation
from fedefm.model.segmenter import build_segmenter, read_segmenter
from fedefm.train.mask_loss import segmentation_loss
from privacy.dp.probe import check_independence, random_batch

SEED = 1  # of fresh weights; the answer does not hang on them


@dataclass(frozen=True)
class Candidate:
    """A model and the images that it takes."""

    model: nn.Module
    image_size: int
    classes: int
    masks: bool


def find_candidate(name: str, image_size: int, classes: int, masks: bool) -> Candidate:
    """The model called ``name``. Raises ConfigError where there is none."""
    if Path(name).is_file():
        return _from_checkpoint(Path(name))
    if name in BACKBONES:
        return Candidate(_fresh(name, image_size, classes, masks), image_size, classes, masks)
    if ":" in name:
        return Candidate(_built(name), image_size, classes, masks)
    raise ConfigError(
        f"{name!r} is neither a file nor package.module:callable nor a backbone "
        f"({', '.join(BACKBONES)})"
    )


def probed(candidate: Candidate, channels: int) -> tuple[list[str], PrivacyError | None]:
    """The checks that hold, and why the next one does not."""
    shape = (channels, candidate.image_size, candidate.image_size)
    batch = random_batch(shape, candidate.classes, candidate.masks)
    passed: list[str] = []
    try:
        check_independence(candidate.model, _objective(candidate.masks), batch, passed.append)
    except PrivacyError as refusal:
        return passed, refusal
    return passed, None


def _from_checkpoint(path: Path) -> Candidate:
    info = read_checkpoint_info(path)
    model = read_segmenter(path) if is_segmenter(info) else read_foundation(path)
    classes = info["num_classes"] if is_segmenter(info) else len(json.loads(info["classes"]))
    return Candidate(model, int(info["image_size"]), int(classes), is_segmenter(info))


def _fresh(backbone: str, image_size: int, classes: int, masks: bool) -> nn.Module:
    if masks:
        return build_segmenter(backbone, classes, image_size, SEED)
    names = [str(number) for number in range(classes)]
    return build_foundation(backbone, names, image_size, "trainable", SEED)


def _built(name: str) -> nn.Module:
    """What the user's own callable builds. Raises ConfigError where it builds no module."""
    place, _, attribute = name.partition(":")
    sys.path.insert(0, str(Path.cwd()))
    try:
        built: Any = getattr(importlib.import_module(place), attribute)()
    except Exception as error:  # the user's own code may raise anything
        reason = " ".join(str(error).split())
        raise ConfigError(f"{name} cannot be built ({type(error).__name__}: {reason})") from error
    finally:
        sys.path.remove(str(Path.cwd()))
    if not isinstance(built, nn.Module):
        raise ConfigError(f"{name} builds a {type(built).__name__}, not a torch module")
    return built


def _objective(masks: bool) -> Callable[[nn.Module, Batch], Tensor]:
    """Cross-entropy of each image, or the segmentation loss of each image's pixels."""

    def per_sample_loss(model: nn.Module, batch: Batch) -> Tensor:
        logits: Tensor = model(batch.images)
        wanted = 4 if masks else 2
        if not isinstance(logits, Tensor) or logits.dim() != wanted:
            shape = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise ModelError(
                f"the model gives {shape}, not logits of shape {'BKHW' if masks else 'BK'}; "
                f"{'leave --masks out' if masks else 'use --masks for a segmentation model'}, or "
                "wrap the model"
            )
        if masks:
            return segmentation_loss(logits, batch.labels)
        return functional.cross_entropy(logits, batch.labels, reduction="none")

    return per_sample_loss

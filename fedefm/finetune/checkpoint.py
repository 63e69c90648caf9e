"""Checkpoints that say what they hold: one file is all that evaluation and prediction need."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from fedefm.errors import ModelError
from fedefm.finetune.card import ModelCard
from fedefm.model.checkpoint import load_checkpoint, read_checkpoint_info, save_checkpoint
from fedefm.model.encoder import is_encoder
from fedefm.model.foundation import FoundationModel, HeadKind, build_foundation
from fedefm.model.mae import is_masked_autoencoder
from fedefm.model.segmenter import KIND, Segmenter, read_segmenter

CLASSIFIER, DIAGNOSIS = "classifier", "diagnosis"  # kinds of checkpoint
FRAME_SIZE = "frame_size"  # among the facts of a segmenter trained on tiles
FOUNDATION_SHA256 = "foundation_sha256"  # of the checkpoint that training started from
FOUNDATION_NAME = "foundation_run"  # as its run file calls itself
_KEPT = (FRAME_SIZE, FOUNDATION_SHA256, FOUNDATION_NAME)  # facts that no builder knows of


@dataclass(frozen=True)
class TrainedSegmenter:
    """A segmentation model and the names of its classes; ``classes[0]`` is the background."""

    model: Segmenter
    classes: tuple[str, ...]
    card: ModelCard | None = None

    @property
    def image_size(self) -> int:
        """Side in pixels of the squares that images are resized to."""
        return int(self.model.info["image_size"])

    @property
    def frame_size(self) -> int:
        """Side in pixels that frames were brought to before tiles of ``image_size`` were cut.

        Equal to ``image_size`` where whole frames were trained on.
        """
        return int(self.model.info.get(FRAME_SIZE, self.image_size))


def save_trained_segmenter(path: Path, segmenter: TrainedSegmenter) -> None:
    """Write ``segmenter`` to ``path``, whole or not at all."""
    facts = {"classes": json.dumps(segmenter.classes), **_told(segmenter.card)}
    save_checkpoint(path, segmenter.model, segmenter.model.info | facts)


def save_classifier(path: Path, model: FoundationModel, card: ModelCard | None = None) -> None:
    """Write a classifier by several labels to ``path``, whole or not at all."""
    save_checkpoint(path, model, model.info | {"kind": CLASSIFIER} | _told(card))


def save_diagnosis(path: Path, model: FoundationModel, card: ModelCard | None = None) -> None:
    """Write a classifier by one label an image to ``path``, whole or not at all."""
    save_checkpoint(path, model, model.info | {"kind": DIAGNOSIS} | _told(card))


def _told(card: ModelCard | None) -> dict[str, str]:
    return {
        "trained_from": card.trained_from if card else "",
        "card": card.model_dump_json() if card else "",
    }


def read_trained_segmenter(path: Path) -> TrainedSegmenter:
    """The segmenter at ``path``. Raises ModelError if it is damaged or holds another model."""
    info = read_checkpoint_info(path)
    if not is_segmenter(info):
        raise ModelError(
            f"checkpoint {path} is no segmenter ({_what(info)}); make one with 'fedefm finetune'"
        )
    try:
        classes = tuple(json.loads(info["classes"]))
        card = ModelCard.model_validate_json(info["card"]) if info.get("card") else None
        model = read_segmenter(path)
        model.info |= {name: info[name] for name in _KEPT if name in info}
        return TrainedSegmenter(model, classes, card)
    except (KeyError, ValueError) as error:
        raise _unclear(path, error) from None


def read_foundation(path: Path) -> FoundationModel:
    """The foundation model at ``path``. Raises ModelError if damaged or another model."""
    info = read_checkpoint_info(path)
    if not is_foundation(info):
        raise ModelError(
            f"checkpoint {path} is no foundation model ({_what(info)}); make one with 'fedefm run'"
        )
    return _read_with_head(path, info)


def read_classifier(path: Path) -> FoundationModel:
    """The classifier by several labels at ``path``. Raises ModelError if damaged or another model.

    Its logits (B, K) are one yes or no each: labels do not exclude each other.
    """
    info = read_checkpoint_info(path)
    if not is_classifier(info):
        raise ModelError(
            f"checkpoint {path} is no classifier ({_what(info)}); make one with 'fedefm finetune'"
        )
    return _read_kept(path, info)


def read_diagnosis(path: Path) -> FoundationModel:
    """The classifier by one label at ``path``. Raises ModelError if damaged or another model.

    Its logits (B, K) are of classes that exclude each other.
    """
    info = read_checkpoint_info(path)
    if not is_diagnosis(info):
        raise ModelError(
            f"checkpoint {path} is no diagnosis ({_what(info)}); make one with 'fedefm finetune "
            "--task diagnosis'"
        )
    return _read_kept(path, info)


def _read_kept(path: Path, info: dict[str, str]) -> FoundationModel:
    model = _read_with_head(path, info)
    model.info |= {name: info[name] for name in ("kind", *_KEPT) if name in info}
    return model


def _read_with_head(path: Path, info: dict[str, str]) -> FoundationModel:
    try:
        head: HeadKind = "frozen" if info["head"] == "frozen" else "trainable"
        classes, size = json.loads(info["classes"]), int(info["image_size"])
        model = build_foundation(info["backbone"], classes, size, head, seed=0)
    except (KeyError, ValueError) as error:
        raise _unclear(path, error) from None
    load_checkpoint(path, model, minimum=1.0)
    return model


def is_segmenter(info: dict[str, str]) -> bool:
    """Whether the facts of a checkpoint are those of a segmenter."""
    return info.get("kind") == KIND


def is_classifier(info: dict[str, str]) -> bool:
    """Whether the facts of a checkpoint are those of a classifier by several labels."""
    return info.get("kind") == CLASSIFIER


def is_diagnosis(info: dict[str, str]) -> bool:
    """Whether the facts of a checkpoint are those of a classifier by one label an image."""
    return info.get("kind") == DIAGNOSIS


def is_foundation(info: dict[str, str]) -> bool:
    """Whether the facts of a checkpoint are those of a foundation model."""
    return "head" in info and not (is_segmenter(info) or is_classifier(info) or is_diagnosis(info))


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, in hex. Raises ModelError if it cannot be read."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise ModelError(f"checkpoint {path} cannot be read: {error.strerror}") from None
    return digest.hexdigest()


def _what(info: dict[str, str]) -> str:
    backbone = info.get("backbone", "an unknown backbone")
    if is_segmenter(info):
        return f"it holds a segmenter on {backbone}"
    if is_classifier(info):
        return f"it holds a classifier on {backbone}"
    if is_diagnosis(info):
        return f"it holds a diagnosis on {backbone}"
    if is_foundation(info):
        return f"it holds a foundation model on {backbone}"
    if is_masked_autoencoder(info):
        return f"it holds a masked autoencoder on {backbone}"
    if is_encoder(info):
        return f"it holds an encoder without a task, on {backbone}"
    return "it does not say what it holds"


def _unclear(path: Path, error: Exception) -> ModelError:
    reason = " ".join(str(error).split())[:200]
    return ModelError(
        f"checkpoint {path} does not describe its model correctly ({reason}); train it anew"
    )

"""A trained model on its way out of the house: weights, model card and a program.

The weights (safetensors) need this package, the program (``torch.export``, .pt2) only PyTorch, and
ONNX any runtime for it.
"""

import shutil
from io import BytesIO
from pathlib import Path

import torch
from torch import nn

from fedefm.config.names import UNLABELED
from fedefm.data.folders import fresh_folder, refuse_full
from fedefm.errors import ModelError
from fedefm.finetune.card import UNKNOWN_ORIGIN, ModelCard
from fedefm.finetune.checkpoint import (
    is_classifier,
    is_diagnosis,
    is_segmenter,
    read_classifier,
    read_diagnosis,
    read_foundation,
    read_trained_segmenter,
    sha256_of,
)
from fedefm.finetune.onnx_program import refuse_without_onnx, save_onnx
from fedefm.finetune.tracing import traced
from fedefm.model.checkpoint import read_checkpoint_info
from fedefm.model.encoder import Encoder, is_encoder, read_encoder
from fedefm.model.foundation import FoundationModel
from fedefm.model.mae import MaskedAutoencoder, is_masked_autoencoder, read_masked_autoencoder
from fedefm.model.segmenter import Segmenter

WEIGHTS, CARD = "model.safetensors", "model_card.md"
MODEL, BACKBONE = "model", "backbone"  # what programs are made of

_Model = Segmenter | FoundationModel | MaskedAutoencoder | Encoder


def export(
    checkpoint: Path, target: Path, program: bool = True, onnx: bool = False
) -> dict[str, float | None]:
    """Write the model at ``checkpoint`` to the new folder ``target``; its files by name.

    With ``onnx`` there is ``model.onnx``, and ``backbone.onnx`` with the dense features of the
    backbone alone; their figures are their differences to PyTorch. Other files have none. Of a
    masked autoencoder or an encoder there is the backbone alone, which is what it is trained for.

    Raises ModelError if the checkpoint cannot be used, traced or written as ONNX without a
    difference, DataError if ``target`` is taken; nothing is written then.
    """
    refuse_full(target)
    if onnx:
        refuse_without_onnx()
    model, card = _opened(checkpoint)
    parts = _parts(model)
    differences: dict[str, float] = {}
    with fresh_folder(target) as folder:
        shutil.copyfile(checkpoint, folder / WEIGHTS)
        (folder / CARD).write_text(card.markdown(), encoding="utf-8")
        if program:
            name, part = parts[0]
            save_program(folder / f"{name}.pt2", part, card.image_size)
        if onnx:
            facts = _facts(card, sha256_of(checkpoint))
            for name, part in parts:
                file = folder / f"{name}.onnx"
                differences[file.name] = save_onnx(file, part, card.image_size, facts)
        names = sorted(path.name for path in folder.iterdir())
        return {name: differences.get(name) for name in names}


def save_program(path: Path, model: nn.Module, image_size: int) -> None:
    """Write ``model`` as a ``torch.export`` program for batches ``(B, 1, S, S)`` of any B.

    ``torch.export.load(path).module()`` runs it without this package. Images must come standardized
    to zero mean and unit deviation each. Raises ModelError if the model cannot be traced.
    """
    try:
        program = traced(model, image_size)
    except Exception as error:  # the tracer raises whatever it trips over
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"the model cannot be written as a program: {reason}") from None
    content = BytesIO()  # of a full disk, torch's own file raises no OSError
    torch.export.save(program, content)
    path.write_bytes(content.getbuffer())


def _parts(model: _Model) -> list[tuple[str, nn.Module]]:
    """What programs are made of, by name; the first is the whole of what takes an image."""
    backbone = (BACKBONE, model.backbone)
    alone = isinstance(model, MaskedAutoencoder | Encoder)
    return [backbone] if alone else [(MODEL, model), backbone]


def _facts(card: ModelCard, checkpoint_hash: str) -> dict[str, str]:
    """What an ONNX file says of itself."""
    return {
        "task": card.task,
        "classes": ", ".join(card.classes),
        "image_size": str(card.image_size),
        "input": "gray images, each standardized to zero mean and unit deviation",
        "checkpoint": f"sha256:{checkpoint_hash}",
    }


def _card_of(info: dict[str, str]) -> ModelCard | None:
    try:
        return ModelCard.model_validate_json(info["card"]) if info.get("card") else None
    except ValueError:
        return None  # the bare card then says that the origin is unknown


def _opened(checkpoint: Path) -> tuple[_Model, ModelCard]:
    """The model and its card; where it has none, one that says how little is known."""
    info = read_checkpoint_info(checkpoint)
    model: _Model
    if is_segmenter(info):
        segmenter = read_trained_segmenter(checkpoint)
        model, task, classes, card = (
            segmenter.model,
            "segmentation",
            segmenter.classes,
            segmenter.card,
        )
    elif is_classifier(info):
        model = classifier = read_classifier(checkpoint)
        task, classes, card = "classification by labels", classifier.classes, _card_of(info)
    elif is_diagnosis(info):
        model = diagnosis = read_diagnosis(checkpoint)
        task, classes, card = "diagnosis", diagnosis.classes, _card_of(info)
    elif is_masked_autoencoder(info):
        model = read_masked_autoencoder(checkpoint)
        task, classes, card = "masked autoencoder", (UNLABELED,), _card_of(info)
    elif is_encoder(info):
        model = read_encoder(checkpoint)
        task, classes, card = "encoder", (UNLABELED,), _card_of(info)
    else:
        model = foundation = read_foundation(checkpoint)
        task, classes, card = (
            "classification (foundation model)",
            foundation.classes,
            _card_of(info),
        )
    bare = ModelCard(
        task=task,
        backbone=info["backbone"],
        image_size=int(info["image_size"]),
        classes=classes,
        trained_from="unknown",
        privacy=UNKNOWN_ORIGIN,
    )
    return model, card or bare

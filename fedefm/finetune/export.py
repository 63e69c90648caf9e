"""A trained segmenter on its way out of the house: weights, model card and a program.

The weights (safetensors) need this package, the program (``torch.export``, .pt2) only PyTorch.
"""

import shutil
from pathlib import Path

import torch
from torch import nn

from fedefm.data.folders import fresh_folder
from fedefm.errors import ModelError
from fedefm.finetune.card import UNKNOWN_ORIGIN, ModelCard
from fedefm.finetune.checkpoint import is_segmenter, read_foundation, read_trained_segmenter
from fedefm.finetune.evaluate import evaluation_mode
from fedefm.model.checkpoint import read_checkpoint_info

WEIGHTS, CARD, PROGRAM = "model.safetensors", "model_card.md", "model.pt2"


def export(checkpoint: Path, target: Path, program: bool = True) -> list[str]:
    """Write the model at ``checkpoint`` to the new folder ``target``; the names of its files.

    Raises ModelError if the checkpoint cannot be used or traced, DataError if ``target`` is taken;
    nothing is written then.
    """
    model, card = _opened(checkpoint)
    with fresh_folder(target) as folder:
        shutil.copyfile(checkpoint, folder / WEIGHTS)
        (folder / CARD).write_text(card.markdown(), encoding="utf-8")
        if program:
            save_program(folder / PROGRAM, model, card.image_size)
        return sorted(path.name for path in folder.iterdir())


def save_program(path: Path, model: nn.Module, image_size: int) -> None:
    """Write ``model`` as a ``torch.export`` program for batches ``(B, 1, S, S)`` of any B.

    ``torch.export.load(path).module()`` runs it without this package. Images must come standardized
    to zero mean and unit deviation each. Raises ModelError if the model cannot be traced.
    """
    batch = torch.export.Dim("batch", min=1)
    example = torch.zeros(2, 1, image_size, image_size)
    try:
        with evaluation_mode(model):
            program = torch.export.export(model, (example,), dynamic_shapes=({0: batch},))
    except Exception as error:  # the tracer raises whatever it trips over
        reason = " ".join(str(error).split())[:200]
        raise ModelError(f"the model cannot be written as a program: {reason}") from None
    torch.export.save(program, path)


def _card_of(info: dict[str, str]) -> ModelCard | None:
    try:
        return ModelCard.model_validate_json(info["card"]) if info.get("card") else None
    except ValueError:
        return None  # the bare card then says that the origin is unknown


def _opened(checkpoint: Path) -> tuple[nn.Module, ModelCard]:
    """The model and its card; where it has none, one that says how little is known."""
    info = read_checkpoint_info(checkpoint)
    model: nn.Module
    if is_segmenter(info):
        segmenter = read_trained_segmenter(checkpoint)
        model, task, classes, card = (
            segmenter.model,
            "segmentation",
            segmenter.classes,
            segmenter.card,
        )
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

"""What a checkpoint is worth on images with labels or masks, and how that is shown."""

from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fedefm.data.dataset import FrameDataset, Progress
from fedefm.data.manifest import read_manifest
from fedefm.finetune.card import named_scores
from fedefm.finetune.checkpoint import is_segmenter, read_foundation, read_trained_segmenter
from fedefm.finetune.device import find_device
from fedefm.finetune.evaluate import (
    FoundationScores,
    SegmentationScores,
    evaluate_foundation,
    evaluate_segmenter,
)
from fedefm.model.checkpoint import read_checkpoint_info
from fedefm.words import several


def evaluated(
    checkpoint: Path, manifest: Path, split: str, seed: int, device: str, counter: Progress
) -> FoundationScores | SegmentationScores:
    """Scores of the checkpoint's model, whichever kind it is, on one split or on ``all``."""
    place, rows = find_device(device), None if split == "all" else split
    if is_segmenter(read_checkpoint_info(checkpoint)):
        trained = read_trained_segmenter(checkpoint)
        images = FrameDataset.from_manifest(
            read_manifest(manifest), rows, trained.classes, trained.image_size, True, counter
        )
        return evaluate_segmenter(trained.model.to(place), images, seed=seed)
    model = read_foundation(checkpoint)
    size = int(model.info["image_size"])
    images = FrameDataset.from_manifest(
        read_manifest(manifest), rows, model.classes, size, progress=counter
    )
    return evaluate_foundation(model.to(place), images, seed=seed)


def show(scores: FoundationScores | SegmentationScores, where: str) -> None:
    """As a table."""
    table = Table("score", "value [95 % interval]")
    table.title = escape(
        f"{several(scores.images, 'image')} of {several(scores.patients, 'patient')} in {where}"
    )
    for name, value in named_scores(scores).items():
        table.add_row(escape(name), escape(value))
    Console().print(table)

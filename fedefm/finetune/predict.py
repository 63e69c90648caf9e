"""Masks for images that nobody has marked, at the resolution they came in."""

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from fedefm.data.dataset import resize_image, standardize
from fedefm.data.folders import fresh_folder
from fedefm.data.manifest import read_manifest
from fedefm.data.readers import count_frames, is_image_file, read_image
from fedefm.errors import DataError, all_problems
from fedefm.finetune.checkpoint import TrainedSegmenter
from fedefm.finetune.evaluate import evaluation_mode
from fedefm.finetune.overlay import draw_overlay

INDEX = "index.csv"
_BATCH = 8

Gray = npt.NDArray[np.float32]
Mask = npt.NDArray[np.uint8]
Progress = Callable[[int, int], None]  # files done, files in all


@dataclass
class PredictionSummary:
    """What ``predict`` wrote and what it could not read (name of the file, reason)."""

    folder: Path
    images: int = 0
    unreadable: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Frame:
    name: str  # path of the file below the folder asked for
    frame: int
    frames: int
    image: Gray


def predict(
    segmenter: TrainedSegmenter, source: Path, target: Path, progress: Progress | None = None
) -> PredictionSummary:
    """Segment each frame of ``source`` (folder, image or manifest) into the new ``target`` folder.

    ``target`` gets ``masks/`` (PNG of class values, original size), ``overlays/`` and
    ``index.csv``. Files that cannot be read are named in the summary and the others go on.

    Raises DataError if nothing was readable (naming every file) or ``target`` holds something
    already; nothing is written then.
    """
    with fresh_folder(target) as folder:
        summary = PredictionSummary(target)
        frames = _frames(*_files(source), summary, progress)
        with (folder / INDEX).open("w", encoding="utf-8", newline="") as file:
            index = csv.writer(file, lineterminator="\n")
            columns = ("image", "frame", "mask", "overlay", "width", "height")
            index.writerow((*columns, *(f"{name}_pixels" for name in segmenter.classes[1:])))
            while batch := list(islice(frames, _BATCH)):
                masks = segment(segmenter, [frame.image for frame in batch])
                for frame, mask in zip(batch, masks, strict=True):
                    index.writerow(_write(folder, frame, mask, segmenter.classes))
                summary.images += len(batch)
        if summary.images == 0:
            reasons = list(summary.unreadable.values())
            raise DataError(all_problems(f"{source} with no readable image", reasons))
        return summary


@torch.inference_mode()
def segment(segmenter: TrainedSegmenter, images: Sequence[Gray]) -> list[Mask]:
    """The label map (H, W) of each image (H, W) in [0, 1]; images may differ in size.

    Prediction is at the model's size; logits, not labels, are enlarged, so edges stay smooth.
    """
    device = next(segmenter.model.parameters()).device
    small = torch.stack([resize_image(image, segmenter.image_size) for image in images])
    batch = standardize(small[:, None].float() / 255).to(device)
    with evaluation_mode(segmenter.model):
        logits: Tensor = segmenter.model(batch)
    return [_label_map(one, image.shape) for one, image in zip(logits, images, strict=True)]


def _label_map(logits: Tensor, shape: tuple[int, ...]) -> Mask:
    large = functional.interpolate(logits[None], size=shape, mode="bilinear", align_corners=False)
    return large[0].argmax(dim=0).to(torch.uint8).cpu().numpy()


def _files(source: Path) -> tuple[Path, list[tuple[str, int | None]]]:
    """The folder, and the files below it with the frame that is asked for (None: all of them)."""
    if source.suffix.lower() == ".csv":
        manifest = read_manifest(source)
        rows = dict.fromkeys((row.path, row.frame) for row in manifest.rows)
        return manifest.folder, [(path, frame) for path, frame in rows]
    if source.is_file():
        return source.parent, [(source.name, None)]
    if not source.is_dir():
        raise DataError(f"{source} does not exist; name a folder of images, an image or a manifest")
    files = sorted(p for p in source.rglob("*") if not _hidden(p, source) and is_image_file(p))
    if not files:
        raise DataError(f"there are no images in {source}")
    return source, [(path.relative_to(source).as_posix(), None) for path in files]


def _hidden(path: Path, base: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(base).parts)


def _frames(
    folder: Path,
    files: list[tuple[str, int | None]],
    summary: PredictionSummary,
    progress: Progress | None,
) -> Iterator[_Frame]:
    """Every frame that can be read, in order; what cannot goes into the summary."""
    for done, (name, asked) in enumerate(files, start=1):
        try:
            count = count_frames(folder / name)
            for frame in range(count) if asked is None else (asked,):
                yield _Frame(name, frame, count, read_image(folder / name, frame))
        except DataError as error:
            summary.unreadable[name] = str(error)
        if progress:
            progress(done, len(files))


def _write(folder: Path, frame: _Frame, mask: Mask, classes: tuple[str, ...]) -> list[str | int]:
    """Write mask and overlay of one frame and give its line of the index."""
    name = frame.name if frame.frames == 1 else f"{frame.name}.frame{frame.frame:04d}"
    name = name if name.lower().endswith(".png") else f"{name}.png"
    while (folder / "masks" / name).exists():  # "a.npy" and "a.npy.png" stand side by side
        name = f"{name[:-4]}~.png"
    paths = [f"masks/{name}", f"overlays/{name}"]
    pictures = [Image.fromarray(mask), draw_overlay(frame.image, mask, classes)]
    for path, picture in zip(paths, pictures, strict=True):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        picture.save(folder / path)
    pixels = [int((mask == k).sum()) for k in range(1, len(classes))]
    return [frame.name, frame.frame, *paths, mask.shape[1], mask.shape[0], *pixels]

"""Frames of one site, decoded once and kept small in memory, handed out as standardized batches."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from fedefm.data.manifest import Manifest, where
from fedefm.data.readers import count_frames, read_image, read_mask
from fedefm.data.transforms import Transform
from fedefm.errors import DataError, all_problems

Progress = Callable[[int, int], None]  # frames done, frames in all
SMALLEST_VARIANCE = 1e-10  # of an image in [0, 1]; a constant image becomes zeros, not noise


@dataclass(frozen=True)
class Batch:
    """What one training step sees.

    ``images`` (B, 1, S, S) float32, each of zero mean and unit deviation; ``labels`` (B,) class
    index or (B, S, S) mask, int64; ``rows`` (B,) positions in the dataset, int64.
    """

    images: Tensor
    labels: Tensor
    rows: Tensor

    def at(self, places: Tensor | slice) -> "Batch":
        """The part of the batch at ``places``."""
        return Batch(self.images[places], self.labels[places], self.rows[places])


class FrameDataset:
    """Frames in memory as uint8, with class index, patient and, for segmentation, mask.

    Args:
        images: (N, 1, S, S) uint8.
        labels: (N,) int64 positions in ``classes``; -1 where a mask is all there is.
        patients: (N,) int64, equal for frames of one patient.
        classes: names of the class indices; with ``masks``, of the mask values.
        masks: (N, S, S) uint8 mask values, or None.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        patients: Tensor,
        classes: tuple[str, ...],
        masks: Tensor | None = None,
    ) -> None:
        if len({len(images), len(labels), len(patients)}) != 1:
            raise ValueError("images, labels and patients differ in number")
        self.images, self.labels, self.patients = images, labels, patients
        self.classes, self.masks = classes, masks

    @classmethod
    def from_manifest(
        cls,
        manifest: Manifest,
        split: str | None,
        classes: Sequence[str],
        image_size: int,
        masks: bool = False,
        progress: Progress | None = None,
    ) -> "FrameDataset":
        """Decode the rows of ``split`` (all rows if None) at ``image_size`` squared.

        A row's label is its ``label`` or, if that is empty, its ``corpus``, and must be one of
        ``classes``. With ``masks``, ``classes`` name the mask values instead, every row needs a
        mask, and image labels that are not in ``classes`` are -1.

        Raises DataError: no rows in the split, an unknown label, a row without mask, a mask of
        another size than its image, a mask value without a class, a file that cannot be read.
        """
        positions = manifest.of_split(split)
        _refuse_unusable(manifest, positions, split, classes, masks)
        images = torch.empty(len(positions), 1, image_size, image_size, dtype=torch.uint8)
        values = torch.empty(len(positions), image_size, image_size, dtype=torch.uint8)
        # frames of one file in turn, so that it is opened once
        order = sorted(range(len(positions)), key=lambda k: _file_order(manifest, positions[k]))
        for done, k in enumerate(order, start=1):
            image, mask = _frame(manifest, positions[k], image_size, len(classes), masks)
            images[k, 0] = image
            if mask is not None:
                values[k] = mask
            if progress:
                progress(done, len(order))
        rows = [manifest.rows[position] for position in positions]
        index = {name: i for i, name in enumerate(classes)}
        codes = {name: i for i, name in enumerate(sorted({row.patient_id for row in rows}))}
        return cls(
            images,
            torch.tensor([index.get(row.target, -1) for row in rows]),
            torch.tensor([codes[row.patient_id] for row in rows]),
            tuple(classes),
            values if masks else None,
        )

    def __len__(self) -> int:
        return len(self.images)

    @cached_property
    def present(self) -> Tensor:
        """(K,) bool: which classes occur here."""
        found = self.labels if self.masks is None else self.masks
        present = torch.zeros(len(self.classes), dtype=torch.bool)
        present[found[found >= 0].unique().long()] = True
        return present

    def batch(
        self,
        rows: Tensor,
        transform: Transform | None = None,
        rng: torch.Generator | None = None,
    ) -> Batch:
        """The frames at ``rows`` (B,), transformed with draws from ``rng``, then standardized."""
        images = self.images[rows].float().div_(255)
        masks = None if self.masks is None else self.masks[rows]
        if transform is not None:
            if rng is None:
                raise ValueError("a transform needs a generator to draw from")
            images, masks = transform(images, masks, rng)
        labels = self.labels[rows] if masks is None else masks.long()
        return Batch(standardize(images), labels, rows)

    def subset(self, rows: Tensor) -> "FrameDataset":
        """The frames at ``rows`` as a dataset of their own."""
        masks = None if self.masks is None else self.masks[rows]
        return FrameDataset(
            self.images[rows], self.labels[rows], self.patients[rows], self.classes, masks
        )


def standardize(images: Tensor) -> Tensor:
    """Each image (B, 1, H, W) with zero mean and unit deviation; a constant image becomes zeros."""
    return F.layer_norm(images, images.shape[1:], eps=SMALLEST_VARIANCE)


def resize_image(image: NDArray[np.float32], size: int) -> Tensor:
    """(H, W) in [0, 1] to (size, size) uint8, bilinear, with antialiasing when it shrinks."""
    small = Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.rint(np.asarray(small) * 255).clip(0, 255).astype(np.uint8))


def resize_mask(mask: NDArray[np.int64], height: int, width: int) -> Tensor:
    """(H, W) label values below 256 to (height, width) uint8.

    Shrinking takes the largest label value in the area of each new pixel, growing the nearest one.
    A wire of 1 px so survives any size, at the price that areas grow by up to one new pixel, and
    where labels meet the larger value is on top.
    """
    values = torch.from_numpy(mask).float()[None, None]
    shrunk = (min(mask.shape[0], height), min(mask.shape[1], width))
    if shrunk != mask.shape:
        values = F.adaptive_max_pool2d(values, shrunk)
    if shrunk != (height, width):
        values = F.interpolate(values, size=(height, width), mode="nearest-exact")
    return values[0, 0].to(torch.uint8)


def _refuse_unusable(
    manifest: Manifest,
    positions: Sequence[int],
    split: str | None,
    classes: Sequence[str],
    masks: bool,
) -> None:
    """Everything that can be known before a file is opened."""
    if not positions:
        found = sorted({row.split or "(none)" for row in manifest.rows}) or ["(no rows)"]
        raise DataError(
            f"the manifest in {manifest.folder} has no rows in split {split!r}; "
            f"it has {', '.join(found)}"
        )
    problems = []
    for position in positions:
        row = manifest.rows[position]
        if masks and not row.mask_path:
            problems.append(f"{where(position, row)} has no mask")
        if not masks and row.target not in classes:
            problems.append(f"{where(position, row)} has the unknown label {row.target!r}")
    if problems:
        known = "" if masks else f" (known labels: {', '.join(classes) or 'none'})"
        raise DataError(all_problems(f"the manifest in {manifest.folder}{known}", problems))


def _file_order(manifest: Manifest, position: int) -> tuple[str, int]:
    row = manifest.rows[position]
    return row.path, row.frame


def _frame(
    manifest: Manifest, position: int, size: int, num_classes: int, masks: bool
) -> tuple[Tensor, Tensor | None]:
    row = manifest.rows[position]
    image = read_image(manifest.folder / row.path, row.frame)
    if not masks:
        return resize_image(image, size), None
    mask = read_row_mask(manifest, position)
    if mask.shape != image.shape:
        raise DataError(f"{where(position, row)}: {size_mismatch(image.shape, mask.shape)}")
    if mask.max(initial=0) >= min(num_classes or 256, 256):
        raise DataError(
            f"{where(position, row)}: the mask has the value {mask.max()}, "
            f"but there are {num_classes} classes"
        )
    return resize_image(image, size), resize_mask(mask, size, size)


def read_row_mask(manifest: Manifest, position: int) -> NDArray[np.int64]:
    """The mask of a row: the same frame of a mask file with many, else its only one."""
    row = manifest.rows[position]
    path = manifest.folder / row.mask_path
    return read_mask(path, mask_frame(path, row.frame))


def mask_frame(mask_path: Path, frame: int) -> int:
    """Which frame of a mask file belongs to an image's frame: the same one, or its only one."""
    return frame if count_frames(mask_path) > 1 else 0


def size_mismatch(image: tuple[int, ...], mask: tuple[int, ...]) -> str:
    """The sentence for a mask that does not fit its image; sizes are (height, width)."""
    return (
        f"the mask has {mask[1]} x {mask[0]} pixels and the image {image[1]} x {image[0]}; "
        "they must be equal"
    )

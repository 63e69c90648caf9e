"""Frames of one site, decoded once and kept small in memory, handed out as standardized batches."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from fedefm.data.batch import Batch as Batch
from fedefm.data.batch import noise_batch
from fedefm.data.kinds import kinds_of
from fedefm.data.manifest import Manifest, Row, where
from fedefm.data.masks import mask_frame as mask_frame
from fedefm.data.masks import read_row_mask as read_row_mask
from fedefm.data.masks import size_mismatch as size_mismatch
from fedefm.data.readers import read_image
from fedefm.data.row_faults import told
from fedefm.data.transforms import Transform
from fedefm.errors import DataError, all_problems

Progress = Callable[[int, int], None]  # frames done, frames in all
SMALLEST_VARIANCE = 1e-10  # of an image in [0, 1]; a constant image becomes zeros, not noise


@dataclass(frozen=True)
class Origins:
    """What scores are grouped by and measured with.

    ``corpora`` (N,) positions in ``names``, int64; ``shrunk`` (N, 2) how many pixels of its file
    one of the resized frame is high and wide; ``spacing`` (N, 2) the same in millimeters, nan where
    nobody said.
    """

    names: tuple[str, ...]
    corpora: Tensor
    shrunk: Tensor
    spacing: Tensor

    def at(self, rows: Tensor) -> "Origins":
        """Those of the frames at ``rows``."""
        parts = (self.corpora[rows], self.shrunk[rows], self.spacing[rows])
        return Origins(self.names, *parts)


class FrameDataset:
    """Frames in memory as uint8, with class index, patient and, for segmentation, mask.

    Args:
        images: (N, 1, S, S) uint8.
        labels: (N,) int64 positions in ``classes``; -1 where a mask is all there is.
        patients: (N,) int64, equal for frames of one patient.
        classes: names of the class indices; with ``masks``, of the mask values.
        masks: (N, S, S) uint8 mask values, or None.
        origins: corpus and pixel size of each frame, where a manifest told them.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        patients: Tensor,
        classes: tuple[str, ...],
        masks: Tensor | None = None,
        origins: Origins | None = None,
    ) -> None:
        if len({len(images), len(labels), len(patients)}) != 1:
            raise ValueError("images, labels and patients differ in number")
        self.images, self.labels, self.patients = images, labels, patients
        self.classes, self.masks, self.origins = classes, masks, origins

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

        A row's label is its kind (``kinds_of``) and must be one of ``classes``. With ``masks``,
        ``classes`` name the mask values instead, every row needs a mask, and image labels that are
        not in ``classes`` are -1.

        Raises DataError: no rows in the split, an unknown label, a row without mask, a mask of
        another size than its image, a mask value without a class, a file that cannot be read.
        """
        positions = manifest.of_split(split)
        kinds = kinds_of(manifest.rows, classes)
        _refuse_unusable(manifest, positions, split, classes, None if masks else kinds)
        count = len(classes) if masks else None
        frames = decode_frames(manifest, positions, image_size, count, progress)
        index = {name: i for i, name in enumerate(classes)}
        labels = [index.get(kinds[position], -1) for position in positions]
        return cls(
            frames.images,
            torch.tensor(labels),
            frames.patients,
            tuple(classes),
            frames.masks,
            frames.origins,
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

    def random_batch(self, samples: int, rng: torch.Generator) -> Batch:
        """Noise in the shapes of ``batch``, with random labels; no frame is read."""
        shape, masks = tuple(self.images.shape[1:]), self.masks is not None
        return noise_batch(shape, len(self.classes), masks, samples, rng)

    def subset(self, rows: Tensor) -> "FrameDataset":
        """The frames at ``rows`` as a dataset of their own."""
        masks = None if self.masks is None else self.masks[rows]
        origins = None if self.origins is None else self.origins.at(rows)
        images, labels, patients = self.images[rows], self.labels[rows], self.patients[rows]
        return self.alike(images, labels, patients, masks, origins)

    def alike(
        self,
        images: Tensor,
        labels: Tensor,
        patients: Tensor,
        masks: Tensor | None = None,
        origins: Origins | None = None,
    ) -> "FrameDataset":
        """Other frames of the same classes, handed out in the same way."""
        return FrameDataset(images, labels, patients, self.classes, masks, origins)


@dataclass(frozen=True)
class Frames:
    """The decoded rows of a manifest, in the order asked for; tensors as of ``FrameDataset``."""

    images: Tensor
    patients: Tensor
    masks: Tensor | None
    origins: Origins


def decode_frames(
    manifest: Manifest,
    positions: Sequence[int],
    image_size: int,
    mask_classes: int | None = None,
    progress: Progress | None = None,
) -> Frames:
    """The frames of the rows at ``positions``, and their masks where ``mask_classes`` is given.

    Raises DataError: a file that cannot be read, a mask of another size than its image, a mask
    value of ``mask_classes`` or above.
    """
    shape = (len(positions), image_size, image_size)
    images = torch.empty(shape, dtype=torch.uint8)
    masks = None if mask_classes is None else torch.empty(shape, dtype=torch.uint8)
    heights_and_widths = torch.empty(len(positions), 2)
    # frames of one file in turn, so that it is opened once
    order = sorted(range(len(positions)), key=lambda k: _file_order(manifest, positions[k]))
    for done, k in enumerate(order, start=1):
        image, mask = _frame(manifest, positions[k], mask_classes)
        images[k] = resize_image(image, image_size)
        if masks is not None and mask is not None:
            masks[k] = resize_mask(mask, image_size, image_size)
        heights_and_widths[k] = torch.tensor(image.shape)
        if progress:
            progress(done, len(order))
    rows = [manifest.rows[position] for position in positions]
    patients = _codes([row.patient_id for row in rows])
    origins = _origins(rows, heights_and_widths / image_size)
    return Frames(images[:, None], patients, masks, origins)


def _origins(rows: Sequence[Row], shrunk: Tensor) -> Origins:
    """``shrunk`` (N, 2): how many pixels of the file one of the resized frame is high and wide."""
    corpora = [row.corpus for row in rows]
    spacing = [math.nan if row.spacing_mm is None else row.spacing_mm for row in rows]
    names = tuple(sorted(set(corpora)))
    return Origins(names, _codes(corpora), shrunk, torch.tensor(spacing)[:, None] * shrunk)


def _codes(names: Sequence[str]) -> Tensor:
    """The position of each name among all that occur, sorted."""
    codes = {name: i for i, name in enumerate(sorted(set(names)))}
    return torch.tensor([codes[name] for name in names])


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
    kinds: Sequence[str] | None,
) -> None:
    """Everything that can be known before a file is opened; without ``kinds``, masks are needed."""
    if not positions:
        found = sorted({row.split or "(none)" for row in manifest.rows}) or ["(no rows)"]
        raise DataError(
            f"the manifest in {manifest.folder} has no rows in split {split!r}; "
            f"it has {', '.join(found)}"
        )

    def fault(position: int) -> str:
        if kinds is None:
            drawn = manifest.rows[position].mask_path
            return "" if drawn else "has no mask; fill column mask_path, or leave such rows out"
        known = kinds[position] in classes
        return "" if known else f"has the unknown label {kinds[position]!r}; name it in the classes"

    problems = told(manifest, ((position, fault(position)) for position in positions))
    if problems:
        known = "" if kinds is None else f" (known labels: {', '.join(classes) or 'none'})"
        raise DataError(all_problems(f"the manifest in {manifest.folder}{known}", problems))


def _file_order(manifest: Manifest, position: int) -> tuple[str, int]:
    row = manifest.rows[position]
    return row.path, row.frame


def _frame(
    manifest: Manifest, position: int, mask_classes: int | None
) -> tuple[NDArray[np.float32], NDArray[np.int64] | None]:
    row = manifest.rows[position]
    image = read_image(manifest.folder / row.path, row.frame)
    if mask_classes is None:
        return image, None
    mask = read_row_mask(manifest, position)
    if mask.shape != image.shape:
        raise DataError(f"{where(position, row)}: {size_mismatch(image.shape, mask.shape)}")
    if mask.max(initial=0) >= min(mask_classes or 256, 256):
        raise DataError(
            f"{where(position, row)}: the mask has the value {mask.max()}, "
            f"but there are {mask_classes} classes; name more of them, or mend the mask"
        )
    return image, mask

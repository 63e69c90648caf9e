"""Frames with a number to be told of each, such as the circumference of a head in millimeters.

The number stands in the manifest's column ``label``. It is kept as a position in a range that is
given, never counted: the smallest and the largest of a site's numbers are single patients'.
"""

import math
from dataclasses import replace
from functools import cached_property

import torch
from torch import Tensor

from fedefm.config.names import UNLABELED
from fedefm.data.batch import Batch
from fedefm.data.dataset import FrameDataset, Origins, Progress, decode_frames
from fedefm.data.manifest import Manifest, Row
from fedefm.data.row_faults import told
from fedefm.errors import DataError, all_problems

FINENESS = 10_000  # positions in the range; finer than anybody measures an image


class TargetFrames(FrameDataset):
    """Frames whose labels are positions in a range, from 0 to ``FINENESS``, and no classes."""

    @cached_property
    def present(self) -> Tensor:
        """None of the classes, as there are none."""
        return torch.zeros(len(self.classes), dtype=torch.bool)

    def random_batch(self, samples: int, rng: torch.Generator) -> Batch:
        """Noise in the shapes of ``batch``, with random positions; no frame is read."""
        batch = super().random_batch(samples, rng)
        return replace(batch, labels=torch.randint(FINENESS + 1, (samples,), generator=rng))

    def alike(
        self,
        images: Tensor,
        labels: Tensor,
        patients: Tensor,
        masks: Tensor | None = None,
        origins: Origins | None = None,
    ) -> "TargetFrames":
        """Other frames with positions in the same range."""
        return TargetFrames(images, labels, patients, self.classes, masks, origins)


def load_targets(
    manifest: Manifest,
    split: str | None,
    lowest: float,
    highest: float,
    image_size: int,
    progress: Progress | None = None,
) -> TargetFrames:
    """Decode the rows of ``split`` (all rows if None); labels go from 0 to ``FINENESS``.

    Raises DataError: no rows in the split, rows without a number or with one beyond the range, a
    file that cannot be read.
    """
    positions = manifest.of_split(split)
    if not positions:
        raise DataError(f"the manifest in {manifest.folder} has no rows in split {split!r}")
    rows = manifest.rows
    faults = ((place, _fault(rows[place], lowest, highest)) for place in positions)
    problems = told(manifest, faults)
    if problems:
        raise DataError(all_problems(f"the manifest in {manifest.folder}", problems))
    shares = [_share(manifest.rows[position], lowest, highest) for position in positions]
    frames = decode_frames(manifest, positions, image_size, None, progress)
    return TargetFrames(
        frames.images,
        torch.tensor([round(share * FINENESS) for share in shares]),
        frames.patients,
        (UNLABELED,),
        origins=frames.origins,
    )


def _fault(row: Row, lowest: float, highest: float) -> str:
    """The number itself is a patient's, and is not told."""
    try:
        share = _share(row, lowest, highest)
    except ValueError:
        return "has no number as its label; fill column label, or leave such rows out"
    if 0 <= share <= 1:
        return ""
    return f"has a number beyond {lowest:g} to {highest:g}; widen the range in the run file"


def _share(row: Row, lowest: float, highest: float) -> float:
    """Where the number stands in the range, which is from 0 to 1. Raises ValueError for none."""
    number = float(row.label)
    if not math.isfinite(number):
        raise ValueError("nan and infinity are no numbers to be told")
    return (number - lowest) / (highest - lowest)

"""Frames with exactly one label each, such as what an ultrasound image of a breast shows.

Labels of a diagnosis exclude each other: of an image with several of them, or with none, nobody
could say what is right. So both are refused, where ``fedefm.data.label_sets`` takes them.
"""

from collections.abc import Sequence

import torch

from fedefm.data.dataset import FrameDataset, Progress, decode_frames
from fedefm.data.kinds import names_in
from fedefm.data.manifest import Manifest, Row
from fedefm.data.row_faults import told
from fedefm.errors import DataError, all_problems


def load_single_labels(
    manifest: Manifest,
    split: str | None,
    classes: Sequence[str],
    image_size: int,
    progress: Progress | None = None,
) -> FrameDataset:
    """Decode the rows of ``split`` (all rows if None); a label is a position in ``classes``.

    Raises DataError: no rows in the split, rows that have not one label or an unknown one, a file
    that cannot be read.
    """
    positions = manifest.of_split(split)
    if not positions:
        raise DataError(f"the manifest in {manifest.folder} has no rows in split {split!r}")
    rows = manifest.rows
    problems = told(manifest, ((place, _fault(rows[place], classes)) for place in positions))
    if problems:
        known = f"the manifest in {manifest.folder} (known labels: {', '.join(classes)})"
        raise DataError(all_problems(known, problems))
    labels = [classes.index(names_in(manifest.rows[position].label)[0]) for position in positions]
    frames = decode_frames(manifest, positions, image_size, None, progress)
    return FrameDataset(
        frames.images,
        torch.tensor(labels),
        frames.patients,
        tuple(classes),
        origins=frames.origins,
    )


def _fault(row: Row, classes: Sequence[str]) -> str:
    names = names_in(row.label)
    if not names:
        return "has no label; fill column label, or leave such rows out"
    if len(names) > 1:
        return f"has {len(names)} labels; where several may hold, fine-tune for classification"
    if names[0] not in classes:
        return f"has the unknown label {names[0]!r}; name it in the classes"
    return ""

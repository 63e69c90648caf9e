"""Frames with several labels each, such as the tubes and lines of a chest X-ray.

In the manifest, ``label`` joins the names of all that a frame has by ``|``; an empty one has none.
In memory a set is one number, bit k of which stands for label k: labels stay one number a frame, as
every trainer takes them. To pre-training such a corpus is one kind of image: ``fedefm.data.kinds``.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from fedefm.data.dataset import FrameDataset, Progress, decode_frames
from fedefm.data.kinds import names_in
from fedefm.data.manifest import Manifest
from fedefm.data.row_faults import told
from fedefm.errors import ConfigError, DataError, all_problems

MOST_LABELS = 62  # a set is a signed number of 64 bits


def labels_of(manifest: Manifest) -> tuple[str, ...]:
    """All labels that occur in a manifest, sorted."""
    return tuple(sorted({name for row in manifest.rows for name in names_in(row.label)}))


def load_label_sets(
    manifest: Manifest,
    split: str | None,
    classes: Sequence[str],
    image_size: int,
    progress: Progress | None = None,
) -> FrameDataset:
    """Decode the rows of ``split`` (all rows if None); ``labels`` of the dataset are sets.

    Raises DataError: no rows in the split, a label that is not in ``classes``, a file that cannot
    be read; ConfigError for more than MOST_LABELS classes.
    """
    if len(classes) > MOST_LABELS:
        raise ConfigError(f"{len(classes)} labels are too many; there may be {MOST_LABELS}")
    positions = manifest.of_split(split)
    if not positions:
        raise DataError(f"the manifest in {manifest.folder} has no rows in split {split!r}")
    sets = torch.tensor(_sets(manifest, positions, classes))
    frames = decode_frames(manifest, positions, image_size, None, progress)
    return FrameDataset(
        frames.images, sets, frames.patients, tuple(classes), origins=frames.origins
    )


def memberships(sets: Tensor, num_classes: int) -> Tensor:
    """``(B, K)`` bool: which of the ``num_classes`` labels are in each of the sets ``(B,)``."""
    bits = torch.arange(num_classes, device=sets.device)
    return ((sets[:, None] >> bits) & 1).bool()


def _sets(manifest: Manifest, positions: Sequence[int], classes: Sequence[str]) -> list[int]:
    bit = {name: 1 << k for k, name in enumerate(classes)}
    sets, faults = [], []
    for position in positions:
        names = set(names_in(manifest.rows[position].label))
        unknown = sorted(names - bit.keys())
        told_of = "has the unknown label {!r}; name it in the classes".format
        faults += [(position, told_of(name)) for name in unknown]
        sets.append(sum(bit.get(name, 0) for name in names))
    if problems := told(manifest, faults):
        known = f"the manifest in {manifest.folder} (known labels: {', '.join(classes)})"
        raise DataError(all_problems(known, problems))
    return sets

"""The mask that belongs to a frame, and whether it fits."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedefm.data.manifest import Manifest
from fedefm.data.readers import count_frames, read_mask


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

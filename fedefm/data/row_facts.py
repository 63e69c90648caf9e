"""What a look at the frame and the mask of a row tells, ready to be compared with other rows.

It runs in worker processes and holds no picture but a thumbnail.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedefm.data.fingerprints import hashes, thumbnail
from fedefm.data.manifest import Row
from fedefm.data.masks import mask_frame, size_mismatch
from fedefm.data.near_duplicates import Print
from fedefm.data.readers import read_image, read_mask
from fedefm.errors import DataError

MOST_VALUES = 32  # of a mask that are told; one with more numbers objects or is no mask


@dataclass(frozen=True)
class RowFacts:
    """What is wrong with a row's files, or what they hold."""

    position: int
    fault: str = ""  # if set, nothing else is
    constant: bool = False  # all pixels of the frame are equal
    digest: bytes = b""  # of the decoded pixels
    print: Print | None = None  # None for a constant frame
    values: tuple[int, ...] | None = None  # label values of the mask, ascending; None without mask
    many_values: bool = False  # more than MOST_VALUES; ``values`` has the first of them


@dataclass(frozen=True)
class Look:
    """Rows of one file, to be looked at together."""

    folder: Path
    rows: tuple[tuple[int, Row], ...]  # with their positions


def facts_of(look: Look) -> tuple[RowFacts, ...]:
    """Decode every frame and mask; what cannot be used is told in ``fault``."""
    return tuple(_facts(look.folder, position, row) for position, row in look.rows)


def crashed(look: Look) -> tuple[RowFacts, ...]:
    """What is said of a file on which a decoder takes its process down."""
    fault = "cannot be read as an image: the decoder crashed on it"
    return tuple(RowFacts(position, fault) for position, _ in look.rows)


def looks(folder: Path, rows: Sequence[tuple[int, Row]], at_once: int = 32) -> list[Look]:
    """The rows in pieces of one file each, no more than ``at_once`` frames long."""
    files: dict[str, list[tuple[int, Row]]] = {}
    for position, row in rows:
        files.setdefault(row.path, []).append((position, row))
    return [
        Look(folder, tuple(of_file[start : start + at_once]))
        for of_file in (sorted(rows, key=_frame) for rows in files.values())
        for start in range(0, len(of_file), at_once)
    ]


def _frame(item: tuple[int, Row]) -> int:
    return item[1].frame


def _facts(folder: Path, position: int, row: Row) -> RowFacts:
    try:
        image = read_image(folder / row.path, row.frame)
        mask = _mask(folder, row)
    except DataError as error:
        fault = str(error).replace(f"{folder}/", "").removeprefix(f"{row.path} ")
        return RowFacts(position, fault)
    if mask is not None and mask.shape != image.shape:
        return RowFacts(position, size_mismatch(image.shape, mask.shape))
    values = None if mask is None else np.unique(mask)
    return RowFacts(
        position,
        constant=bool(image.min() == image.max()),
        digest=hashlib.blake2b(image.tobytes(), digest_size=16).digest(),
        print=_print(image),
        values=None if values is None else tuple(values[:MOST_VALUES].tolist()),
        many_values=values is not None and len(values) > MOST_VALUES,
    )


def _mask(folder: Path, row: Row) -> NDArray[np.int64] | None:
    if not row.mask_path:
        return None
    path = folder / row.mask_path
    return read_mask(path, mask_frame(path, row.frame))


def _print(image: NDArray[np.float32]) -> Print | None:
    if image.min() == image.max():
        return None
    picture = thumbnail(image)
    return Print(picture, hashes(picture))

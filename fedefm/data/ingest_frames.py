"""What ingest does with the frames of one file: decode, check, and put them into the new folder.

It runs in worker processes, one frame in memory at a time.
"""

import hashlib
import zlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fedefm.data.choices import Files
from fedefm.data.digests import sha256_of
from fedefm.data.file_text import may_name_patient
from fedefm.data.folders import link_or_copy
from fedefm.data.found import Found
from fedefm.data.manifest import Row
from fedefm.data.masks import mask_frame, size_mismatch
from fedefm.data.readers import Labels, read_image, read_mask
from fedefm.data.unreadable import UnreadableImage
from fedefm.errors import DataError

# In noise that PNG's filters are done with, runs of equal bytes are all that zlib finds: its usual
# search for more takes five times as long, and writes larger files.
PNG = {"compress_level": 1, "compress_type": zlib.Z_RLE}


@dataclass(frozen=True)
class Task:
    """Frames of one file. Their ``patient`` is a pseudonym already."""

    number: int
    file: int  # its running number in the source
    frames: tuple[Found, ...]
    name: str  # of what is written: ``<corpus>/<number>``
    folder: Path
    files: Files


@dataclass(frozen=True)
class Done:
    """What came of a task. Frames in ``faults`` have no row."""

    task: int
    rows: tuple[Row, ...]
    faults: tuple[tuple[int, str], ...]  # frame and reason
    written: dict[str, str]  # SHA-256 of each file, by its path in the folder


def placed(task: Task) -> Done:
    """Put what can be used into the folder. Raises OSError where it cannot be written."""
    rows: list[Row] = []
    faults: list[tuple[int, str]] = []
    written: dict[str, str] = {}
    for item in task.frames:
        try:
            image = read_image(item.image, item.frame)
            labels = _labels(item, image.shape)
        except _Unusable as error:
            faults.append((item.frame, str(error)))
        except UnreadableImage as error:
            faults.append((item.frame, error.reason))
        else:
            rows.append(_row(item, image, labels, task, written))
    return Done(task.number, tuple(rows), tuple(faults), written)


def crashed(task: Task) -> Done:
    """What is said of a file on which a decoder takes its process down."""
    reason = "cannot be read as an image: the decoder crashed on it"
    return Done(task.number, (), tuple((item.frame, reason) for item in task.frames), {})


class _Unusable(Exception):
    """A mask that does not fit, in words that do not name its file."""


def _labels(item: Found, shape: tuple[int, ...]) -> Labels | None:
    """The frame's mask, from its file or as it is drawn; None where it has none."""
    try:
        labels = _mask(item)
    except UnreadableImage as error:
        raise _Unusable(f"its mask {error.reason}") from error
    except DataError as error:
        raise _Unusable("its mask cannot be drawn from what the set tells of it") from error
    if labels is None:
        return None
    if labels.shape != shape:
        raise _Unusable(size_mismatch(shape, labels.shape))
    labels = np.minimum(labels, 1) if item.instances else labels
    if labels.max(initial=0) > 255:
        raise _Unusable("its mask has label values above 255; it numbers objects")
    return labels


def _mask(item: Found) -> Labels | None:
    if item.drawn:
        return item.drawn()
    return read_mask(item.mask, mask_frame(item.mask, item.frame)) if item.mask else None


def _row(
    item: Found,
    image: NDArray[np.float32],
    labels: Labels | None,
    task: Task,
    written: dict[str, str],
) -> Row:
    convert = converts(item.image, task.files)
    if convert:
        path = f"images/{task.name}-{item.frame:04d}.png"
        _write(np.rint(image * 255).astype(np.uint8), task.folder, path, written)
    else:
        path = f"images/{task.name}{suffix(item.image)}"
        _link(item.image, task.folder, path, written)
    mask_path = ""
    if labels is not None:
        if item.mask and not convert and not item.instances and not converts(item.mask, task.files):
            mask_path = f"masks/{task.name}{suffix(item.mask)}"
            _link(item.mask, task.folder, mask_path, written)
        else:
            mask_path = f"masks/{task.name}-{item.frame:04d}.png"
            _write(labels.astype(np.uint8), task.folder, mask_path, written)
    return Row(
        path=path,
        frame=0 if convert else item.frame,
        patient_id=item.patient,
        corpus=item.corpus,
        label=item.label,
        mask_path=mask_path,
        split=item.split,
        sha256=written[path],
        spacing_mm=item.spacing_mm,
    )


def converts(path: Path, files: Files) -> bool:
    """Whether a file's frames are written anew; else the file is linked.

    MetaImage keeps its pixels in another file, so that a link to it would lead nowhere.
    """
    if files == "png" or suffix(path) == ".mhd":
        return True
    return files == "auto" and may_name_patient(path)


def suffix(path: Path) -> str:
    """The ending of a file, which tells the readers its kind."""
    name = path.name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else Path(name).suffix or ".dcm"


def _write(pixels: NDArray[np.uint8], folder: Path, path: str, written: dict[str, str]) -> None:
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "png", **PNG)
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_bytes(buffer.getbuffer())
    written[path] = hashlib.sha256(buffer.getbuffer()).hexdigest()


def _link(source: Path, folder: Path, path: str, written: dict[str, str]) -> None:
    if path not in written:  # a file of many frames is placed once
        link_or_copy(source, folder / path)
        written[path] = sha256_of(folder / path)

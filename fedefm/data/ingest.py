"""From a folder of images to a manifest that everything else works on.

Files get neutral names (``images/<corpus>/000001.png``), since names like ``Miller_1.dcm`` would
carry the patient into messages and reports; patients get pseudonyms. All frames are decoded before
anything is written, and the output folder appears whole or not at all.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from fedefm.data.check import sha256_of
from fedefm.data.choices import Files
from fedefm.data.dataset import Progress, mask_frame, size_mismatch
from fedefm.data.folders import fresh_folder, link_or_copy, refuse_full
from fedefm.data.found import Found, by_pattern
from fedefm.data.layouts import LAYOUTS, find_layout, passed_over
from fedefm.data.manifest import Row, write_manifest
from fedefm.data.pseudonyms import new_key, pseudonym, write_key
from fedefm.data.readers import Labels, read_image, read_mask
from fedefm.errors import DataError, all_problems

SHOWN = 3  # paths that a message names


@dataclass(frozen=True)
class Ingested:
    """What came of it."""

    manifest: Path
    layout: str
    rows: tuple[Row, ...]
    skipped: tuple[str, ...]  # why files were left out, when asked to leave them out
    without_patient: int  # frames that do not say whose they are
    passed_over: int  # image files below the source that the layout does not take
    notes: tuple[str, ...]  # what to know of the patients before trusting figures on them


def ingest(
    source: Path,
    folder: Path,
    layout: str = "auto",
    corpus: str | None = None,
    files: Files = "link",
    patient_pattern: str | None = None,
    key: bytes | None = None,
    skip_unreadable: bool = False,
    progress: Progress | None = None,
) -> Ingested:
    """Write ``folder/manifest.csv`` and its images from what is in ``source``.

    Args:
        source: a folder, or one image file.
        folder: new or empty.
        layout: a name in ``LAYOUTS``, or ``auto``.
        corpus: a name for all frames, instead of the layout's own.
        files: ``link`` shares the files with the source (a copy where links are not possible);
            ``png`` writes every frame as an 8-bit PNG, which leaves all DICOM headers behind.
        patient_pattern: regular expression whose group is the patient in a file's path.
        key: for pseudonyms; a new one if None. It is kept in ``folder/.pseudonym_key``.
        skip_unreadable: leave out frames that cannot be used, instead of refusing them all.

    Raises DataError: nothing found, an unknown layout, frames or masks that cannot be used, image
    files that ``auto`` would lose.
    """
    refuse_full(folder)  # before minutes of decoding
    name, found, others = find_frames(source, layout)
    if corpus is not None:
        found = [replace(item, corpus=corpus) for item in found]
    if patient_pattern is not None:
        found = by_pattern(found, source, patient_pattern)
    leaks = _split_leaks(found)
    if leaks:
        raise DataError(all_problems(f"source {source}", leaks))
    usable, faults = _sorted_out(found, progress)
    if faults and (not usable or not skip_unreadable):
        raise DataError(all_problems(f"source {source}", faults))
    secret = key or new_key()
    with fresh_folder(folder) as output:
        rows = tuple(_placed(usable, output, files, secret))
        write_manifest(output / "manifest.csv", rows)
        write_key(output, secret)
    unknown = sum(not item.patient for item in usable)
    notes = tuple(dict.fromkeys(item.note for item in usable if item.note))
    return Ingested(folder / "manifest.csv", name, rows, tuple(faults), unknown, len(others), notes)


def find_frames(source: Path, layout: str = "auto") -> tuple[str, list[Found], list[Path]]:
    """The layout's name, all frames that it finds, and the image files that it passes over.

    Raises DataError where there are no frames, and where ``auto`` would pass over image files.
    """
    if not source.exists():
        raise DataError(f"source {source} does not exist")
    if layout not in ("auto", *LAYOUTS):
        raise DataError(f"layout {layout!r} is not known; known are auto, {', '.join(LAYOUTS)}")
    try:
        name = find_layout(source) if layout == "auto" else layout
        found = LAYOUTS[name].find(source)
        others = passed_over(source, name, found)
    except OSError as error:
        raise DataError(f"source {source} cannot be read: {error.strerror}") from None
    if not found:
        raise DataError(f"source {source} holds no images in the layout {name!r}")
    if others and layout == "auto":
        raise DataError(_would_lose(source, name, others))
    return name, found, others


def _would_lose(source: Path, layout: str, others: Sequence[Path]) -> str:
    shown = [path.relative_to(source).as_posix() for path in others[:SHOWN]]
    more = f" and {len(others) - SHOWN} more" if len(others) > SHOWN else ""
    return (
        f"source {source} looks like the layout {layout!r}, which would pass over "
        f"{len(others)} of its image files ({', '.join(shown)}{more}); go on without them by "
        f"--layout {layout}, take every image by --layout images, or ingest them apart"
    )


def _split_leaks(found: Sequence[Found]) -> list[str]:
    """Frames whose patient is also in another split."""
    first: dict[str, Found] = {}
    return [
        f"{item.image}: its patient is in split {item.split!r} here and in {seen.split!r} in "
        f"{seen.image}; a patient belongs to one split"
        for item in found
        if item.split and (seen := first.setdefault(item.person, item)).split != item.split
    ]


def _sorted_out(found: Sequence[Found], progress: Progress | None) -> tuple[list[Found], list[str]]:
    """The frames that can be used, and what is wrong with the others."""
    usable, faults = [], []
    for done, item in enumerate(found, start=1):
        fault = _fault(item)
        if fault:
            faults.append(fault)
        else:
            usable.append(item)
        if progress:
            progress(done, len(found))
    return usable, faults


def _fault(item: Found) -> str:
    try:
        image = read_image(item.image, item.frame)
        mask = _labels(item)
    except DataError as error:
        return str(error)
    return (
        ""
        if mask is None or mask.shape == image.shape
        else f"{item.image}: {size_mismatch(image.shape, mask.shape)}"
    )


def _placed(found: Sequence[Found], output: Path, files: Files, key: bytes) -> Iterator[Row]:
    """Put each frame's files into ``output`` and give its row."""
    numbers: dict[Path, int] = {}  # a file of many frames keeps one name
    hashes: dict[str, str] = {}
    for item in found:
        number = numbers.setdefault(item.image, len(numbers) + 1)
        name = f"{_plain(item.corpus)}/{number:06d}"
        path = _place_image(item, output, name, files)
        if path not in hashes:
            hashes[path] = sha256_of(output / path)
        yield Row(
            path=path,
            frame=item.frame if files == "link" else 0,
            patient_id=pseudonym(key, item.person),
            corpus=item.corpus,
            label=item.label,
            mask_path=_place_mask(item, output, name, files),
            split=item.split,
            sha256=hashes[path],
            spacing_mm=item.spacing_mm,
        )


def _place_image(item: Found, output: Path, name: str, files: Files) -> str:
    if files == "link":
        path = f"images/{name}{_suffix(item.image)}"
        link_or_copy(item.image, output / path)
        return path
    path = f"images/{name}-{item.frame:04d}.png"
    gray = np.rint(read_image(item.image, item.frame) * 255).astype(np.uint8)
    _save(Image.fromarray(gray), output / path)
    return path


def _place_mask(item: Found, output: Path, name: str, files: Files) -> str:
    if item.mask and files == "link" and not item.instances:
        path = f"masks/{name}{_suffix(item.mask)}"
        link_or_copy(item.mask, output / path)
        return path
    labels = _labels(item)
    if labels is None:
        return ""
    path = f"masks/{name}-{item.frame:04d}.png"
    if item.instances:
        labels = np.minimum(labels, 1)
    if labels.max(initial=0) > 255:
        raise DataError(
            f"mask {item.mask or item.image} has label values above 255; it numbers objects"
        )
    _save(Image.fromarray(labels.astype(np.uint8)), output / path)
    return path


def _labels(item: Found) -> Labels | None:
    """The frame's mask, from its file or as it is drawn; None where it has none."""
    if item.drawn:
        return item.drawn()
    return read_mask(item.mask, mask_frame(item.mask, item.frame)) if item.mask else None


def _save(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)


def _suffix(path: Path) -> str:
    name = path.name.lower()
    if name.endswith(".mhd"):
        return ".mha"  # with its voxels in the same file
    return ".nii.gz" if name.endswith(".nii.gz") else Path(name).suffix or ".dcm"


def _plain(name: str) -> str:
    """A corpus' name as a folder: letters of any script stay, anything else is a dash."""
    normal = unicodedata.normalize("NFC", name)
    return re.sub(r"[^\w-]+", "-", normal).strip("-") or "corpus"

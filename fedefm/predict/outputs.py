"""What prediction writes: masks, overlays, runs as GIF, DICOM SEG, and lists of all of it.

``index.csv``, ``masks/``, ``overlays/`` and ``clips/`` name no patient, unless the pixels or the
names of plain images do. What does, or leads back to one, is in ``identified/``: the SEG files,
which a PACS could not file without a name, and ``sources.csv``, which tells the file and the
instance behind each neutral number. That folder is for its owner alone and stays in the hospital.
"""

import csv
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType

import numpy as np
import pydicom
from PIL import Image

from fedefm.data.manifest import is_formula
from fedefm.errors import DataError
from fedefm.finetune.overlay import draw_overlay
from fedefm.finetune.tiling import Mask
from fedefm.predict.animation import DEFAULT_MS, frame_milliseconds, write_animation
from fedefm.predict.dicom_frames import MarkedFrame
from fedefm.predict.dicom_seg import segmentation
from fedefm.predict.highdicom_seg import Algorithm
from fedefm.predict.sources import Clip, Frame

INDEX, IDENTIFIED, SOURCES = "index.csv", "identified", "sources.csv"
_UIDS = ("SeriesInstanceUID", "SOPInstanceUID")


@dataclass(frozen=True)
class _Written:
    """A frame that lies on the disk; its pixels are read back when they are needed again."""

    frame_path: Path
    file_frame: int
    found: tuple[bool, ...]
    mask: Path
    overlay: Path


@dataclass
class Outputs:
    """Writes frame after frame into ``folder``; a clip is finished when the next one begins.

    ``algorithm`` is what a SEG names as its maker; without it no SEG is written.
    """

    folder: Path
    classes: tuple[str, ...]
    algorithm: Algorithm | None
    notes: list[str] = field(default_factory=list)  # which SEG could not be made, and why
    animations: list[str] = field(default_factory=list)
    segmentations: list[str] = field(default_factory=list)
    _clip: Clip | None = None
    _written: list[_Written] = field(default_factory=list)

    def __enter__(self) -> "Outputs":
        self._file = (self.folder / INDEX).open("w", encoding="utf-8", newline="")
        self._index = csv.writer(self._file, lineterminator="\n")
        columns = ("image", "frame", "mask", "overlay", "width", "height")
        self._index.writerow((*columns, *(_cell(f"{name}_pixels") for name in self.classes[1:])))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self._finish()
        self._file.close()

    def write(self, frame: Frame, mask: Mask) -> None:
        """Mask, overlay and line of the index for one frame; frames come clip by clip."""
        if frame.clip is not self._clip:
            self._finish()
            self._clip = frame.clip
        name = f"{frame.name.removesuffix('.png')}.png"
        while (self.folder / "masks" / name).exists():  # "a.npy" and "a.npy.png" side by side
            name = f"{name[:-4]}~.png"
        paths = [f"masks/{name}", f"overlays/{name}"]
        pictures = [Image.fromarray(mask), draw_overlay(frame.image, mask, self.classes)]
        for path, picture in zip(paths, pictures, strict=True):
            (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
            picture.save(self.folder / path)
        pixels = [int((mask == k).sum()) for k in range(1, len(self.classes))]
        size = (mask.shape[1], mask.shape[0])
        self._index.writerow([_cell(frame.clip.name), frame.index, *paths, *size, *pixels])
        self._written.append(
            _Written(
                frame.file.path,
                frame.file_frame,
                tuple(count > 0 for count in pixels),
                *(self.folder / path for path in paths),
            )
        )

    def _finish(self) -> None:
        """What is made of a whole clip."""
        clip, written = self._clip, self._written
        self._clip, self._written = None, []
        if clip is None:
            return
        if len(written) > 1:
            path = f"clips/{clip.name}.gif"
            spacing = frame_milliseconds(written[0].frame_path) if clip.is_dicom else None
            overlays = [one.overlay for one in written]
            write_animation(self.folder / path, overlays, spacing or DEFAULT_MS)
            self.animations.append(path)
        if clip.is_dicom:
            self._list_sources(clip)
            if self.algorithm is not None:
                self._write_seg(clip, written, self.algorithm)

    def _list_sources(self, clip: Clip) -> None:
        path = self.folder / IDENTIFIED / SOURCES
        path.parent.mkdir(mode=0o700, exist_ok=True)
        new = not path.exists()
        with path.open("a", encoding="utf-8", errors="surrogateescape", newline="") as file:
            lines = csv.writer(file, lineterminator="\n")
            if new:
                lines.writerow(("image", "file", *_UIDS))
            for source in clip.files:
                lines.writerow((_cell(clip.name), source.path, *_uids(source.path)))

    def _write_seg(self, clip: Clip, written: list[_Written], algorithm: Algorithm) -> None:
        frames = [
            MarkedFrame(one.frame_path, one.file_frame, one.found, partial(_mask_at, one.mask))
            for one in written
        ]
        name = f"{IDENTIFIED}/{clip.name.replace('/', '-')}.seg.dcm"
        try:
            seg = segmentation(frames, self.classes, algorithm, len(self.segmentations) + 1)
        except DataError as error:
            self.notes.append(f"{clip.name}: {error}")
            return
        seg.save_as(self.folder / name, enforce_file_format=True)
        self.segmentations.append(name)


def _cell(name: str) -> str:
    """A name as it may stand in a table: a spreadsheet would run one that starts with "="."""
    return f"./{name}" if is_formula(name) else name


def _mask_at(path: Path) -> Mask:
    with Image.open(path) as image:
        return np.asarray(image, np.uint8)


def _uids(path: Path) -> tuple[str, ...]:
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_UIDS))
        return tuple(str(header.get(name) or "") for name in _UIDS)
    except Exception:  # a file that was left out, for a reason that the summary tells
        return ("",) * len(_UIDS)

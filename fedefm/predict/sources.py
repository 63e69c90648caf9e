"""What there is to predict on: images, stacks of frames and runs of DICOM images.

A *clip* is what belongs together: the frames of one file, or the single-frame instances of one
DICOM series in the order of their instance numbers. Images and stacks keep the name that their user
gave them. Names of DICOM files come out of a PACS and may hold the patient's, so DICOM clips are
numbered (``dicom-0001``), and messages tell a file's place among them instead of its name. A
manifest promises neutral names, so they are kept.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset

from fedefm.data.links import leads_out
from fedefm.data.manifest import read_manifest
from fedefm.data.plain_folders import with_masks
from fedefm.data.readers import Gray, count_frames
from fedefm.errors import DataError
from fedefm.words import printable, several

Progress = Callable[[int, int], None]  # files done, files in all
Reader = Callable[[Path, int], Gray]

_DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")
_NEEDED = ("SeriesInstanceUID", "InstanceNumber", "NumberOfFrames", "Rows", "Columns")


@dataclass(frozen=True)
class SourceFile:
    """One file, and how messages call it."""

    path: Path
    told: str


@dataclass(frozen=True)
class Clip:
    """Frames that belong together, in order."""

    name: str
    files: tuple[SourceFile, ...]
    is_dicom: bool
    asked: tuple[int, ...] | None = None  # which frames of its only file; None: all of them


@dataclass(frozen=True)
class Frame:
    """One frame, and where it came from."""

    clip: Clip
    index: int  # within the clip, from 0
    alone: bool  # whether the clip has no other
    file: SourceFile
    file_frame: int  # within the file, from 0
    image: Gray

    @property
    def name(self) -> str:
        """How outputs of this frame are called, without a suffix."""
        return self.clip.name if self.alone else f"{self.clip.name}.frame{self.index:04d}"


def find_clips(source: Path) -> list[Clip]:
    """The clips of a folder, of one file or of a manifest. Masks beside their images are none.

    Raises DataError where there is nothing that could be an image.
    """
    if source.suffix.lower() == ".csv":
        return _of_manifest(source)
    if source.is_file():
        return _of_files(source.parent, [source])
    if not source.is_dir():
        what = "is no file or folder of images" if source.exists() else "does not exist"
        raise DataError(f"{source} {what}; name a folder of images, an image or a manifest")
    files = [path for path in with_masks(source) if not leads_out(source, path)]
    if not files:
        told = [f"there are no images in {source}", *outward_links(source).values()]
        raise DataError("; ".join(told))
    return _of_files(source, files)


def outward_links(source: Path) -> dict[str, str]:
    """``{"links": reason}`` where images of a folder are links to what lies elsewhere.

    Links have names of whoever made them, and these are not told.
    """
    if source.suffix.lower() == ".csv" or not source.is_dir():
        return {}
    count = sum(leads_out(source, path) for path in with_masks(source))
    if not count:
        return {}
    which = "1 image is a link" if count == 1 else f"{several(count, 'image')} are links"
    return {"links": f"{which} to what lies outside of the folder; copy there what is to be taken"}


def read_clips(
    clips: list[Clip], read: Reader, unreadable: dict[str, str], progress: Progress | None = None
) -> Iterator[Frame]:
    """Every frame that ``read`` can read, in order; ``unreadable`` gets the reasons of the others.

    What cannot be read keeps its place in the run, so that frames are numbered alike.
    """
    done, total = 0, sum(len(clip.files) for clip in clips)
    for clip in clips:
        index = 0
        for file in clip.files:
            count, reason, lost = _count(file.path), "", 0
            for frame in range(count) if clip.asked is None else clip.asked:
                index = index if clip.asked is None else frame
                try:
                    image = read(file.path, frame)
                except DataError as error:
                    reason, lost = _reason(error, clip, file), lost + 1
                else:
                    alone = count == 1 and len(clip.files) == 1
                    yield Frame(clip, index, alone, file, frame, image)
                index += 1
            if reason:
                some = f" ({lost:,} of its {count:,} frames)" if lost < count else ""
                unreadable[file.told] = reason + some
            done += 1
            if progress:
                progress(done, total)


def _count(path: Path) -> int:
    try:
        return count_frames(path)
    except DataError:  # reading it will tell
        return 1


def _of_manifest(path: Path) -> list[Clip]:
    manifest = read_manifest(path)
    asked: dict[str, dict[int, None]] = {}
    for row in manifest.rows:
        asked.setdefault(row.path, {})[row.frame] = None
    return [
        Clip(name, (SourceFile(file, name),), is_dicom_file(file), tuple(frames))
        for name, frames in asked.items()
        for file in (manifest.folder / name,)
    ]


def _of_files(folder: Path, files: list[Path]) -> list[Clip]:
    """Each image a clip of its own, and the single-frame instances of a DICOM series one."""
    headers = {path: _header(path) for path in files if is_dicom_file(path)}
    place = {path: number for number, path in enumerate(headers, start=1)}
    groups: dict[object, list[Path]] = {}
    for path in files:
        groups.setdefault(_series(headers[path]) or path if path in headers else path, []).append(
            path
        )
    clips, numbers = [], iter(range(1, len(files) + 1))
    for group in groups.values():
        if group[0] not in headers:
            name = printable(group[0].relative_to(folder).as_posix())
            clips.append(Clip(name, (SourceFile(group[0], name),), is_dicom=False))
            continue
        ordered = sorted(group, key=lambda path: (_instance(headers[path]), path))
        told = [f"DICOM file {place[path]} of {len(place)}, ordered by name" for path in ordered]
        found = tuple(SourceFile(*both) for both in zip(ordered, told, strict=True))
        clips.append(Clip(f"dicom-{next(numbers):04d}", found, is_dicom=True))
    return clips


def is_dicom_file(path: Path) -> bool:
    """Whether the name or the mark inside says that a file is DICOM; exports often have no name."""
    if path.suffix.lower() in _DICOM_SUFFIXES:
        return True
    try:
        with path.open("rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def _header(path: Path) -> Dataset | None:
    """What groups and orders instances; None if it cannot be read, which reading will tell."""
    try:
        return pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(_NEEDED))
    except Exception:  # pydicom raises whatever it trips over in a corrupt file
        return None


def _series(header: Dataset | None) -> object:
    """Equal for single frames of one series and size; None for all else."""
    if header is None or not header.get("SeriesInstanceUID"):
        return None
    if str(header.get("NumberOfFrames") or 1) != "1":
        return None
    return (str(header.SeriesInstanceUID), header.get("Rows"), header.get("Columns"))


def _instance(header: Dataset | None) -> float:
    try:
        return float(header.InstanceNumber) if header is not None else float("inf")
    except (AttributeError, TypeError, ValueError):
        return float("inf")  # those without a number come last, by name


def _reason(error: DataError, clip: Clip, file: SourceFile) -> str:
    sentence = str(error)
    if not clip.is_dicom or file.told == clip.name:  # a manifest's name is neutral
        return sentence
    return sentence.replace(str(file.path), file.told).replace(file.path.name, "it")

"""Which frames of a source are taken, in which order, and under which names and pseudonyms.

Slices of a CT or MR series come in order of position. Images of a series that differ in size are
all kept, each at its own size: what reads a manifest resizes each frame. DICOM images that show
signs of burned-in text are left out unless they are allowed.
"""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fedefm.data.choices import Files
from fedefm.data.dicom_header import SLICES, Facts, facts_of
from fedefm.data.file_numbers import FileNumbers
from fedefm.data.file_text import SHARED
from fedefm.data.found import Found
from fedefm.data.frame_choice import FrameChoice
from fedefm.data.ingest_frames import Task, suffix
from fedefm.data.ingest_report import Line, span
from fedefm.data.ingest_source import Source
from fedefm.data.layouts import masks_without_image
from fedefm.data.links import OUTWARD
from fedefm.data.not_files import not_files
from fedefm.data.person_words import names_person
from fedefm.data.plain_folders import DICOM_ENDINGS, image_files, is_without_image
from fedefm.data.pseudonyms import pseudonym
from fedefm.data.readers import count_frames
from fedefm.data.volume_spacing import volume_spacing
from fedefm.errors import DataError

LONGEST_NAME = 60  # letters of a folder, of up to four bytes each; file systems take 255 bytes
TASK_FRAMES = 32  # of a task: a second or two, so that Ctrl-C is soon heard
OF_NOTHING = (
    "it lies in a folder for masks, and no image that is taken has its name; rename the folder to "
    "take it as an image"
)
STACKS = (".nii", ".nii.gz", ".mhd", ".mha", ".npy", ".tif", ".tiff", ".gif")  # of many frames
OTHERS = (*SHARED, ".gif", ".bmp", ".tif", ".tiff", ".nii", ".nii.gz")  # that never are DICOM


@dataclass(frozen=True)
class SourceFile:
    """One image file, its frames, and its DICOM header, if it has one."""

    path: Path
    frames: tuple[Found, ...]
    facts: Facts | None


def files_in_order(found: Sequence[Found]) -> list[SourceFile]:
    """The files of a source, the series of DICOM files each in order of position."""
    frames: dict[Path, list[Found]] = {}
    for item in found:
        frames.setdefault(item.image, []).append(item)
    files = [SourceFile(path, tuple(items), _facts(path)) for path, items in frames.items()]
    series: dict[str, list[SourceFile]] = {}
    for file in files:
        name = file.facts.series if file.facts else ""
        series.setdefault(name or f"file/{file.path}", []).append(file)
    return [file for group in series.values() for file in _along_axis(group)]


def taken(
    files: Iterable[SourceFile], choice: FrameChoice, allow_burned_in: bool, numbers: FileNumbers
) -> tuple[list[SourceFile], list[Line]]:
    """The files with the frames that are taken of them, and what is to be said of the others."""
    kept, lines = [], []
    for file in files:
        number, facts = numbers.of(file.path), file.facts
        if facts and facts.text and not allow_burned_in:
            lines.append(Line(number, "", "left out", facts.text))
            continue
        if facts and (facts.text or facts.doubt):
            lines.append(Line(number, "", "taken", facts.text or facts.doubt))
        chosen = _chosen(file, choice)
        if choice.per_second and len(file.frames) > 1 and not (facts and facts.rate):
            lines.append(Line(number, "", "taken", "it does not say its frame rate"))
        if len(chosen) < len(file.frames):
            reason = f"{len(chosen)} of its {len(file.frames)} frames were chosen"
            lines.append(Line(number, "", "taken", reason))
        kept.append(replace(file, frames=chosen))
    return kept, lines + _mixed_sizes(kept, numbers)


def refuse_persons(files: Sequence[SourceFile], typed: str | None, numbers: FileNumbers) -> None:
    """Raises DataError where a corpus or label is called as a patient is.

    They come from names of folders, which exports often call after people, and go into tables and
    models. ``typed`` is the corpus that the user named himself.
    """
    called = frozenset[str]().union(*(file.facts.called for file in files if file.facts))
    items = (item for file in files for item in file.frames)
    names = {name for item in items for name in (item.corpus, item.label)} - {typed}
    if any(names_person(name, called) for name in names):
        raise DataError(
            f"{numbers.source} has a folder that is called as a patient is, and a corpus or "
            "label would be called so, too; rename it, name the corpus by --corpus, or take the "
            "folders for no labels by --layout images"
        )


def left_aside(source: Path, seen: Source, numbers: FileNumbers) -> list[Line]:
    """What is not taken, with the reason for each: its layout, its kind, or where it leads."""
    known = {path for item in seen.found for path in (item.image, item.mask)}
    empty = [path for path in image_files(source) if path not in known and is_without_image(path)]
    reasons = dict.fromkeys(seen.passed_over, f"it is not of the layout {seen.layout!r}")
    reasons |= dict.fromkeys(masks_without_image(source, seen.layout, seen.found), OF_NOTHING)
    reasons |= dict.fromkeys(empty, "it is DICOM without an image, such as a report or a plan")
    reasons |= not_files(source)
    reasons |= dict.fromkeys(seen.outward, OUTWARD)
    return [Line(numbers.of(path), "", "left out", reason) for path, reason in reasons.items()]


def frames_aside(files: Iterable[SourceFile], layout: str, numbers: FileNumbers) -> Iterable[Line]:
    """A line for each file of which the layout does not take all frames, as of some volumes."""
    reason = f"the layout {layout!r} does not take them; fedefm data layouts says what it takes"
    for file in files:
        found = {item.frame for item in file.frames}
        aside = [frame for frame in range(_count(file)) if frame not in found]
        if aside:
            yield Line(numbers.of(file.path), span(aside), "left out", reason)


def most_without_effect(files: Iterable[SourceFile], choice: FrameChoice) -> bool:
    """Whether a largest number of frames was asked for that no file has more of."""
    every = replace(choice, most=None)
    return choice.most is not None and not any(
        len(_chosen(file, choice)) < len(_chosen(file, every)) for file in files
    )


def tasks_of(
    files: Iterable[SourceFile], numbers: FileNumbers, folder: Path, how: Files, key: bytes
) -> list[Task]:
    """What is to be done, frame by frame, under neutral names."""
    tasks: list[Task] = []
    for file in files:
        number = numbers.of(file.path)
        spacing = file.facts.spacing if file.facts else volume_spacing(file.path)
        frames = [
            replace(
                item,
                patient=pseudonym(key, item.person),
                spacing_mm=item.spacing_mm or spacing,
            )
            for item in file.frames
        ]
        for some in _parts(frames, how):
            name = f"{_plain(some[0].corpus)}/{number:06d}"
            tasks.append(Task(len(tasks), number, tuple(some), name, folder, how))
    return tasks


def digest_of(tasks: Iterable[Task]) -> str:
    """A digest of everything that decides on what the tasks write."""
    digest = hashlib.sha256()
    for task in tasks:
        digest.update(repr((task.number, task.file, task.name, task.files)).encode())
        for item in task.frames:
            state = [_state(path) for path in (item.image, item.mask) if path]
            digest.update(repr((replace(item, drawn=None), state)).encode())
    return digest.hexdigest()


def _facts(path: Path) -> Facts | None:
    try:
        return facts_of(path) if _is_dicom(path) else None
    except Exception:  # decoding the image will tell
        return None


def _count(file: SourceFile) -> int:
    """How many frames a file has; 0 where that cannot be said, which decoding will tell."""
    if file.facts:
        return file.facts.frames
    try:
        return count_frames(file.path) if suffix(file.path) in STACKS else 0
    except DataError:
        return 0


def _is_dicom(path: Path) -> bool:
    """By its ending alone: other files that are known to hold images have endings of their own."""
    ending = suffix(path)
    return ending in DICOM_ENDINGS or ending not in OTHERS


def _along_axis(group: list[SourceFile]) -> list[SourceFile]:
    known = [file.facts for file in group if file.facts]
    if len(known) < 2:
        return group
    if known[0].modality in SLICES and all(facts.position is not None for facts in known):
        return sorted(group, key=_place)
    if all(facts.instance is not None for facts in known):
        return sorted(group, key=lambda file: file.facts.instance or 0 if file.facts else 0)
    return group


def _place(file: SourceFile) -> tuple[float, int]:
    facts = file.facts
    return (facts.position or 0.0, facts.instance or 0) if facts else (0.0, 0)


def _chosen(file: SourceFile, choice: FrameChoice) -> tuple[Found, ...]:
    frames = {item.frame: item for item in file.frames}
    order = [frame for frame in (file.facts.order if file.facts else frames) if frame in frames]
    rate = file.facts.rate if file.facts else None
    return tuple(frames[frame] for frame in choice.of(order, rate))


def _mixed_sizes(files: Sequence[SourceFile], numbers: FileNumbers) -> list[Line]:
    series: dict[str, list[SourceFile]] = {}
    for file in files:
        if file.facts and file.facts.series:
            series.setdefault(file.facts.series, []).append(file)
    lines = []
    for group in series.values():
        sizes = Counter(file.facts.size for file in group if file.facts)
        if len(sizes) > 1:
            listed = ", ".join(f"{n} of {w} x {h}" for (h, w), n in sizes.most_common())
            reason = f"images of its series differ in size ({listed}); each keeps its own"
            lines.append(Line(numbers.of(group[0].path), "", "taken", reason))
    return lines


def _parts(frames: Sequence[Found], how: Files) -> Iterable[Sequence[Found]]:
    """A file that is linked is one task, since it is placed and hashed as a whole."""
    linked = how == "link" or (how == "auto" and suffix(frames[0].image) in SHARED)
    step = len(frames) if linked else TASK_FRAMES
    return (frames[k : k + step] for k in range(0, len(frames), step))


def _state(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def _plain(name: str) -> str:
    """A corpus' name as a folder: letters of any script stay, anything else is a dash."""
    normal = unicodedata.normalize("NFC", name)
    return re.sub(r"[^\w-]+", "-", normal)[:LONGEST_NAME].strip("-") or "corpus"

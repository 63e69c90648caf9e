"""From a folder of images to a manifest that everything else works on.

What identifies a patient stays behind: patients get pseudonyms; files get neutral names
(``images/<corpus>/000001-0000.png``), since names like ``Miller_1.dcm`` would carry the patient
into messages and reports; and by default every file with a header that can name somebody is written
anew, as 8-bit PNG without one. That loses nothing: training works on 8 bits of the shown gray.

The output folder appears whole or not at all. Many frames take long, so that it can be interrupted
and continued; the result is the same, byte by byte.
"""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fedefm.data.choices import Files
from fedefm.data.corpus_name import refuse_corpus
from fedefm.data.file_numbers import FileNumbers
from fedefm.data.folders import refuse_full
from fedefm.data.frame_choice import FrameChoice
from fedefm.data.ingest_plan import (
    SourceFile,
    digest_of,
    files_in_order,
    frames_aside,
    left_aside,
    most_without_effect,
    refuse_persons,
    taken,
    tasks_of,
)
from fedefm.data.ingest_report import REPORT_NAME, Line, sentences, write_report
from fedefm.data.ingest_source import Source, find_source
from fedefm.data.ingest_work import Progress, Steps, filled
from fedefm.data.manifest import Row, write_manifest
from fedefm.data.pseudonyms import KEY_NAME, new_key, read_key, write_key
from fedefm.data.unfinished import unfinished_folder, unfinished_path
from fedefm.errors import DataError, all_problems
from fedefm.words import several

ALL_FRAMES = FrameChoice()


class IngestInterrupted(DataError):
    """Stopped by the user; what is done is kept."""


@dataclass(frozen=True)
class Ingested:
    """What came of it."""

    manifest: Path
    layout: str
    rows: tuple[Row, ...]
    report: tuple[Line, ...]  # what became of files that were not taken as they are
    faults: tuple[Line, ...]  # those of them that could not be used
    skipped: tuple[str, ...]  # the same, as sentences
    without_patient: int  # frames that do not say whose they are
    passed_over: int  # image files below the source that the layout does not take
    notes: tuple[str, ...]  # what to know of patients, labels and choices before using it


def ingest(
    source: Path,
    folder: Path,
    layout: str = "auto",
    corpus: str | None = None,
    files: Files = "auto",
    patient_pattern: str | None = None,
    key: bytes | None = None,
    choice: FrameChoice = ALL_FRAMES,
    allow_burned_in: bool = False,
    skip_unreadable: bool = False,
    show_paths: bool = False,
    resume: bool = False,
    processes: int = 1,
    progress: Progress | None = None,
) -> Ingested:
    """Write ``folder/manifest.csv`` and its images from what is in ``source``.

    Beside them lie ``ingest_report.csv`` and, readable by the owner alone, the key to the
    pseudonyms and ``.sources.csv``, which says which file each running number stands for.

    Args:
        source: a folder, or one image file.
        folder: new or empty.
        layout: a name in ``LAYOUTS``, or ``auto``.
        corpus: a name for all frames, instead of the layout's own.
        files: ``auto`` writes frames of files that may name a patient as 8-bit PNG (DICOM, NIfTI,
            TIFF, and others with text in them) and shares the others with the source; ``png``
            writes all; ``link`` shares all, headers included, with names and dates in them.
        patient_pattern: regular expression whose group is the patient in a file's path.
        key: for pseudonyms; a new one if None. It is kept in ``folder/.pseudonym_key``.
        choice: which frames of a file are taken.
        allow_burned_in: take DICOM images that show signs of burned-in text.
        skip_unreadable: leave out frames that cannot be used, instead of refusing them all.
        show_paths: name files in messages, instead of their running numbers.
        resume: go on in the folder of an earlier call that was interrupted, if there is one.
        processes: how many decode; with more than one, a script must guard its main module. With
            one, that is this process, which a decoder may end on corrupt JPEG lossless DICOM.

    Raises DataError: nothing found, an unknown layout, frames or masks that cannot be used, image
    files that ``auto`` would lose, a ``folder`` in the source, a corpus or label called as a
    patient is, a corpus that is a path, a disk that is full. Raises IngestInterrupted on Ctrl-C.
    """
    if corpus is not None:  # before minutes of looking
        refuse_corpus(corpus)
    refuse_full(folder)
    _refuse_inside(source, folder)
    numbers = FileNumbers(source, show_paths)
    seen = find_source(source, layout, corpus, patient_pattern, numbers)
    in_order = files_in_order(seen.found)
    kept, lines = taken(in_order, choice, allow_burned_in, numbers)
    refuse_persons(kept, corpus, numbers)
    lines += [*frames_aside(in_order, seen.layout, numbers), *left_aside(source, seen, numbers)]
    if not kept:
        raise DataError(_nothing_left(source, lines, numbers))
    secret = key or _earlier_key(folder, resume) or new_key()
    tasks = tasks_of(kept, numbers, unfinished_path(folder), files, secret)
    isolated = any(file.facts and file.facts.fragile for file in kept)
    steps = Steps(sum(len(task.frames) for task in tasks), progress)
    try:
        with unfinished_folder(folder, digest_of(tasks), resume) as unfinished:
            _keep_key(unfinished.path, secret)
            rows, faults = filled(tasks, unfinished, processes, steps, isolated)
            if faults and not (rows and skip_unreadable):
                raise DataError(all_problems(numbers.source, sentences(faults, numbers)))
            _write_tables(unfinished.path, rows, [*lines, *faults], numbers)
    except KeyboardInterrupt:
        raise IngestInterrupted(
            f"interrupted after {steps.done} of {steps.total} frames, which are kept; "
            "the same command with --resume goes on"
        ) from None
    report = tuple(sorted([*lines, *faults], key=lambda line: line.file))
    return Ingested(
        manifest=folder / "manifest.csv",
        layout=seen.layout,
        rows=rows,
        report=report,
        faults=tuple(faults),
        skipped=tuple(sentences(faults, numbers)),
        without_patient=_without_patient(kept, faults, numbers),
        passed_over=len(seen.passed_over),
        notes=(*_notes(seen, layout), *_of_choice(in_order, choice)),
    )


def _refuse_inside(source: Path, folder: Path) -> None:
    inside, outside = os.path.realpath(folder), os.path.realpath(source)
    if source.is_dir() and os.path.commonpath([inside, outside]) == outside:
        raise DataError(
            f"{folder} is in the source {source}, where another ingest would take its images for "
            "more of them; name a folder elsewhere"
        )


def _notes(seen: Source, layout: str) -> Iterable[str]:
    """What to know of patients and labels, each once."""
    yield from dict.fromkeys(item.note for item in seen.found if item.note)
    if layout == "auto" and seen.layout == "classes":
        labels = len({item.label for item in seen.found})
        yield (
            f"the names of {several(labels, 'folder')} became labels, which models and reports "
            "show; if they stand for people, use --patient-pattern '^([^/]+)/'"
        )


def _of_choice(files: Sequence[SourceFile], choice: FrameChoice) -> Iterable[str]:
    if most_without_effect(files, choice):
        most = max(len(file.frames) for file in files)
        yield (
            f"--max-frames {choice.most} changed nothing: the layout takes at most "
            f"{several(most, 'frame')} of a file"
        )


def _write_tables(
    folder: Path, rows: Sequence[Row], lines: Sequence[Line], numbers: FileNumbers
) -> None:
    write_report(folder / REPORT_NAME, lines)
    numbers.write(folder)
    write_manifest(folder / "manifest.csv", rows)


def _without_patient(
    files: Sequence[SourceFile], faults: Sequence[Line], numbers: FileNumbers
) -> int:
    """Frames that do not say whose they are, of files that can be used."""
    broken = {line.file for line in faults if not line.frames}
    return sum(
        not item.patient
        for file in files
        if numbers.of(file.path) not in broken
        for item in file.frames
    )


def _earlier_key(folder: Path, resume: bool) -> bytes | None:
    path = unfinished_path(folder) / KEY_NAME
    return read_key(path) if resume and path.exists() else None


def _keep_key(folder: Path, key: bytes) -> None:
    if not (folder / KEY_NAME).exists():
        write_key(folder, key)


def _nothing_left(source: Path, lines: Sequence[Line], numbers: FileNumbers) -> str:
    reasons = "; ".join(dict.fromkeys(line.reason for line in lines))
    return (
        f"source {source} holds no image that is taken: {reasons}; "
        "--allow-burned-in takes those that may show text"
    )

"""``fedefm data ingest``: from a folder of images to a manifest, names left behind."""

import os
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedefm.data.choices import LAYOUT_NAMES, Files
from fedefm.data.pseudonyms import read_key
from fedefm.words import several
from nvflare_jobs.commands.data_words import counts, print_json, summary
from nvflare_jobs.commands.progress import progress_of

if TYPE_CHECKING:
    from fedefm.data.ingest import Ingested

ISOLATED = 2  # processes, also on one core: a decoder that crashes must not end the command
INTERRUPTED = 130  # the exit code of a program that Ctrl-C has ended


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(ingest)


def ingest(
    source: Annotated[Path, typer.Argument(help="A folder of images, or one image file.")],
    folder: Annotated[Path, typer.Argument(help="The folder to make; new or empty.")],
    layout: Annotated[str, typer.Option(help=f"auto, {', '.join(LAYOUT_NAMES)}.")] = "auto",
    corpus: Annotated[
        str | None, typer.Option(help="Name of the corpus; else the layout's or the folder's.")
    ] = None,
    files: Annotated[
        Files,
        typer.Option(
            help="auto: 8-bit PNG for what has a header that can name a patient (DICOM, NIfTI, "
            "TIFF, EXIF, comments), the source's own file for others. png: PNG for all. link: the "
            "source's own files, headers with names and dates included."
        ),
    ] = "auto",
    patient_pattern: Annotated[
        str | None,
        typer.Option(help="Regular expression on a file's path; its group is the patient."),
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(help="A .pseudonym_key to use again, so that patients keep their pseudonyms."),
    ] = None,
    frames_per_second: Annotated[
        float | None,
        typer.Option(help="Take so many frames a second of DICOM files that say their rate."),
    ] = None,
    max_frames: Annotated[
        int | None, typer.Option(help="At most so many frames of a file, evenly spaced.", min=1)
    ] = None,
    allow_burned_in: Annotated[
        bool,
        typer.Option(
            "--allow-burned-in",
            help="Take DICOM images that are marked, or likely, to show text such as names.",
        ),
    ] = False,
    skip_unreadable: Annotated[
        bool, typer.Option("--skip-unreadable", help="Leave out what cannot be used.")
    ] = False,
    show_paths: Annotated[
        bool,
        typer.Option(
            "--show-paths", help="Name the source's files in messages, not only their numbers."
        ),
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where the same command was interrupted.")
    ] = False,
    processes: Annotated[
        int | None, typer.Option(help="How many decode at once; else one for each core.", min=1)
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object, for scripts.")
    ] = False,
) -> None:
    """Make a manifest from a folder of images (PNG, JPEG, TIFF, GIF, PGM, NumPy, NIfTI, DICOM).

    Patients get pseudonyms; the key to them stays beside the manifest, readable by its owner alone.
    A patient is what the DICOM header says, what --patient-pattern finds, or else one file.

    Messages and ingest_report.csv call files by running numbers, since an export's paths often hold
    names; .sources.csv, for its owner alone, says which file a number is.

    Example: fedefm data ingest /export/angio data/angio --patient-pattern '^([^/]+)/'
    """
    from fedefm.data.frame_choice import FrameChoice
    from fedefm.data.ingest import IngestInterrupted
    from fedefm.data.ingest import ingest as ingest_folder

    if frames_per_second is not None and not frames_per_second > 0:
        raise typer.BadParameter("must be above 0", param_hint="--frames-per-second")
    secret = read_key(key) if key else None
    try:
        with progress_of("reading", quiet=as_json) as progress:
            made = ingest_folder(
                source,
                folder,
                layout,
                corpus=corpus,
                files=files,
                patient_pattern=patient_pattern,
                key=secret,
                choice=FrameChoice(frames_per_second, max_frames),
                allow_burned_in=allow_burned_in,
                skip_unreadable=skip_unreadable,
                show_paths=show_paths,
                resume=resume,
                processes=processes or max(len(os.sched_getaffinity(0)), ISOLATED),
                progress=progress,
            )
    except IngestInterrupted as stopped:
        print(f"fedefm: {stopped}", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None
    if as_json:
        print_json(_as_json(made))
    else:
        _tell(made)


def _as_json(made: "Ingested") -> dict[str, Any]:
    return {
        "manifest": str(made.manifest),
        "layout": made.layout,
        **summary(made.rows),
        "skipped": list(made.skipped),
        "without_patient": made.without_patient,
        "passed_over": made.passed_over,
        "notes": list(made.notes),
        "report": [asdict(line) for line in made.report],
    }


def _tell(made: "Ingested") -> None:
    if made.without_patient:
        print(
            f"{several(made.without_patient, 'frame')} without a word of whose: each file counts "
            "as one patient; where that is wrong, use --patient-pattern"
        )
    for reason in made.skipped:
        print(f"left out: {reason}")
    if made.passed_over:
        print(f"passed over: {made.passed_over} image files that are not of this layout")
    others = [line for line in made.report if line not in made.faults]
    files = Counter((line.outcome, line.reason, bool(line.frames)) for line in others)
    for (outcome, reason, some), count in files.items():
        alike = (line for line in others if (line.outcome, line.reason) == (outcome, reason))
        frames = sum(line.frame_count for line in alike)
        part = f"{several(frames, 'frame')} of " if some else ""
        print(f"{outcome}: {part}{several(count, 'file')}: {reason}")
    for note in made.notes:
        print(f"note: {note}")
    print(f"layout {made.layout}: {counts(made.rows)}")
    print(f"wrote {made.manifest}")

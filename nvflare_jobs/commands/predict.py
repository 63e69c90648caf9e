"""The command ``predict``: masks for images that nobody has marked.

It loads what it works with when it is called: torch loads slowly.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fedefm import __version__
from fedefm.finetune.result import as_json as json_of
from fedefm.words import several
from nvflare_jobs.commands.model_options import AsJson, Device
from nvflare_jobs.commands.progress import progress_of

if TYPE_CHECKING:
    from fedefm.predict.job import PredictionSummary


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(predict)


def predict(
    checkpoint: Annotated[Path, typer.Argument(help="A segmenter, from fedefm finetune.")],
    source: Annotated[
        Path, typer.Argument(help="A folder of images or DICOM files, one file, or a manifest.")
    ],
    out: Annotated[Path, typer.Argument(help="The folder to make; new or empty.")],
    seg: Annotated[
        bool, typer.Option(help="Write a DICOM SEG for each run of DICOM images.")
    ] = True,
    device: Device = "cpu",
    as_json: AsJson = False,
) -> None:
    """Mark catheters and guidewires in images, at the images' own resolution.

    OUT gets masks, overlays, an animated GIF for each run of frames, and index.csv. Frames of a
    DICOM file, and the single images of a DICOM series, are a run; its files are numbered, as their
    names may hold a patient's. Files that cannot be read are told, and the others are done.

    The folder identified/ is for DICOM input: a DICOM SEG for each run, for the PACS, and
    sources.csv, which tells the file behind each number. A SEG names the patient of its images.
    This folder stays in the hospital. The rest names nobody, unless the pixels or the names of
    plain images do.

    Example: fedefm predict segmenter/model.safetensors images/ marked/
    """
    from fedefm.finetune.checkpoint import read_trained_segmenter, sha256_of
    from fedefm.finetune.device import find_device
    from fedefm.predict.highdicom_seg import Algorithm
    from fedefm.predict.job import predict as predict_images

    segmenter = read_trained_segmenter(checkpoint)
    segmenter.model.to(find_device(device))
    name = f"FedEFM segmenter on {segmenter.model.info['backbone']}"
    algorithm = Algorithm(name, __version__, sha256_of(checkpoint)) if seg else None
    with progress_of("segment files", as_json) as counter:
        summary = predict_images(segmenter, source, out, counter, algorithm)
    if as_json:
        print(json_of(summary))
    else:
        _tell(summary)


def _tell(summary: "PredictionSummary") -> None:
    out = summary.folder
    frames = several(summary.images, "frame")
    print(
        f"{frames} segmented, {summary.marked or 'none'} with a device; "
        f"masks, overlays and index.csv are in {out}"
    )
    if summary.animations:
        print(f"{several(len(summary.animations), 'run')} as GIF in {out / 'clips'}")
    if summary.segmentations:
        print(
            f"{several(len(summary.segmentations), 'DICOM SEG')} in {out / 'identified'}, which "
            "names patients and stays in the hospital"
        )
    if summary.latency is not None:
        print(summary.latency.sentence())
    for reason in (*summary.unreadable.values(), *summary.notes):
        print(f"left out: {reason}")

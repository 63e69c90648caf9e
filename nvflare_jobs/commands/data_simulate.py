"""``fedefm data simulate``: X-ray fluoroscopy with exact masks, as stills or as runs of frames."""

from pathlib import Path
from typing import Annotated

import typer

from fedefm.data.choices import DOMAIN_NAMES
from fedefm.errors import ConfigError
from nvflare_jobs.commands.data_words import counts, print_json, summary
from nvflare_jobs.commands.progress import progress_of

RATE = 15.0  # frames a second, usual in angiography


def register(app: typer.Typer) -> None:
    """Add the command to ``fedefm data``."""
    app.command()(simulate)


def simulate(
    folder: Annotated[Path, typer.Argument(help="The folder to make; new or empty.")],
    domains: Annotated[
        str, typer.Option(help=f"Comma-separated, of {', '.join(DOMAIN_NAMES)}.")
    ] = ",".join(DOMAIN_NAMES),
    patients: Annotated[int, typer.Option(help="Patients of each domain.", min=1)] = 10,
    frames: Annotated[int, typer.Option(help="Frames of each patient.", min=1)] = 4,
    size: Annotated[int, typer.Option(help="Side of a frame in pixels.", min=32, max=1024)] = 256,
    sequence: Annotated[
        bool,
        typer.Option(
            "--sequence",
            help="Make a patient's frames one run, a multi-page TIFF: breath, heartbeat, a device "
            "that advances.",
        ),
    ] = False,
    rate: Annotated[
        float | None,
        typer.Option(help=f"Frames a second of a sequence, at most 60; {RATE:g} if not given."),
    ] = None,
    distractors: Annotated[
        bool,
        typer.Option(
            "--distractors",
            help="Add sternal wires, clips, electrodes and pacemaker leads; never labeled.",
        ),
    ] = False,
    negatives: Annotated[
        float | None,
        typer.Option(
            help="Share of frames, or of sequences, without a device; 0.1 if not given.",
            min=0,
            max=1,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same result.", min=0)] = 1,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object, for scripts.")
    ] = False,
) -> None:
    """Simulate X-ray fluoroscopy with catheters and guidewires, and masks of both.

    Example: fedefm data simulate data/sim --domains phantom,cardiac --patients 20
    """
    from fedefm.data.simulated import write_dataset

    if rate is not None and not sequence:
        raise ConfigError("--rate is of a sequence; add --sequence, or leave --rate out")
    shown = RATE if sequence and rate is None else rate
    names = [name.strip() for name in domains.split(",") if name.strip()]
    with progress_of("simulating", quiet=as_json) as progress:
        made = write_dataset(
            folder,
            names,
            patients,
            frames,
            size,
            seed,
            progress,
            distractors=distractors,
            negatives=negatives,
            rate=shown,
        )
    if as_json:
        told = {"manifest": str(folder / "manifest.csv"), "frames_per_second": shown}
        print_json(told | summary(made.rows))
        return
    print(f"wrote {folder / 'manifest.csv'}: {counts(made.rows)}")
    if shown:
        print(f"each patient is one run of {frames} frames, {shown:g} a second")

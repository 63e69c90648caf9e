"""``fedefm data check``: all that is wrong or odd about a manifest, at once."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fedefm.data.manifest import FIRST_ROW, parse_manifest
from fedefm.data.unlabeled import labels_told
from fedefm.errors import ConfigError, DataError, all_problems
from fedefm.words import several
from nvflare_jobs.commands.data_words import counts, print_json, summary
from nvflare_jobs.commands.progress import progress_of

if TYPE_CHECKING:
    from fedefm.data.check import Checked

SHOWN = 40  # warnings on a screen; --json has all


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(check)


def check(
    manifest: Annotated[Path, typer.Argument(help="A manifest CSV.")],
    hashes: Annotated[bool, typer.Option("--hashes", help="Compare files with sha256.")] = False,
    classes: Annotated[
        str | None,
        typer.Option(help="Names of the mask values, 0 (the background) first; others are wrong."),
    ] = None,
    unlabeled: Annotated[
        bool, typer.Option("--unlabeled", help="Labels and masks are problems.")
    ] = False,
    processes: Annotated[
        int | None, typer.Option(help="How many decode at once; else one for each core.", min=1)
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object, for scripts.")
    ] = False,
) -> None:
    """Read every image and mask of a manifest and list all that is wrong (then exit code 2).

    Problems: structure, files, masks that do not fit, changed files, a patient or a picture in two
    splits. Warnings, which leave the exit code at 0: pictures of two patients that look alike
    (scaled, compressed, brightened or slightly cropped copies), images of one gray, odd mask
    values, masks that mark nothing or all, classes that a split lacks. While the table itself is at
    fault (cells, paths, splits), none are told: they would be of a part of the images.

    Keys of --json: manifest, problems and warnings (sentences), images, patients, masks, corpora
    and labels (images by name), classes (by name: patients, and images by split, "" where none is
    given), mask_values (by corpus and value: masks that hold it), alike (pairs of rows with the
    same picture of two patients), constant (rows of images of one gray).

    Example: fedefm data check data/angio/manifest.csv --hashes
    """
    from fedefm.data.check import look_over

    found, structure = parse_manifest(manifest)
    with progress_of("checking", quiet=as_json) as progress:
        seen = look_over(
            found,
            hashes,
            classes=_count(classes),
            processes=processes or len(os.sched_getaffinity(0)),
            progress=progress,
        )
    labels = labels_told(found) if unlabeled else ""
    problems = [*structure, *seen.problems, *([labels] if labels else [])]
    problems = list(dict.fromkeys(problems))  # the structure is seen twice
    warnings = [] if structure else list(seen.warnings)
    if as_json:
        told = {"manifest": str(manifest), "problems": problems, "warnings": warnings}
        print_json(told | summary(found.rows) | _json_of(seen))
        raise typer.Exit(2 if problems else 0)
    for warning in warnings[:SHOWN]:
        print(f"warning: {warning}", file=sys.stderr)
    if len(warnings) > SHOWN:
        more = several(len(warnings) - SHOWN, "more warning")
        print(f"warning: and {more}; --json lists all", file=sys.stderr)
    if problems:
        raise DataError(all_problems(f"manifest {manifest}", problems, limit=len(problems)))
    if seen.mask_values:
        for corpus, values in seen.mask_values.items():
            shown = ", ".join(f"{value} in {masks}" for value, masks in values.items())
            print(f"{corpus}: masks with value {shown}")
    warned = f", warnings: {len(warnings)}" if warnings else ""
    without = ", no labels and no masks" if unlabeled else ""
    print(f"manifest {manifest} is in order: {counts(found.rows)}{without}{warned}")


def _count(classes: str | None) -> int | None:
    if classes is None:
        return None
    names = [name.strip() for name in classes.split(",")]
    if not all(names) or len(set(names)) < len(names) or classes.strip().isdecimal():
        raise ConfigError(
            f"--classes {classes!r} must be different names with commas between, the background "
            "first, and not their number"
        )
    return len(names)


def _json_of(seen: "Checked") -> dict[str, Any]:
    return {
        "classes": {
            name: {"patients": len(count.patients), "images": count.images}
            for name, count in seen.classes.items()
        },
        "mask_values": seen.mask_values,
        "alike": [pair.rows() for pair in seen.alike],
        "constant": [position + FIRST_ROW for position in seen.constant],
    }

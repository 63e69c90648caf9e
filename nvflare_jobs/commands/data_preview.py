"""``fedefm data preview``: a manifest at one glance."""

from pathlib import Path
from typing import Annotated

import typer

from fedefm.data.manifest import read_manifest
from nvflare_jobs.commands.data_words import print_json
from nvflare_jobs.commands.progress import progress_of


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(preview)


def preview(
    manifest: Annotated[Path, typer.Argument(help="A manifest CSV.")],
    out: Annotated[Path, typer.Argument(help="The PNG to write.")],
    columns: Annotated[int, typer.Option(help="Images of each class.", min=1, max=40)] = 8,
    corpus: Annotated[str | None, typer.Option(help="Only this corpus.")] = None,
    split: Annotated[str | None, typer.Option(help="Only train, validation or test.")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object, for scripts.")
    ] = False,
) -> None:
    """Draw a contact sheet: some images of each corpus and class, with outlines of their masks.

    The images are of as many patients as fit. Below each stands its row in the manifest.

    Example: fedefm data preview data/angio/manifest.csv angio.png
    """
    from fedefm.data.preview import contact_sheet, save_sheet

    with progress_of("drawing", quiet=as_json) as progress:
        sheet = contact_sheet(read_manifest(manifest), columns, progress, corpus, split)
    save_sheet(sheet, out)
    if as_json:
        print_json({"preview": str(out), "width": sheet.width, "height": sheet.height})
    else:
        print(f"wrote {out} ({sheet.width} x {sheet.height} pixels)")

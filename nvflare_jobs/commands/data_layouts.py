"""``fedefm data layouts`` and ``convert-list``: what ingest knows, and what it needs converted."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from fedefm.words import several
from nvflare_jobs.commands.data_words import print_json

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object, for scripts.")]


def register(app: typer.Typer) -> None:
    """Add both commands to ``app``."""
    app.command()(layouts)
    app.command()(convert_list)


def layouts(as_json: AsJson = False) -> None:
    """List the folder layouts that ingest knows: what each is, where it is had, on which terms.

    What stands here of terms is where to look, not legal advice.

    Example: fedefm data layouts
    """
    from fedefm.data.layouts import LAYOUTS

    if as_json:
        listed = [{"name": name} | asdict(layout.about) for name, layout in LAYOUTS.items()]
        print_json({"layouts": listed})
        return
    for name, layout in LAYOUTS.items():
        about = layout.about
        print(f"{name}: {about.what}")
        for title, text in (("from", about.where), ("terms", about.terms), ("masks", about.masks)):
            if text:
                print(f"    {title:<6}{text}")


def convert_list(
    old: Annotated[Path, typer.Argument(help="A pickled list of (path, label).")],
    new: Annotated[
        Path, typer.Argument(help="The CSV file to make, in the folder that the paths start from.")
    ],
    as_json: AsJson = False,
) -> None:
    """Turn an old pickled list of images and labels into CSV, without executing anything in it.

    Unpickling runs whatever a pickle says. This reads its instructions, follows those that build
    lists, tuples, strings and whole numbers, and refuses all others. The CSV can be ingested.

    Example: fedefm data convert-list silo1.pkl data/med/silo1.csv
    """
    from fedefm.data.pickled_list import read_pickled_list, write_list

    entries = read_pickled_list(old)
    write_list(entries, new)
    labels = len({label for _, label in entries})
    if as_json:
        print_json({"list": str(new), "images": len(entries), "labels": labels})
    else:
        print(f"wrote {new}: {several(len(entries), 'image')}, {several(labels, 'label')}")

"""``fedefm provision fingerprint``: what a hospital tells others, for their site files."""

import json
from pathlib import Path
from typing import Annotated

import typer

from privacy.pins import fingerprint_of


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(fingerprint)


def fingerprint(
    place: Annotated[
        Path, typer.Argument(metavar="KIT|CERT", help="A kit's folder, or a certificate in PEM.")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.")] = False,
) -> None:
    """Print the fingerprint of a certificate, for `peers` in the site files of others.

    Tell it by telephone or in a letter: the server relays all else, and its owner holds the root.

    Example: fedefm provision fingerprint St-Marys
    """
    found = fingerprint_of(place)
    print(json.dumps({"fingerprint": found}) if as_json else found)

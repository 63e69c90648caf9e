"""The command ``export``: a trained model on its way out of the house.

It loads what it works with when it is called: torch loads slowly.
"""

from pathlib import Path
from typing import Annotated

import typer

from fedefm.finetune.result import as_json as json_of
from nvflare_jobs.commands.model_options import AnyModel, AsJson


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(export)


def export(
    checkpoint: AnyModel,
    out: Annotated[Path, typer.Argument(help="The folder to make; new or empty.")],
    program: Annotated[
        bool, typer.Option(help="Also write model.pt2, which needs only PyTorch.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Hand a model on: weights, model card, and a program that runs without this package.

    Example: fedefm export segmenter/model.safetensors handover/
    """
    from fedefm.finetune.export import export as export_model

    names = export_model(checkpoint, out, program)
    print(json_of({"folder": out, "files": names}) if as_json else f"{out}: {', '.join(names)}")

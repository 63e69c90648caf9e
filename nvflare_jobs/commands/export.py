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
    onnx: Annotated[
        bool,
        typer.Option(help="Also write model.onnx and backbone.onnx; needs the extra onnx."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Hand a model on: weights, model card, and programs that run without this package.

    ONNX files are run on images of several kinds and compared with PyTorch before they are kept.
    Of a masked autoencoder the encoder is handed on alone, as backbone.pt2 and backbone.onnx.
    All programs take gray images of the model's size, each standardized to zero mean and unit
    deviation, in batches of any number.

    Example: fedefm export segmenter/model.safetensors handover/ --onnx
    """
    from fedefm.finetune.export import export as export_model

    written = export_model(checkpoint, out, program, onnx)
    differences = {name: value for name, value in written.items() if value is not None}
    if as_json:
        print(json_of({"folder": out, "files": list(written), "onnx_differences": differences}))
        return
    print(f"{out}: {', '.join(written)}")
    for name, value in differences.items():
        print(f"{name} differs from PyTorch by {value:.0e} at most")

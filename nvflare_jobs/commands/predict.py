"""The command ``predict``: masks for images that nobody has marked.

It loads what it works with when it is called: torch loads slowly.
"""

from pathlib import Path
from typing import Annotated

import typer

from fedefm.finetune.result import as_json as json_of
from nvflare_jobs.commands.model_options import AsJson, Device
from nvflare_jobs.commands.progress import progress_of


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(predict)


def predict(
    checkpoint: Annotated[Path, typer.Argument(help="A segmenter, from fedefm finetune.")],
    source: Annotated[Path, typer.Argument(help="A folder of images, an image or a manifest.")],
    out: Annotated[Path, typer.Argument(help="The folder to make; new or empty.")],
    device: Device = "cpu",
    as_json: AsJson = False,
) -> None:
    """Mark catheters and guidewires in images, at the images' own resolution.

    Files that cannot be read are named, and the others are done.

    Example: fedefm predict segmenter/model.safetensors images/ marked/
    """
    from fedefm.finetune.checkpoint import read_trained_segmenter
    from fedefm.finetune.device import find_device
    from fedefm.finetune.predict import predict as predict_images

    segmenter = read_trained_segmenter(checkpoint)
    segmenter.model.to(find_device(device))
    with progress_of("segment files", as_json) as counter:
        summary = predict_images(segmenter, source, out, counter)
    if as_json:
        print(json_of(summary))
        return
    print(f"{summary.images} frames segmented; masks, overlays and index.csv are in {out}")
    for reason in summary.unreadable.values():
        print(f"left out: {reason}")

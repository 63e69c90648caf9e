"""Options that the commands around a trained model share."""

from pathlib import Path
from typing import Annotated

import typer

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object, for scripts.")]
Device = Annotated[str, typer.Option(help="Where to compute, such as cpu or cuda:0.")]
AnyModel = Annotated[Path, typer.Argument(help="A model of any kind: pre-trained or fine-tuned.")]

"""The command ``evaluate``: what a model is worth, over all, by corpus and by site.

It loads what it works with when it is called: torch loads slowly.
"""

from pathlib import Path
from typing import Annotated

import typer

from fedefm.finetune.result import as_json as json_of
from nvflare_jobs.commands.model_options import AnyModel, AsJson, Device
from nvflare_jobs.commands.progress import progress_of


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(evaluate)


def evaluate(
    checkpoint: AnyModel,
    manifests: Annotated[
        list[Path],
        typer.Argument(help="Manifests of images with labels or masks, one a site."),
    ],
    split: Annotated[str, typer.Option(help="train, validation, test or all.")] = "test",
    seed: Annotated[int, typer.Option(help="Draws the bootstrap.")] = 0,
    device: Device = "cpu",
    as_json: AsJson = False,
) -> None:
    """Measure a model on images that it has not seen, with intervals by patient.

    A folder of sites, as `fedefm data split` makes it, stands for the manifests of all its sites.

    Example: fedefm evaluate segmenter/model.safetensors data/manifest.csv

    By site: fedefm evaluate segmenter/model.safetensors sites/
    """
    from nvflare_jobs.commands.scores import evaluated, show, show_groups

    with progress_of("decode images", as_json) as counter:
        found = evaluated(checkpoint, manifests, split, seed, device, counter)
    if as_json:
        print(json_of({"schema": 1, "split": split, **vars(found)}))
        return
    show(found.scores, f"split {split} of {', '.join(map(str, manifests))}")
    show_groups(found.by_corpus, "corpus")
    show_groups(found.by_site, "site")

"""``fedefm privacy probe``: may an epsilon be claimed for this model at all?"""

import json
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("probe", help=probe.__doc__)(probe)


def probe(
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A backbone's name, a model.safetensors, or package.module:callable that builds "
            "a torch module (imported from the current folder, too).",
        ),
    ],
    image_size: Annotated[
        int, typer.Option(help="Pixels a side; a checkpoint knows its own.")
    ] = 64,
    channels: Annotated[int, typer.Option(help="Of the images, for package.module:callable.")] = 1,
    classes: Annotated[int, typer.Option(help="Labels, or values of a mask.", min=2)] = 3,
    masks: Annotated[
        bool, typer.Option("--masks", help="The model gives logits for each pixel.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object, for scripts.")
    ] = False,
) -> None:
    """Check on random images that no sample of a batch moves another's loss or gradient.

    Where one does, as with BatchNorm, clipping bounds nothing: training with differential privacy
    refuses the model, and this command says which module is at fault and what to put in its place.

    Example: fedefm privacy probe vit_micro
    """
    from nvflare_jobs.commands.privacy_candidate import find_candidate, probed  # torch loads slowly

    candidate = find_candidate(model, image_size, classes, masks)
    passed, refusal = probed(candidate, channels)
    if as_json:
        answer = {"model": model, "independent": refusal is None, "passed": passed}
        print(json.dumps(answer | {"refusal": refusal and str(refusal)}))
    else:
        for check in passed:
            print(f"passed: {check}")
        if refusal is None:
            size, kind = candidate.image_size, "pixel" if candidate.masks else "image"
            at = f"{model} at {size} x {size} with one loss per {kind}"
            print(f"{at}: samples do not see each other")
    if refusal is not None:
        raise refusal

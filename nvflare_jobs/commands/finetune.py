"""The command ``finetune``: from a foundation model to a segmenter, a classifier or a diagnosis.

A command loads what it works with when it is called: torch loads slowly.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from fedefm.config import DpConfig, FinetuneConfig, parse
from fedefm.config.names import ScanMode
from fedefm.config.training import OptimizerName
from fedefm.errors import ConfigError
from fedefm.finetune.result import as_json as json_of
from fedefm.report.numbers import epsilon as shown_epsilon
from fedefm.words import several
from nvflare_jobs.commands.finetune_progress import finetune_progress
from nvflare_jobs.commands.model_options import AsJson, Device
from nvflare_jobs.commands.scan_mode_told import scan_mode_told
from nvflare_jobs.commands.site_beside import refuse_where_privacy_is_required

if TYPE_CHECKING:
    from fedefm.finetune.job import Guard
    from fedefm.finetune.start import Start

SCRATCH_BACKBONE, SCRATCH_SIZE = "resnet10", 128
DEVICES = "background,catheter,guidewire"
TaskName = Literal["segmentation", "classification", "diagnosis"]
RATES: dict[OptimizerName, float] = {"sgd": 0.05, "adamw": 0.001}  # where none is given


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command()(finetune)


def finetune(
    out: Annotated[Path, typer.Option("--out", help="The folder to make; new or empty.")],
    manifest: Annotated[
        Path | None, typer.Argument(help="A manifest of images; or use --site.")
    ] = None,
    task: Annotated[
        TaskName,
        typer.Option(
            help="Mark devices (masks), tell labels (several an image), or the one label."
        ),
    ] = "segmentation",
    site: Annotated[
        Path | None, typer.Option(help="The site's file; its policy and its ledger then hold.")
    ] = None,
    dataset: Annotated[str, typer.Option(help="What to train on, as the site file calls it.")] = "",
    foundation: Annotated[
        Path | None, typer.Option("--from", help="The foundation checkpoint to start from.")
    ] = None,
    scratch: Annotated[bool, typer.Option("--scratch", help="Start from random weights.")] = False,
    backbone: Annotated[
        str, typer.Option(help=f"The checkpoint's; from scratch {SCRATCH_BACKBONE}.")
    ] = "",
    image_size: Annotated[
        int, typer.Option(help=f"Pixels a side; the checkpoint's, from scratch {SCRATCH_SIZE}.")
    ] = 0,
    classes: Annotated[
        str,
        typer.Option(
            help=f"Names of the mask values, 0 (the background) first; by default {DEVICES}. "
            "Of classification and diagnosis the labels; by default all in the manifest."
        ),
    ] = "",
    frame_size: Annotated[
        int | None,
        typer.Option(help="Pixels a side that frames keep; tiles of --image-size are learned."),
    ] = None,
    label_fraction: Annotated[
        float, typer.Option(help="Share of the training patients to learn from.")
    ] = 1.0,
    steps: Annotated[int, typer.Option(help="Optimizer steps.")] = 300,
    batch_size: Annotated[int, typer.Option(help="Images a step; not of private training.")] = 8,
    optimizer: Annotated[
        OptimizerName, typer.Option(help="What makes steps of gradients.")
    ] = "sgd",
    learning_rate: Annotated[
        float | None,
        typer.Option(help="The largest; falls to 0. By default 0.05, with adamw 0.001."),
    ] = None,
    schedule: Annotated[
        Literal["poly", "cosine"], typer.Option(help="How the learning rate falls.")
    ] = "poly",
    warmup_steps: Annotated[
        int, typer.Option(help="In which the rate rises first; of cosine.")
    ] = 0,
    weight_decay: Annotated[float, typer.Option(help="Of adamw.")] = 0.0,
    layer_decay: Annotated[
        float, typer.Option(help="Share of the rate that a block leaves to the one before it.")
    ] = 1.0,
    drop_path: Annotated[
        float, typer.Option(help="Chance that an image goes around the last block of a ViT.")
    ] = 0.0,
    train_last: Annotated[
        int | None,
        typer.Option(
            help="Blocks at the backbone's end that learn, besides what is behind it; by default "
            "all. With 0, a probe: the backbone stays as it came."
        ),
    ] = None,
    scan_mode: Annotated[
        ScanMode | None,
        typer.Option(help="Of ultrasound, by the probe; with --site its file says it."),
    ] = None,
    convert: Annotated[
        float, typer.Option(help="Share of training images shown in the other scan mode.")
    ] = 0.0,
    patience: Annotated[
        int | None,
        typer.Option(help="End after so many looks at validation without a better one, of 10."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Draws patients, batches and augmentation.", min=0)] = 1,
    epsilon: Annotated[
        float | None, typer.Option(help="Train privately, within this epsilon; needs --site.")
    ] = None,
    delta: Annotated[float, typer.Option(help="Of --epsilon.")] = 1e-5,
    unit: Annotated[str, typer.Option(help="Whom --epsilon protects: patient or image.")] = (
        "patient"
    ),
    patients_per_step: Annotated[int, typer.Option(help="Drawn for a private step.")] = 32,
    frames_per_patient: Annotated[int, typer.Option(help="Of a drawn patient.")] = 1,
    clip_norm: Annotated[float, typer.Option(help="Of a patient's gradient, L2.")] = 1.0,
    device: Device = "cpu",
    as_json: AsJson = False,
) -> None:
    """Train a segmenter of devices, a classifier of lines, or a diagnosis, on marked images.

    Example: fedefm finetune data/manifest.csv --from run/model.safetensors --out segmenter

    Labels: fedefm finetune ranzcr/manifest.csv --task classification --from run/model.safetensors
    --out classifier

    One label an image: fedefm finetune busi/manifest.csv --task diagnosis
    --from run/model.safetensors --optimizer adamw --weight-decay 0.05 --layer-decay 0.75
    --drop-path 0.1 --schedule cosine --warmup-steps 30 --out diagnosis

    What the foundation knew before: fedefm finetune busi/manifest.csv --task diagnosis
    --from run/model.safetensors --train-last 0 --out probe

    Privately: fedefm finetune --site local/fedefm_site.yaml --dataset segmentation --epsilon 8
    --from run/model.safetensors --out segmenter
    """
    _refuse_two_sources(manifest, site, dataset)
    settings = {
        "steps": steps,
        "batch_size": batch_size,
        "learning_rate": RATES[optimizer] if learning_rate is None else learning_rate,
        "label_fraction": label_fraction,
        "patience": patience,
        "optimizer": optimizer,
        "weight_decay": weight_decay,
        "schedule": schedule,
        "warmup_steps": warmup_steps,
        "layer_decay": layer_decay,
        "drop_path": drop_path,
        "train_last": train_last,
        "scan_mode": scan_mode_told(scan_mode, convert, site, dataset),
        "convert": convert,
    }
    config = parse(settings, FinetuneConfig, "the command line")
    dp = None
    if epsilon is not None:
        wanted = {
            "epsilon": epsilon,
            "delta": delta,
            "unit": unit,
            "patients_per_step": patients_per_step,
            "frames_per_patient": frames_per_patient,
            "clip_norm": clip_norm,
        }
        dp = parse(wanted, DpConfig, "the command line")
    start = _start(foundation, scratch, backbone, image_size)

    from fedefm.finetune.job import FinetuneJob, run_finetuning
    from nvflare_jobs.commands.finetune_task import task_of
    from nvflare_jobs.commands.scores import show, show_groups

    images, guard = _images(manifest, site, dataset, dp, steps)
    what = task_of(task, classes, frame_size, images, private=dp is not None)
    job = FinetuneJob(images, out, start, config, what, seed, device, guard)
    with finetune_progress(as_json) as (decoding, listener):
        report = run_finetuning(job, (listener,), decoding)
    if as_json:
        print(json_of(report))
        return
    result, spent = report.result, report.privacy
    images_of = f"{several(result.train_images, 'image')} of " if spent is None else ""
    whom = several(result.train_patients, spent["unit"] if spent else "patient")
    early = f"stopped after {result.steps} steps and " if result.stopped_early else ""
    last = "" if result.validation or spent else ", the last: there is no validation to choose by"
    print(
        f"trained from {report.trained_from} on {images_of}{whom}; {early}kept the weights of step "
        f"{result.best_step}{last}"
    )
    if spent is not None:
        print(
            f"spent epsilon {shown_epsilon(spent['epsilon'])} at delta {spent['delta']:g} for each "
            f"{spent['unit']}"
        )
    if report.scores is not None:
        show(report.scores, f"the {report.scored_on} split")
        show_groups(report.by_corpus, "corpus")
    examples = " and examples" if (out / "examples").exists() else ""
    print(f"model.safetensors, model_card.md, result.json{examples} are in {out}")


def _start(foundation: Path | None, scratch: bool, backbone: str, image_size: int) -> "Start":
    if (foundation is None) != scratch:
        raise ConfigError("name one start: either --from CHECKPOINT or --scratch")
    from fedefm.finetune.start import Start

    if scratch:
        return Start(None, backbone or SCRATCH_BACKBONE, image_size or SCRATCH_SIZE)
    return Start(foundation, backbone, image_size)


def _refuse_two_sources(manifest: Path | None, site: Path | None, dataset: str) -> None:
    if (manifest is None) == (site is None) or bool(dataset) != (site is not None):
        raise ConfigError("name the images once: either a MANIFEST, or --site with --dataset")


def _images(
    manifest: Path | None, site: Path | None, dataset: str, dp: DpConfig | None, steps: int
) -> "tuple[Path, Guard | None]":
    """The manifest to train on, and what guards it where the training is private."""
    if site is not None:
        from nvflare_jobs.commands.private_finetune import dataset_at, guard_for  # loads slowly

        images = dataset_at(site, dataset, dp)
        return images, None if dp is None else guard_for(site, dataset, dp, steps)
    if manifest is None or dp is not None:
        raise ConfigError("--epsilon needs --site and --dataset: the ledger is the site's")
    refuse_where_privacy_is_required(manifest)
    return manifest, None

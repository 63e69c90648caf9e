"""What a federated foundation model is worth where few patients were annotated. All data synthetic.

Eight domains of the fluoroscopy simulator lie at four sites, two at each, none shared. FedEFM
pre-trains over the ring by telling domains apart; no mask is used. The catheter and guidewire
segmenter is then trained from that model and, with the same steps, rate, batches and augmentation,
from scratch, on 5, 10 and 100 % of the patients' masks. Figures are of patients seen by neither.

``python tests/benchmarks/segmentation.py [--quick] [--json PATH] [--foundation CHECKPOINT]``
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fedefm.config import FinetuneConfig, RunConfig
from fedefm.data.dataset import FrameDataset
from fedefm.data.fluoroscopy import DOMAINS, simulate_frame
from fedefm.finetune.evaluate import evaluate_segmenter
from fedefm.finetune.segment import Segmentation
from fedefm.finetune.start import Start
from fedefm.finetune.training import finetune as finetune_for
from fedefm.model.checkpoint import save_checkpoint
from fedefm.model.weights import load_weights
from fedefm.train.assemble import build_model, build_server, build_site, plan_exchanges
from fedefm.train.federation import Federation
from fedefm.train.measure import pooled_accuracy

CLASSES = ("background", "catheter", "guidewire")
SITES = ("north", "east", "south", "west")
DATA_SEED = 11
SCORES = ("mean_dice", "dice_catheter", "dice_guidewire", "cldice_catheter", "cldice_guidewire")


@dataclass(frozen=True)
class Size:
    """How large the benchmark is; patients are of each domain."""

    image_size: int = 64
    train_patients: int = 20
    validation_patients: int = 3
    test_patients: int = 6
    frames: int = 3
    rounds: int = 60
    steps: int = 300
    seeds: tuple[int, ...] = (0, 1, 2)
    fractions: tuple[float, ...] = (0.05, 0.1, 1.0)
    backbone: str = "resnet_micro"
    learning_rate: float = 0.1


QUICK = Size(
    train_patients=5,
    validation_patients=1,
    test_patients=2,
    frames=2,
    rounds=6,
    steps=60,
    seeds=(0,),
    fractions=(0.1, 1.0),
)
Data = dict[str, FrameDataset]  # split -> frames with masks; labels are domains


@dataclass(frozen=True)
class Job:
    """One fine-tuning run."""

    start: str
    fraction: float
    seed: int


def simulate(size: Size) -> Data:
    """Frames with masks of every split; no patient is in two."""
    counts = {
        "train": size.train_patients,
        "validation": size.validation_patients,
        "test": size.test_patients,
    }
    first = 0
    data = {}
    for split, count in counts.items():
        data[split] = _frames(size, range(first, first + count))
        first += count
    return data


def _frames(size: Size, patients: range) -> FrameDataset:
    images, masks, labels, owners = [], [], [], []
    for label, domain in enumerate(DOMAINS):
        for patient in patients:
            for index in range(patient * size.frames, (patient + 1) * size.frames):
                frame = simulate_frame(domain, DATA_SEED, index, size.image_size, patient)
                images.append(np.rint(frame.image * 255).astype(np.uint8))
                masks.append(frame.mask)
                labels.append(label)
                owners.append(label * 10_000 + patient)
    return FrameDataset(
        torch.from_numpy(np.stack(images))[:, None],
        torch.tensor(labels),
        torch.tensor(owners),
        CLASSES,
        torch.from_numpy(np.stack(masks)),
    )


def pretrain(size: Size, data: Data, seed: int, path: Path) -> dict[str, float]:
    """Train one foundation model over the four sites, without masks, and save it to ``path``."""
    started = time.perf_counter()
    run = _run_config(size, seed)
    plan = plan_exchanges(run, SITES)
    held = {site: _domains_of(data["train"], k) for k, site in enumerate(SITES)}
    sites = {name: build_site(name, images, run, plan) for name, images in held.items()}
    federation = Federation(run, plan, sites, build_server(run, plan))
    federation.train()
    model = build_model(run)
    load_weights(model, federation.publish() or {})
    save_checkpoint(path, model, model.info)
    test = _without_masks(data["test"])
    return {
        "accuracy": pooled_accuracy(model, {"": test}),
        "sent_megabytes": federation.sent_bytes / 1e6,
        "seconds": time.perf_counter() - started,
    }


def _run_config(size: Size, seed: int) -> RunConfig:
    model = {"backbone": size.backbone, "image_size": size.image_size, "classes": tuple(DOMAINS)}
    federation = {"rounds": size.rounds, "local_steps": 5, "host_steps": 5}
    return RunConfig.model_validate(
        {"name": "segmentation", "seed": seed, "model": model, "federation": federation}
    )


def _domains_of(data: FrameDataset, site: int) -> FrameDataset:
    per_site = len(DOMAINS) // len(SITES)
    return _without_masks(data.subset((data.labels // per_site == site).nonzero().flatten()))


def _without_masks(data: FrameDataset) -> FrameDataset:
    return FrameDataset(data.images, data.labels, data.patients, tuple(DOMAINS))


def finetune(job: Job, size: Size, data: Data, checkpoints: dict[int, Path]) -> dict[str, Any]:
    """Train one segmenter and measure it on the test patients."""
    torch.set_num_threads(1)
    started = time.perf_counter()
    start = Start(None, size.backbone, size.image_size)
    if job.start == "foundation":
        start = Start(checkpoints[job.seed])
    task = Segmentation(CLASSES)
    model = task.build(start, job.seed)
    config = FinetuneConfig(
        steps=size.steps,
        batch_size=8,
        learning_rate=size.learning_rate,
        label_fraction=job.fraction,
    )
    result = finetune_for(task, model, data["train"], data["validation"], config, job.seed)
    scores = evaluate_segmenter(model, data["test"])
    found = {"mean_dice": scores.mean_dice.value}
    found |= {f"dice_{name}": interval.value for name, interval in scores.dice.items()}
    found |= {f"cldice_{name}": interval.value for name, interval in scores.cldice.items()}
    used = {"images": result.train_images, "patients": result.train_patients}
    return {**asdict(job), **used, **found, "seconds": time.perf_counter() - started}


def summarize(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """``fraction -> start -> score -> {mean, std}`` over seeds."""
    table: dict[str, Any] = {}
    for fraction in sorted({run["fraction"] for run in runs}):
        for start in ("foundation", "scratch"):
            same = [r for r in runs if (r["fraction"], r["start"]) == (fraction, start)]
            table.setdefault(f"{fraction:g}", {})[start] = {
                score: {
                    "mean": statistics.mean(run[score] for run in same),
                    "std": statistics.stdev(run[score] for run in same) if len(same) > 1 else None,
                }
                for score in SCORES
            }
    return table


def show(table: dict[str, Any]) -> None:
    """The table on the terminal."""
    print(f"{'labels':>7} {'start':>11} " + " ".join(f"{score:>17}" for score in SCORES))
    for fraction, starts in table.items():
        for start, scores in starts.items():
            cells = (
                f"{s['mean']:.3f}" + ("" if s["std"] is None else f" ± {s['std']:.3f}")
                for s in scores.values()
            )
            row = " ".join(f"{cell:>17}" for cell in cells)
            print(f"{float(fraction):>7.0%} {start:>11} {row}")


def main() -> None:
    """Run, print the table, write JSON where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small, within a minute")
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--foundation", type=Path, help="start from this checkpoint instead")
    parser.add_argument("--workers", type=int, default=1, help="processes for fine-tuning")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    started = time.perf_counter()
    size = QUICK if arguments.quick else Size()
    data = simulate(size)
    print(f"synthetic data: { ({k: len(v) for k, v in data.items()}) } frames", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        checkpoints, pretrained = _foundations(size, data, arguments.foundation, Path(folder))
        jobs = [
            Job(start, fraction, seed)
            for seed in size.seeds
            for fraction in size.fractions
            for start in ("foundation", "scratch")
        ]
        work = partial(finetune, size=size, data=data, checkpoints=checkpoints)
        runs = []
        with ProcessPoolExecutor(arguments.workers) as pool:
            for run in pool.map(work, jobs):
                runs.append(run)
                print(
                    {k: round(v, 3) if isinstance(v, float) else v for k, v in run.items()},
                    flush=True,
                )
    table = summarize(runs)
    show(table)
    if arguments.json:
        result = {
            "label": "synthetic",
            "command": "python " + " ".join(sys.argv),
            "fractions": table,
            "pretraining": pretrained,
            "size": asdict(size),
            "runs": runs,
            "seconds": time.perf_counter() - started,
            "versions": {"python": platform.python_version(), "torch": torch.__version__},
            "threads": 1,
            "workers": arguments.workers,
            "cores": os.cpu_count(),
        }
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


def _foundations(
    size: Size, data: Data, given: Path | None, folder: Path
) -> tuple[dict[int, Path], list[dict[str, float]]]:
    """A checkpoint for each seed: the one given, or one pre-trained here."""
    if given is not None:
        return dict.fromkeys(size.seeds, given), []
    paths, facts = {}, []
    for seed in size.seeds:
        paths[seed] = folder / f"foundation-{seed}.safetensors"
        facts.append(pretrain(size, data, seed, paths[seed]))
        print(f"foundation model of seed {seed}: {facts[-1]}", flush=True)
    return paths, facts


if __name__ == "__main__":
    main()

"""What a federated foundation model is worth where few patients were annotated. All data synthetic.

Eight domains of the fluoroscopy simulator lie at four sites, two at each, none shared. FedEFM
pre-trains over the ring by telling domains apart; no mask is used. The catheter and guidewire
segmenter is then trained from that model and, with the same steps, rate, batches and augmentation,
from scratch, on 5, 10 and 100 % of the patients' masks. Figures are of patients seen by neither.

The gain is that of the same images, in the mean over seeds, with an interval by patient. The
decoder is a U-Net on a ResNet and a DPT on a ViT; ``--large`` has both at 256 pixels, pre-trained
at 128.

``python tests/benchmarks/segmentation.py [--quick | --large] [--json PATH]``

Foundation models and finished runs are kept in ``--work``: an interrupted benchmark goes on where
it stopped.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from fedefm.config import FinetuneConfig, RunConfig
from fedefm.data.dataset import FrameDataset
from fedefm.data.fluoroscopy import DOMAINS, simulate_frame
from fedefm.finetune.bootstrap import Interval, by_patient, patient_intervals
from fedefm.finetune.evaluate import evaluate_segmenter
from fedefm.finetune.segment import Segmentation
from fedefm.finetune.start import Start
from fedefm.finetune.training import finetune as finetune_for
from fedefm.model.checkpoint import save_checkpoint
from fedefm.model.weights import load_weights
from fedefm.train.assemble import build_model, build_server, build_site, plan_exchanges
from fedefm.train.federation import Federation
from fedefm.train.measure import ACCURACY

CLASSES = ("background", "catheter", "guidewire")
SITES = ("north", "east", "south", "west")
DATA_SEED = 11
UNSHOWN = ("image_dice", "interval")
SCORES = ("mean_dice", "dice_catheter", "dice_guidewire", "cldice_catheter", "cldice_guidewire")


@dataclass(frozen=True)
class Size:
    """How large the benchmark is; patients are of each domain."""

    image_size: int = 64
    pretraining_size: int = 64  # pixels a side
    train_patients: int = 20
    validation_patients: int = 3
    test_patients: int = 6
    frames: int = 3
    rounds: int = 60
    steps: int = 300
    seeds: tuple[int, ...] = (0, 1, 2)
    fractions: tuple[float, ...] = (0.05, 0.1, 1.0)
    backbones: tuple[str, ...] = ("resnet_micro",)
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
    backbones=("resnet_micro", "vit_micro"),
)
LARGE = Size(
    image_size=256,
    pretraining_size=128,
    rounds=160,
    fractions=(0.1,),
    backbones=("resnet_micro", "vit_micro"),
)
Data = dict[str, FrameDataset]  # split -> frames with masks; labels are domains


@dataclass(frozen=True)
class Job:
    """One fine-tuning run."""

    backbone: str
    start: str
    fraction: float
    seed: int

    @property
    def key(self) -> str:
        return "-".join(str(value) for value in asdict(self).values())


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


def pretrain(
    size: Size, backbone: str, data: Data, seed: int, path: Path
) -> dict[str, float | str]:
    """Train one foundation model over the four sites, without masks, and save it to ``path``."""
    facts = path.with_suffix(".json")
    if facts.exists():
        return dict(json.loads(facts.read_text()))
    torch.set_num_threads(1)
    started = time.process_time()
    run = _run_config(size, backbone, seed)
    plan = plan_exchanges(run, SITES)
    known, test = (_for_pretraining(data[split], size) for split in ("train", "test"))
    held = {site: _domains_of(known, k) for k, site in enumerate(SITES)}
    sites = {name: build_site(name, images, run, plan) for name, images in held.items()}
    federation = Federation(run, plan, sites, build_server(run, plan))
    federation.train()
    model = build_model(run)
    load_weights(model, federation.publish() or {})
    save_checkpoint(path, model, model.info)
    result: dict[str, float | str] = {
        "backbone": backbone,
        "seed": seed,
        "accuracy": ACCURACY.over(model, {"": test}),
        "sent_megabytes": federation.sent_bytes / 1e6,
        "cpu_seconds": time.process_time() - started,
    }
    facts.write_text(json.dumps(result))
    return result


def _run_config(size: Size, backbone: str, seed: int) -> RunConfig:
    pixels = size.pretraining_size
    model = {"backbone": backbone, "image_size": pixels, "classes": tuple(DOMAINS)}
    federation = {"rounds": size.rounds, "local_steps": 5, "host_steps": 5}
    return RunConfig.model_validate(
        {"name": "segmentation", "seed": seed, "model": model, "federation": federation}
    )


def _domains_of(data: FrameDataset, site: int) -> FrameDataset:
    per_site = len(DOMAINS) // len(SITES)
    return data.subset((data.labels // per_site == site).nonzero().flatten())


def _for_pretraining(data: FrameDataset, size: Size) -> FrameDataset:
    """The frames without masks, at the size of pre-training."""
    small = F.adaptive_avg_pool2d(data.images.float(), size.pretraining_size)
    images = small.round().to(torch.uint8)
    return FrameDataset(images, data.labels, data.patients, tuple(DOMAINS))


def finetune(
    job: Job, size: Size, data: Data, checkpoints: dict[tuple[str, int], Path], work: Path
) -> dict[str, Any]:
    """Train one segmenter and measure it on the test patients. Finished runs come from ``work``."""
    kept = work / f"{job.key}.json"
    if kept.exists():
        return dict(json.loads(kept.read_text()))
    torch.set_num_threads(1)
    started = time.process_time()
    start = Start(None, job.backbone, size.image_size)
    if job.start == "foundation":
        start = Start(checkpoints[job.backbone, job.seed], image_size=size.image_size)
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
    found: dict[str, Any] = {"mean_dice": scores.mean_dice.value}
    found |= {f"dice_{name}": interval.value for name, interval in scores.dice.items()}
    for score in ("cldice", "hd95_px", "tip_px"):
        found |= {f"{score}_{name}": v.value for name, v in getattr(scores, score).items()}
    found["interval"] = (scores.mean_dice.low, scores.mean_dice.high)
    found["image_dice"] = scores.image_dice
    used = {"images": result.train_images, "patients": result.train_patients}
    run = {**asdict(job), **used, **found, "cpu_seconds": time.process_time() - started}
    kept.write_text(json.dumps(run))
    return run


def summarize(runs: Sequence[dict[str, Any]], patients: np.ndarray) -> dict[str, Any]:
    """``backbone -> fraction -> start -> score -> {mean, std}`` over seeds, and the ``gain``."""
    table: dict[str, Any] = {}
    cells = sorted({(run["backbone"], run["fraction"]) for run in runs})
    for backbone, fraction in cells:
        row = table.setdefault(backbone, {}).setdefault(f"{fraction:g}", {})
        held = {
            start: [
                r
                for r in runs
                if (r["backbone"], r["fraction"], r["start"]) == (backbone, fraction, start)
            ]
            for start in ("foundation", "scratch")
        }
        for start, same in held.items():
            row[start] = {score: _over_seeds([run[score] for run in same]) for score in SCORES}
        row["gain"] = asdict(_gain(held["foundation"], held["scratch"], patients))
    return table


def _over_seeds(values: list[float]) -> dict[str, float | None]:
    spread = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.mean(values), "std": spread}


def _gain(
    ours: Sequence[dict[str, Any]], scratch: Sequence[dict[str, Any]], patients: np.ndarray
) -> Interval:
    """How much more mean Dice the same images have, by patient."""
    theirs, own = (np.mean([run["image_dice"] for run in runs], axis=0) for runs in (scratch, ours))
    (interval,) = patient_intervals(by_patient((own - theirs)[:, None], patients))
    return interval


def show(table: dict[str, Any]) -> None:
    """The table on the terminal."""
    print(f"{'backbone':>13} {'labels':>7} {'start':>11} " + " ".join(f"{s:>17}" for s in SCORES))
    for backbone, fractions in table.items():
        for fraction, starts in fractions.items():
            for start in ("foundation", "scratch"):
                cells = (
                    f"{s['mean']:.3f}" + ("" if s["std"] is None else f" ± {s['std']:.3f}")
                    for s in starts[start].values()
                )
                row = " ".join(f"{cell:>17}" for cell in cells)
                print(f"{backbone:>13} {float(fraction):>7.0%} {start:>11} {row}")
            print(f"{'gain in mean Dice by patient':>33} {Interval(**starts['gain'])}")


def main() -> None:
    """Run, print the table, write JSON where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    size_of = parser.add_mutually_exclusive_group()
    size_of.add_argument("--quick", action="store_true", help="small, within minutes")
    size_of.add_argument("--large", action="store_true", help="256 pixels; takes hours")
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--foundation", type=Path, help="start from this checkpoint instead")
    parser.add_argument("--work", type=Path, default=Path("build/segmentation"), help="kept runs")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    started = time.perf_counter()
    size = QUICK if arguments.quick else LARGE if arguments.large else Size()
    data = simulate(size)
    print(f"synthetic data: { ({k: len(v) for k, v in data.items()}) } frames", flush=True)
    named = "quick" if arguments.quick else "large" if arguments.large else "small"
    if arguments.foundation is not None:
        named += f"-from-{arguments.foundation.stem}"
    work = arguments.work / named
    work.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(arguments.workers) as pool:
        checkpoints, pretrained = _foundations(size, data, arguments.foundation, work, pool)
        jobs = [
            Job(backbone, start, fraction, seed)
            for seed in size.seeds
            for backbone in size.backbones
            for fraction in size.fractions
            for start in ("foundation", "scratch")
        ]
        tune = partial(finetune, size=size, data=data, checkpoints=checkpoints, work=work)
        runs = []
        for run in pool.map(tune, jobs):
            runs.append(run)
            shown = {k: v for k, v in run.items() if k not in UNSHOWN}
            print(
                {k: round(v, 3) if isinstance(v, float) else v for k, v in shown.items()},
                flush=True,
            )
    table = summarize(runs, data["test"].patients.numpy())
    show(table)
    if arguments.json:
        result = {
            "label": "synthetic",
            "command": "python " + " ".join(sys.argv),
            "backbones": table,
            "pretraining": pretrained,
            "size": asdict(size),
            "runs": [{k: v for k, v in run.items() if k != "image_dice"} for run in runs],
            "seconds": time.perf_counter() - started,
            "versions": {"python": platform.python_version(), "torch": torch.__version__},
            "threads": 1,
            "workers": arguments.workers,
            "cores": os.cpu_count(),
        }
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


def _foundations(
    size: Size, data: Data, given: Path | None, folder: Path, pool: ProcessPoolExecutor
) -> tuple[dict[tuple[str, int], Path], list[dict[str, float | str]]]:
    """A checkpoint for each backbone and seed: the one given, or one pre-trained here."""
    pairs = [(backbone, seed) for backbone in size.backbones for seed in size.seeds]
    if given is not None:
        return dict.fromkeys(pairs, given), []
    paths = {pair: folder / f"{pair[0]}-{pair[1]}.safetensors" for pair in pairs}
    started = {
        pair: pool.submit(pretrain, size, pair[0], data, pair[1], path)
        for pair, path in paths.items()
    }
    facts = []
    for pair in pairs:
        facts.append(started[pair].result())
        print(f"foundation model of seed {pair[1]}: {facts[-1]}", flush=True)
    return paths, facts


if __name__ == "__main__":
    main()

"""The runs of the MedUniverse benchmark: the server's start, the stages, and what either is worth.

Every finished run is kept by its name: what was interrupted goes on where it stopped.
"""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from _meduniverse_data import DOMAINS, SEEN, SIZE, Domain, load_pictures, write_world
from _meduniverse_tasks import task_of

from fedefm.config import FinetuneConfig, RunConfig
from fedefm.data.manifest import read_manifest
from fedefm.events import read_events
from fedefm.finetune.start import Start
from fedefm.finetune.training import finetune
from fedefm.train.run import run_in_process

BACKBONE = "vit_micro"
PROBE, WHOLE = "linear probe", "fine-tuning"
MASKING, STAGES = "masking alone", "after the stages"


@dataclass(frozen=True)
class Settings:
    """How long everything is trained, and how fast."""

    masking_rounds: int = 150  # of 10 steps
    masking_batch: int = 32
    masking_rate: float = 1e-3
    stage_rounds: int = 20
    stage_steps: int = 6
    stage_rate: float = 1e-3
    curation: Mapping[str, Any] = field(
        default_factory=lambda: {"images": 64, "steps": 20, "learning_rate": 0.01}
    )
    steps: Mapping[str, int] = field(default_factory=lambda: {PROBE: 200, WHOLE: 100})
    rates: Mapping[str, float] = field(default_factory=lambda: {PROBE: 0.03, WHOLE: 1e-3})


@dataclass(frozen=True)
class Staged:
    """One way of the stages."""

    seed: int
    eta: float
    curated: bool

    @property
    def key(self) -> str:
        return f"stages-{self.seed}-{self.eta:g}" + ("-curated" if self.curated else "")


@dataclass(frozen=True)
class Use:
    """One fine-tuning from one start."""

    seed: int
    domain: str
    way: str
    start: str

    @property
    def key(self) -> str:
        return "-".join(str(value).replace(" ", "_") for value in asdict(self).values())


@dataclass(frozen=True)
class Bench:
    """Where runs are kept, and how they are made."""

    data: Path
    work: Path
    settings: Settings
    main: tuple[float, bool]  # eta and curation of the encoder that is fine-tuned
    explore: bool = False

    def world(self, seed: int) -> Path:
        """The folders of a division, made where they are not there yet."""
        folder = self.work / f"world-{seed}"
        if not (folder / "whole").exists():
            pictures = load_pictures(self.data, self.work / "pictures.pt")
            write_world(folder, pictures, seed, self.explore)
            (folder / "whole").touch()
        return folder

    def masked(self, seed: int) -> Path:
        """The checkpoint of the server's start."""
        return self.work / f"masking-{seed}" / "model.safetensors"

    def staged(self, seed: int) -> Path:
        """The checkpoint of the encoder after the stages."""
        return self.work / Staged(seed, *self.main).key / "model.safetensors"

    def kept(self, key: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What ``make`` gives, with its CPU time; from the file of an earlier time if there."""
        path = self.work / f"{key}.json"
        if path.exists():
            return dict(json.loads(path.read_text()))
        torch.set_num_threads(1)
        started = time.process_time()
        found = make() | {"cpu_seconds": round(time.process_time() - started, 2)}
        path.write_text(json.dumps(found))
        return found


def pretrain(bench: Bench, seed: int) -> dict[str, Any]:
    """The server trains a masked autoencoder on its pool, and keeps it as the stages' start."""
    world = bench.world(seed)

    def make() -> dict[str, Any]:
        pool = read_manifest(world / "pool" / "public" / "manifest.csv")
        run = RunConfig.model_validate(_masking(bench.settings, seed))
        folder = bench.masked(seed).parent
        run_in_process(run, world / "pool", folder, resume=folder.exists())
        losses = [e["loss"] for e in read_events(folder / "events.jsonl") if e["event"] == "round"]
        return {"seed": seed, "images": len(pool.rows), "loss": losses[-1]}

    found = bench.kept(f"masking-{seed}", make)
    own = {
        "starts": {"masking": str(bench.masked(seed).resolve())},
        "datasets": {"public": "../pool/public/manifest.csv"},
    }
    (world / "sites" / "fedefm_server.yaml").write_text(yaml.safe_dump(own), encoding="utf-8")
    return found


def _masking(settings: Settings, seed: int) -> dict[str, Any]:
    return {
        "name": "masking",
        "seed": seed,
        "dataset": "images",
        "model": {"backbone": BACKBONE, "image_size": SIZE},
        "masking": {"masking": "random", "degrade": False},  # those two are UltraFedFM's
        "training": {
            "batch_size": settings.masking_batch,
            "optimizer": "adamw",
            "weight_decay": 0.05,
            "learning_rate": settings.masking_rate,
            "schedule": "cosine",
            "warmup_rounds": settings.masking_rounds // 10,
            "average_decay": 0,
        },
        "federation": {
            "scenario": "centralized",
            "algorithm": "none",
            "rounds": settings.masking_rounds,
            "local_steps": 10,
        },
    }


def stages(bench: Bench, staged: Staged) -> dict[str, Any]:
    """All stages from the server's start; every task's score after every stage."""
    sites = bench.world(staged.seed) / "sites"

    def make() -> dict[str, Any]:
        run = RunConfig.model_validate(_stages(bench.settings, staged))
        folder = bench.work / staged.key
        run_in_process(run, sites, folder, resume=folder.exists())
        assert run.stagewise is not None
        return asdict(staged) | {"scores": _by_stage(folder, run.stagewise.last_rounds)}

    return bench.kept(staged.key, make)


def _stages(settings: Settings, staged: Staged) -> dict[str, Any]:
    groups = [[d.name for d in SEEN if d.stage == stage] for stage in range(3)]
    curation = {"curation": {"dataset": "public", **settings.curation}} if staged.curated else {}
    return {
        "name": "stages",
        "seed": staged.seed,
        "dataset": "images",
        "model": {"backbone": BACKBONE, "image_size": SIZE, "start": "masking"},
        "stagewise": {
            "stages": [{"sites": g, "rounds": settings.stage_rounds} for g in groups],
            "tasks": {domain.name: domain.task for domain in SEEN},
            "eta": staged.eta,
            **curation,
        },
        "training": {
            "batch_size": 16,
            "optimizer": "adamw",
            "weight_decay": 0.05,
            "learning_rate": settings.stage_rate,
            "augment": "none",
        },
        "federation": {
            "scenario": "client_server",
            "algorithm": "stagewise",
            "rounds": 3 * settings.stage_rounds,
            "local_steps": settings.stage_steps,
            "evaluate_every": 100_000,  # after each stage alone
        },
    }


def _by_stage(folder: Path, ends: tuple[int, ...]) -> dict[str, list[float]]:
    """Each task's score after each stage, on those who are judged."""
    found: dict[str, list[float]] = {domain.name: [] for domain in SEEN}
    for event in read_events(folder / "events.jsonl"):
        here = event["event"] == "evaluated" and event["split"] == "validation"
        if here and event["round"] in ends:
            found[event["site"]].append(event["score"])
    return found


def use(bench: Bench, wanted: Use) -> dict[str, Any]:
    """Fine-tune from one start, and measure on those who are judged."""
    domain = next(each for each in DOMAINS if each.name == wanted.domain)

    def make() -> dict[str, Any]:
        checkpoint = (bench.masked if wanted.start == MASKING else bench.staged)(wanted.seed)
        score = _tuned(bench, domain, wanted, Start(checkpoint))
        return asdict(wanted) | {"score": score}

    return bench.kept(f"use-{wanted.key}", make)


def _tuned(bench: Bench, domain: Domain, wanted: Use, start: Start) -> float:
    manifest = read_manifest(bench.world(wanted.seed) / "judged" / domain.name / "manifest.csv")
    task, probes = task_of(domain, wanted.way == PROBE), wanted.way == PROBE
    train, test = (task.load(manifest, split, SIZE) for split in ("train", "test"))
    model = task.build(start, wanted.seed)
    config = FinetuneConfig(
        steps=bench.settings.steps[wanted.way],
        batch_size=16,
        learning_rate=bench.settings.rates[wanted.way],
        optimizer="adamw",
        weight_decay=0.0 if probes else 0.05,
        train_last=0 if probes else None,
    )
    finetune(task, model, train, None, config, wanted.seed)
    return task.look(task.answers(model, test), test)

"""Pre-training by painting patches: federated, at each site alone, or with all images at once."""

import json
import statistics
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from _mae_data import CHEST, FOLDERS, ULTRASOUND, Images, domain_of, load, site_names

from fedefm.config import MaskingConfig, RunConfig
from fedefm.config.names import PATCHES
from fedefm.data.dataset import FrameDataset
from fedefm.data.masked import MaskedFrames
from fedefm.model.checkpoint import save_checkpoint
from fedefm.model.mae import MaskedAutoencoder
from fedefm.model.weights import Weights, load_weights
from fedefm.train.assemble import build_model, build_server, build_site, merged
from fedefm.train.federation import Federation
from fedefm.train.pretext import EXPLAINED, PaintingPatches
from fedefm.train.workshop import plan_for

BACKBONE = "vit_micro"
FEDAVG = {"scenario": "client_server", "algorithm": "fedavg"}
SCENARIOS = {
    "federated": FEDAVG,
    "local": {"scenario": "local", "algorithm": "none"},
    "centralized": {"scenario": "centralized", "algorithm": "none"},
    "random masks": FEDAVG,
}
ONCE = ("centralized", "random masks")  # at the fewest sites alone
TOGETHER = "all"  # the one place of a centralized run
MASKS = ("texture", "random")
PATCH = PATCHES[BACKBONE]


@dataclass(frozen=True)
class Size:
    """How large the benchmark is. All scenarios take as many steps, on as many images in all."""

    pixels: int = 64
    site_counts: tuple[int, ...] = (4, 16)
    seeds: tuple[int, ...] = (0, 1, 2)
    fractions: tuple[float, ...] = (0.05, 0.2, 1.0)
    rounds: int = 100
    local_steps: int = 10
    images_a_step: int = 32  # of all sites together
    pretraining_rate: float = 1e-3
    steps: int = 200  # of fine-tuning
    rates: tuple[float, ...] = (1e-3, 3e-3)  # of fine-tuning; the best on validation is taken
    tuned_at: float = 0.2  # of the labels
    local_models: int = 2  # of each domain so many sites train alone; none changes another


@dataclass(frozen=True)
class Pretraining:
    """One run before any label is used."""

    scenario: str
    sites: int
    seed: int

    @property
    def key(self) -> str:
        return f"{self.scenario}-{self.sites}-{self.seed}"


def pretrain(job: Pretraining, size: Size, data: Path, work: Path) -> dict[str, Any]:
    """Train, keep what fine-tuning starts from, and measure on test images."""
    facts = work / "pretrained" / f"{job.key}.json"
    if facts.exists():
        return dict(json.loads(facts.read_text()))
    torch.set_num_threads(1)
    started = time.process_time()
    images, run = load(data, work.parent, size.pixels), run_config(job, size)
    models, sent = train(job, run, images, size)
    for name, model in models.items():
        save_checkpoint(checkpoint_of(work, job, name), model, model.info)
    found = {**asdict(job), "sent_megabytes": sent / 1e6, "explained": _worth(models, images)}
    found["cpu_seconds"] = time.process_time() - started
    facts.write_text(json.dumps(found))
    return found


def train(
    job: Pretraining, run: RunConfig, images: Images, size: Size
) -> tuple[dict[str, MaskedAutoencoder], int]:
    """The global model under ``all``, or every site's own; and the bytes that were sent."""
    held: dict[str, FrameDataset] = images.sites(job.sites, job.seed)
    if job.scenario == "centralized":
        held = {TOGETHER: merged(list(held.values()))}
    if job.scenario == "local":
        held = {name: some for name, some in held.items() if name in alone(job.sites, size)}
    frames = painting(run).frames
    plan = plan_for(run, tuple(held))
    sites = {name: build_site(name, frames(some), run, plan) for name, some in held.items()}
    federation = Federation(run, plan, sites, build_server(run, plan))
    federation.train()
    weights = federation.publish()
    if weights is None:
        return {name: _model(run, site.weights()) for name, site in sites.items()}, 0
    return {TOGETHER: _model(run, weights)}, federation.sent_bytes


def painting(run: RunConfig) -> PaintingPatches:
    """What every site of ``run`` learns."""
    if run.masking is None:
        raise ValueError("the run masks nothing")
    return PaintingPatches(run.masking, PATCHES[run.model.backbone])


def run_config(job: Pretraining, size: Size) -> RunConfig:
    """As a run file has it."""
    batch = size.images_a_step // (1 if job.scenario == "centralized" else job.sites)
    return RunConfig.model_validate(
        {
            "name": "ultrafedfm",
            "seed": job.seed,
            "model": {"backbone": BACKBONE, "image_size": size.pixels},
            "masking": {"masking": "random" if job.scenario == "random masks" else "texture"},
            "training": {
                "batch_size": batch,
                "optimizer": "adamw",
                "learning_rate": size.pretraining_rate,
                "weight_decay": 0.05,
                "schedule": "cosine",
                "warmup_rounds": size.rounds // 10,
                "average_decay": 0,
            },
            "federation": {
                **SCENARIOS[job.scenario],
                "rounds": size.rounds,
                "local_steps": size.local_steps,
            },
        }
    )


def _model(run: RunConfig, weights: Weights) -> MaskedAutoencoder:
    model = build_model(run)
    load_weights(model, weights)
    if not isinstance(model, MaskedAutoencoder):
        raise TypeError(f"{type(model).__name__} paints nothing")
    return model


def _worth(models: dict[str, MaskedAutoencoder], images: Images) -> dict[str, float]:
    """Explained variance of each domain's test images, under textured and under random masks.

    Of local models: of those of the domain's sites and, ``elsewhere``, of the other domain's.
    """
    found: dict[str, float] = {}
    for domain in (ULTRASOUND, CHEST):
        for masks in MASKS:
            held = MaskedFrames(
                images.unmarked(domain, "test"), PATCH, MaskingConfig(masking=masks)
            )
            scores = {name: EXPLAINED.over(model, {"": held}) for name, model in models.items()}
            own = [score for name, score in scores.items() if domain_of(name) in ("", domain)]
            others = [s for name, s in scores.items() if domain_of(name) not in ("", domain)]
            found[f"{domain}, {masks}"] = statistics.mean(own)
            if others:
                found[f"{domain}, {masks}, elsewhere"] = statistics.mean(others)
    return found


def checkpoint_of(work: Path, job: Pretraining, name: str) -> Path:
    """Where the model of a site, or that of all, is kept."""
    return work / "pretrained" / f"{job.key}-{name}.safetensors"


def alone(sites: int, size: Size) -> tuple[str, ...]:
    """The sites whose own models are looked at."""
    first = size.local_models
    return tuple(name for domain in FOLDERS for name in site_names(domain, sites)[:first])

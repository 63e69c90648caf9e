"""Fetal heads found by a segmenter that starts from a pre-trained encoder, or from scratch."""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from _mae_data import CLASSES, ULTRASOUND, domain_of, load
from _mae_pretraining import BACKBONE, ONCE, TOGETHER, Pretraining, Size, alone, checkpoint_of

from fedefm.config import FinetuneConfig
from fedefm.finetune.evaluate import evaluate_segmenter
from fedefm.finetune.segment import Segmentation
from fedefm.finetune.start import Start
from fedefm.finetune.training import finetune

SCRATCH = "scratch"


@dataclass(frozen=True)
class Tuning:
    """One fine-tuning run; of ``local`` from the model of ``site``."""

    scenario: str  # or scratch
    sites: int
    site: str
    fraction: float
    seed: int
    rate: float

    @property
    def key(self) -> str:
        return "-".join(str(value) for value in asdict(self).values() if value != "")


def tune(job: Tuning, size: Size, data: Path, work: Path) -> dict[str, Any]:
    """Fine-tune, and measure on test patients. Finished runs come from ``work``."""
    kept = work / "tuned" / f"{job.key}.json"
    if kept.exists():
        return dict(json.loads(kept.read_text()))
    torch.set_num_threads(1)
    started = time.process_time()
    images, task = load(data, work.parent, size.pixels), Segmentation(CLASSES)
    start = Start(None, BACKBONE, size.pixels)
    if job.scenario != SCRATCH:
        before = Pretraining(job.scenario, job.sites, job.seed)
        start = Start(checkpoint_of(work, before, job.site or TOGETHER))
    model = task.build(start, job.seed)
    config = FinetuneConfig(
        steps=size.steps,
        learning_rate=job.rate,
        label_fraction=job.fraction,
        optimizer="adamw",
        weight_decay=0.05,
        schedule="cosine",
        warmup_steps=size.steps // 10,
    )
    train_frames, validation, test = (
        images.frames[ULTRASOUND, split] for split in ("train", "validation", "test")
    )
    result = finetune(task, model, train_frames, validation, config, job.seed)
    scores = evaluate_segmenter(model, test)
    run = asdict(job) | {
        "dice": scores.mean_dice.value,
        "validation": task.look(task.answers(model, validation), validation),
        "patients": result.train_patients,
        "image_dice": scores.image_dice,
        "cpu_seconds": time.process_time() - started,
    }
    kept.write_text(json.dumps(run))
    return run


def starts(size: Size) -> list[tuple[str, int, str]]:
    """Scenario, sites and, where it is a site's own, the site of every model that is tuned."""
    few = size.site_counts[0]
    found = [(scenario, few, "") for scenario in (SCRATCH, *ONCE)]
    for count in size.site_counts:
        own = [site for site in alone(count, size) if domain_of(site) == ULTRASOUND]
        found += [("federated", count, ""), *(("local", count, site) for site in own)]
    return found

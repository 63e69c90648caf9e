"""One training run of the privacy benchmark: the main job, private or not, from scratch or not."""

import json
import statistics
import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import yaml
from _corpora_task import SIZE, Task, load_task
from _fluoroscopy_task import load_fluoroscopy
from torch import Tensor

from fedefm.config import RunConfig
from fedefm.data.dataset import FrameDataset
from fedefm.model.foundation import FoundationModel, build_foundation
from fedefm.model.weights import load_weights, weights_of
from fedefm.seeding import generator_for
from fedefm.train.assemble import Plan, build_model, build_site, plan_exchanges
from fedefm.train.effort import efforts
from fedefm.train.federation import Federation
from fedefm.train.measure import ACCURACY
from fedefm.train.objective import classification
from fedefm.train.optimization import momentum_sgd
from fedefm.train.server import Server
from fedefm.train.site import Site
from fedefm.train.trainer import PlainTrainer
from nvflare_jobs.protect import ByLedger

SITES = 4
DOMAINS_A_SITE = 2
LAST = ("conv4", "norm4")  # of the backbone: what is trained after a public start
PUBLIC_STEPS = 1500
REAL_FRAMES = 4  # crops that a patient of the real corpora gives to a step


@dataclass(frozen=True)
class Job:
    """One training run; ``epsilon`` None is without privacy, ``patients`` are those of a site."""

    start: str  # scratch, or public: the backbone knows public images, its last block is trained,
    # or real: from scratch on the public corpora themselves, all their patients
    patients: int
    epsilon: float | None
    seed: int
    rate: float
    batch: int  # patients a step, in the mean where private
    clip: float  # of a patient's gradient; without privacy of a step's, which protects nobody
    rounds: int

    @property
    def key(self) -> str:
        return "-".join(str(value) for value in asdict(self).values())

    @property
    def delta(self) -> float:
        """A tenth of one over the patients of a site."""
        return 1 / (10 * self.patients)


def run_job(job: Job, data: Path, work: Path, thin: int = 1) -> dict[str, Any]:
    """Train once; accuracies and what was spent. Finished runs come from ``work``."""
    path = work / "runs" / f"{job.key}.json"
    if path.exists():
        return dict(json.loads(path.read_text()))
    torch.set_num_threads(1)
    started = time.process_time()
    task = real_task(data, work) if job.start == "real" else _simulated_task(job, work, thin)
    with tempfile.TemporaryDirectory() as folder:
        result = _train(job, task, data, work, Path(folder))
    result |= {"job": asdict(job), "cpu_seconds": round(time.process_time() - started, 1)}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(result))
    return result


def _simulated_task(job: Job, work: Path, thin: int) -> Task:
    return load_fluoroscopy(job.patients // DOMAINS_A_SITE, work / "images", thin)


def real_task(data: Path, work: Path) -> Task:
    """The real ones of the learning benchmark's corpora, with all the patients that they have."""
    whole = load_task(data, work / "corpora.pt")
    kept = [k for k, name in enumerate(whole.classes) if not name.startswith("sim-")]
    classes = tuple(whole.classes[k] for k in kept)
    numbers = torch.full((len(whole.classes),), -1)
    numbers[kept] = torch.arange(len(kept))
    datasets = {}
    for split, images in whole.datasets.items():
        mine = images.subset((numbers[images.labels] >= 0).nonzero().flatten())
        labels = numbers[mine.labels]
        datasets[split] = FrameDataset(mine.images, labels, mine.patients, classes)
    rows = tuple(row for row in whole.rows if row.corpus in classes)
    return Task(classes, datasets, rows)


def _train(job: Job, task: Task, data: Path, work: Path, folder: Path) -> dict[str, Any]:
    run, held = _run_config(job, task), task.sites(SITES, 1.0, job.seed)
    plan = plan_exchanges(run, tuple(held))
    public = _public_backbone(data, work) if job.start == "public" else None
    sites = {
        name: replace(_site(name, images, run, plan, folder, job.delta), model=_model(run, public))
        for name, images in held.items()
    }
    server = Server(
        plan.sites,
        plan.asked,
        weights_of(_model(run, public)),
        run.training.average_decay,
        run.federation.rounds,
    )
    federation = Federation(run, plan, sites, server)
    federation.train()
    weights = federation.publish()
    told = {name: site.release.result() for name, site in sites.items()}
    for site in sites.values():
        site.release.close()
    return {
        "test": _accuracy(weights, run, task, "test", public),
        "validation": _accuracy(weights, run, task, "validation", public),
        "local": statistics.mean(
            ACCURACY.over(site.model, {"": task.datasets["test"]}) for site in sites.values()
        ),
        "privacy": told if run.privacy.dp else None,
    }


def _site(
    name: str, images: FrameDataset, run: RunConfig, plan: Plan, folder: Path, delta: float
) -> Site:
    """As ``fedefm run`` builds it: from the hospital's own file, with its own ledger."""
    if run.privacy.dp is None:
        return build_site(name, images, run, plan)
    labels = [label for label, here in zip(images.classes, images.present, strict=True) if here]
    entry = {
        "manifest": "manifest.csv",
        "patients": len(images.patients.unique()),
        "labels": labels,
    }
    site_file = folder / name / "fedefm_site.yaml"
    site_file.parent.mkdir()
    site_file.write_text(
        yaml.safe_dump(
            {
                "datasets": {run.dataset: entry},
                "policy": {
                    "require_dp": True,
                    "delta": delta,
                    "epsilon_cap": run.privacy.dp.epsilon,
                },
                "ledger": "ledger.sqlite",
            }
        )
    )
    planned = efforts(run, plan.schedule, name)
    protection = ByLedger()(name, site_file, run, planned, f"run-{run.seed}", images)
    return build_site(name, images, run, plan, protection)


def _model(run: RunConfig, public: Mapping[str, Tensor] | None) -> FoundationModel:
    """The run's model; over ``public`` weights, nothing can be trained but the last block."""
    model = build_model(run)
    if public is not None:
        model.backbone.load_state_dict(dict(public))
        for name, parameter in model.backbone.named_parameters():
            parameter.requires_grad_(name.startswith(LAST))
    return model


def _public_backbone(data: Path, work: Path) -> dict[str, Tensor]:
    """The same network after learning to tell the public corpora apart; trained once."""
    path = work / "public.pt"
    if not path.exists():
        task = load_task(data, work / "corpora.pt")
        real = [k for k, name in enumerate(task.classes) if not name.startswith("sim-")]
        train = task.datasets["train"]
        images = train.subset(torch.isin(train.labels, torch.tensor(real)).nonzero().flatten())
        model = build_foundation("resnet_micro", task.classes, SIZE, "frozen", seed=0)
        objective = classification(images.present, 0.0)
        trainer = PlainTrainer(images, 32, momentum_sgd(0.9))
        rng = generator_for(0, "public", 0, "train")
        for rate in (0.03, 0.01):
            trainer.fit(model, objective, PUBLIC_STEPS // 2, rate, rng)
        torch.save(model.backbone.state_dict(), path)
    return dict(torch.load(path))


def _run_config(job: Job, task: Task) -> RunConfig:
    dp = {
        "epsilon": job.epsilon,
        "delta": job.delta,
        "patients_per_step": job.batch,
        "clip_norm": job.clip,
        "frames_per_patient": REAL_FRAMES if job.start == "real" else 1,
        "gradients": "bookkeeping",
    }
    return RunConfig.model_validate(
        {
            "name": "private-learning",
            "seed": job.seed,
            "model": {"backbone": "resnet_micro", "image_size": SIZE, "classes": task.classes},
            "training": {
                "batch_size": job.batch,
                "learning_rate": job.rate,
                "gradient_norm": job.clip,
                "augment": "none",  # the frames are crops already
            },
            "federation": {"rounds": job.rounds, "topology": "ring", "schedule": "matchings"},
            "privacy": {} if job.epsilon is None else {"dp": dp},
        }
    )


def _accuracy(
    weights: Any, run: RunConfig, task: Task, split: str, public: Mapping[str, Tensor] | None
) -> float:
    model = _model(run, public)
    load_weights(model, weights)
    return ACCURACY.over(model, {"": task.datasets[split]})

"""The rows of the learning benchmark, and one training run of any of them."""

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from _corpora_task import SIZE, Task, load_task

from fedefm.config import FederationConfig, RunConfig
from fedefm.data.dataset import FrameDataset
from fedefm.model.weights import load_weights
from fedefm.train.assemble import build_model, build_server, build_site, merged, plan_exchanges
from fedefm.train.federation import Federation
from fedefm.train.measure import ACCURACY

LOCAL_STEPS = 5
CURVE_POINTS = 8


@dataclass(frozen=True)
class Method:
    """One row of the table. ``transfers`` is what a site sends in a round on average."""

    name: str
    federation: dict[str, Any]
    transfers: float
    distill: dict[str, Any]
    phases: float = 1.0  # of training at a site in a round, hosted ones included

    def rounds(self, transfers: int) -> int:
        """How many rounds ``transfers`` pay for; as many as gossip's where nothing is sent."""
        return round(transfers / (self.transfers or 1))


def methods(sites: int) -> dict[str, Method]:
    """All rows. The graph: a ring, walked edge by edge (4 sites) or replaced by a hypercube (8).

    ``centralized`` takes as many optimizer steps as FedEFM's sites at equal bytes, hosted steps
    included; ``centralized_same_rounds`` takes ``local_steps`` in each of FedEFM's rounds.
    """
    pairs = {"schedule": "matchings" if sites == 4 else "hypercube"}
    expert_every = FederationConfig().expert_every
    swap = {"update": "swap", **pairs}
    ring = {"schedule": "neighbors"}
    part = 1 + 1 / expert_every
    taught = {"beta": 0.2}
    rows = [
        Method("centralized", {"scenario": "local", "algorithm": "none"}, 0, {}),
        Method("centralized_same_rounds", {"scenario": "local", "algorithm": "none"}, part, {}),
        Method("local", {"scenario": "local", "algorithm": "none"}, 0, {}),
        Method("fedavg", {"scenario": "client_server", "algorithm": "fedavg"}, 2, {}),
        Method("gossip", {"algorithm": "gossip", **pairs}, 1, {}),
        Method("gossip_ring", {"algorithm": "gossip", **ring}, 2, {}),
        Method("fedefm_literal", {"update": "literal", **ring}, 4, {"beta": 0.5}, 3),
        Method("fedefm_mixed", {"update": "mixed", **ring}, 4, {}, 3),
        Method("fedefm_mixed_uniform", {"update": "mixed", **ring}, 4, {"weights": "uniform"}, 3),
        Method("fedefm", swap, part, {}, part),
        Method("fedefm_uniform", swap, part, {"weights": "uniform"}, part),
        Method("fedefm_taught", swap, part, taught, part),
        Method("fedefm_taught_uniform", swap, part, {**taught, "weights": "uniform"}, part),
    ]
    return {row.name: row for row in rows}


@dataclass(frozen=True)
class Job:
    """One training run."""

    method: str
    sites: int
    seed: int
    rate: float
    rounds: int
    unseen: float = 1.0

    @property
    def key(self) -> str:
        return "-".join(str(value) for value in asdict(self).values())


Rows = Callable[[int], dict[str, Method]]


def run_job(job: Job, data: Path, work: Path, rows: Rows = methods) -> dict[str, Any]:
    """Train once; accuracies, bytes and curve. Finished runs come from ``work``.

    ``rows`` says what the names of methods mean, for so many sites.
    """
    path = work / f"{job.key}.json"
    if path.exists():
        return dict(json.loads(path.read_text()))
    torch.set_num_threads(1)
    task = load_task(data, work / "task.pt")
    started = time.process_time()
    sites = task.sites(job.sites, job.unseen, job.seed)
    if job.method.startswith("centralized"):
        result = _centralized(job, task, sites)
    else:
        result = _federated(job, rows(job.sites)[job.method], task, sites)
    result |= {"job": asdict(job), "cpu_seconds": time.process_time() - started}
    path.write_text(json.dumps(result))
    return result


def _federated(
    job: Job, method: Method, task: Task, data: dict[str, FrameDataset]
) -> dict[str, Any]:
    run = _run_config(job, task, method.federation, method.distill, batch_size=16)
    plan = plan_exchanges(run, tuple(data))
    sites = {name: build_site(name, images, run, plan) for name, images in data.items()}
    federation = Federation(run, plan, sites, build_server(run, plan))
    curve = []
    for round_index in range(job.rounds):
        federation.play_round(round_index)
        if _is_point(round_index, job.rounds) and federation.global_model():
            curve.append([round_index + 1, _accuracy(federation.global_model(), run, task, "test")])
    traffic = federation.sent_bytes
    weights = federation.publish()
    local = statistics.mean(
        ACCURACY.over(site.model, {"": task.datasets["test"]}) for site in sites.values()
    )
    if weights is None:  # local only: there is no global model
        validation = statistics.mean(
            ACCURACY.over(site.model, {"": task.datasets["validation"]}) for site in sites.values()
        )
        return {"test": local, "validation": validation, "local": local, "bytes": 0, "curve": []}
    return {
        "test": _accuracy(weights, run, task, "test"),
        "validation": _accuracy(weights, run, task, "validation"),
        "local": local,
        "bytes": traffic,
        "curve": curve,
    }


def _centralized(job: Job, task: Task, data: dict[str, FrameDataset]) -> dict[str, Any]:
    """All images in one place, the same number of steps, the batches of all sites together."""
    federation = methods(job.sites)["centralized"].federation
    run = _run_config(job, task, federation, {}, batch_size=16 * job.sites)
    plan = plan_exchanges(run, ("all",))
    site = build_site("all", merged(list(data.values())), run, plan)
    federation = Federation(run, plan, {"all": site}, build_server(run, plan))
    curve = []
    for round_index in range(job.rounds):
        federation.play_round(round_index)
        if _is_point(round_index, job.rounds):
            curve.append([round_index + 1, _accuracy(site.average, run, task, "test")])
    return {
        "test": _accuracy(site.average, run, task, "test"),
        "validation": _accuracy(site.average, run, task, "validation"),
        "local": None,
        "bytes": 0,
        "curve": curve,
    }


def _run_config(
    job: Job, task: Task, federation: dict[str, Any], distill: dict[str, Any], batch_size: int
) -> RunConfig:
    return RunConfig.model_validate(
        {
            "name": "learning",
            "seed": job.seed,
            "model": {"backbone": "resnet_micro", "image_size": SIZE, "classes": task.classes},
            "training": {"batch_size": batch_size, "learning_rate": job.rate},
            "federation": {
                "rounds": job.rounds,
                "local_steps": LOCAL_STEPS,
                "host_steps": LOCAL_STEPS,
                "topology": "ring",
                **federation,
            },
            "distill": distill,
        }
    )


def _accuracy(weights: Any, run: RunConfig, task: Task, split: str) -> float:
    model = build_model(run)
    load_weights(model, weights)
    return ACCURACY.over(model, {"": task.datasets[split]})


def _is_point(round_index: int, rounds: int) -> bool:
    return (round_index + 1) % max(1, rounds // CURVE_POINTS) == 0

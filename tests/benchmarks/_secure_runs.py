"""One training run of the secure sums' learning benchmark, with what fell silent on the way."""

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from _corpora_task import SIZE, Task, load_task

from fedefm.config import RunConfig
from fedefm.data.dataset import FrameDataset
from fedefm.events import EventLog
from fedefm.model.weights import Weights, load_weights
from fedefm.train.assemble import build_model, build_server, build_site, plan_exchanges
from fedefm.train.exchange import SERVER
from fedefm.train.federation import Federation, Hidden
from fedefm.train.measure import ACCURACY
from fedefm.train.message import Header
from fedefm.train.simulate import Faults
from nvflare_jobs.secure import BySecureSums

SITES = 9
METHODS = {
    "fedavg": {"scenario": "client_server", "algorithm": "fedavg"},
    "fedefm": {"schedule": "grid", "cohort": 3},
}
SUMS = ("plain", "secure")
NUDGED = "nudged"  # plain sums, and a first model that is off by as much as one rounding
EVERY = 5  # rounds; in one of so many somebody falls silent
IN_ROUND = {"fedavg": 4, "fedefm": 2}  # of FedEFM's five the last exchanges experts, and no sum
PHASES = ("masked", "consent", "unmask")


@dataclass(frozen=True)
class Job:
    """``silent`` sites fall silent in every fifth round, by turns, in the middle of its sum.

    ``before``: their parts are lost; else they have given their parts, and are silent afterwards.
    """

    method: str
    sums: str
    silent: int
    before: bool
    seed: int
    rounds: int

    @property
    def key(self) -> str:
        return "-".join(str(value) for value in asdict(self).values())

    def gone(self, sites: tuple[str, ...], round_index: int) -> frozenset[str]:
        """Who falls silent in this round."""
        turn, rest = divmod(round_index, EVERY)
        if rest != IN_ROUND[self.method] or not self.silent:
            return frozenset()
        return frozenset(sites[(turn + 4 * k) % len(sites)] for k in range(self.silent))

    def faults(self, sites: tuple[str, ...]) -> Faults:
        """Under secure sums one of the later phases, under plain ones the part itself."""
        phases = PHASES if self.before else PHASES[1:]
        lost = {f"sum/{phase}" for phase in phases} | ({"sum"} if self.before else set())

        def lose(header: Header) -> bool:
            in_a_round = header.round < self.rounds and header.phase in lost
            return in_a_round and header.sender in self.gone(sites, header.round)

        return Faults(lose=lose)


def run_job(job: Job, data: Path, work: Path) -> dict[str, Any]:
    """Train once; accuracy, bytes, troubles. The model is kept beside the figures in ``work``."""
    path = work / f"{job.key}.json"
    if path.exists():
        return dict(json.loads(path.read_text()))
    torch.set_num_threads(1)
    task = load_task(data, work / "task.pt")
    started, told = time.process_time(), list[dict[str, Any]]()
    held = task.sites(SITES, 1.0, job.seed)
    run = _run_config(job, task, held)
    federation = _federation(job, run, held, EventLog(listeners=(told.append,)))
    if job.sums == NUDGED:
        _nudge(federation, job.seed)
    federation.train()
    weights = federation.publish()
    assert weights is not None
    torch.save(weights, model_of(job, work))
    result = {
        "accuracy": _accuracy(weights, run, task),
        "bytes": federation.sent_bytes,
        "largest_weight": max(float(value.abs().max()) for value in weights.values()),
        "troubles": sum(event["event"] == "rejected" for event in told),
        "rounds_without_somebody": sum(
            bool(e["missing"]) for e in told if e["event"] == "round_finished"
        ),
        "job": asdict(job),
        "cpu_seconds": round(time.process_time() - started, 1),
    }
    path.write_text(json.dumps(result))
    return result


def model_of(job: Job, work: Path) -> Path:
    """Where the global model of a finished run lies."""
    return work / f"{job.key}.pt"


def _federation(
    job: Job, run: RunConfig, held: dict[str, FrameDataset], log: EventLog
) -> Federation:
    """As ``fedefm run`` builds it, but for run folder, site files and their memories on disk."""
    plan, names = plan_exchanges(run, tuple(held)), tuple(held)
    hidden: dict[str, Hidden] = {}
    if job.sums == "secure":
        hide = BySecureSums(None)
        for party in (*names, SERVER):
            troubles: list[str] = []
            secrecy = hide(party, None, run, names, f"run-{job.key}", troubles.append)
            hidden[party] = Hidden(secrecy, troubles)
    secrecy_of = {party: one.secrecy for party, one in hidden.items()}
    sites = {
        name: build_site(name, images, run, plan, secrecy=secrecy_of.get(name))
        for name, images in held.items()
    }
    server = build_server(run, plan, secrecy=secrecy_of.get(SERVER))
    return Federation(run, plan, sites, server, log, job.faults(names), hidden=hidden)


def _nudge(federation: Federation, seed: int) -> None:
    """Move each weight that training begins with by up to half a quantum, the same at all sites."""
    half, rng = 2.0**-21, torch.Generator().manual_seed(seed)
    moved = {
        name: value + half * (2 * torch.rand(value.shape, generator=rng) - 1)
        for name, value in federation.server.weights.items()
    }
    for party in (federation.server, *federation.sites.values()):
        party.load(moved)


def _run_config(job: Job, task: Task, held: dict[str, FrameDataset]) -> RunConfig:
    largest = max(len(images) for images in held.values())
    secagg = {"secagg": {"largest_site": largest}} if job.sums == "secure" else {}
    return RunConfig.model_validate(
        {
            "name": "secure-learning",
            "seed": job.seed,
            "model": {"backbone": "resnet_micro", "image_size": SIZE, "classes": task.classes},
            "training": {"batch_size": 16, "learning_rate": 0.03},
            "federation": {
                "rounds": job.rounds,
                "evaluate_every": job.rounds,
                "topology": "ring",
                **METHODS[job.method],
            },
            "privacy": secagg,
        }
    )


def _accuracy(weights: Weights, run: RunConfig, task: Task) -> float:
    model = build_model(run)
    load_weights(model, weights)
    return ACCURACY.over(model, {"": task.datasets["test"]})

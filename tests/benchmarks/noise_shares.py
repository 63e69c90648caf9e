"""What sites gain by making their noise together: accuracy at the same epsilon, with 8 hospitals.

    python tests/benchmarks/noise_shares.py [--quick] [--json PATH]

FedAvg of single steps without momentum on simulated fluoroscopy (``_fluoroscopy_task``): each of
eight sites has 200 patients, of all eight kinds alike, one 32 px frame each; 32 patients a step in
the mean, 120 steps, clip norm 1, everything trained from scratch. All arms have the same ledger,
sampling and noise multiplier, hence the same epsilon at each site:

- ``own``: each site adds all of its noise, as a private run does by default;
- ``shared``: each adds a seventh of its variance inside a secure sum (``noise_shares.honest`` 7 of
  8 sites, 1 colluder);
- ``none``: the same run without noise or clipping of single patients, at no epsilon at all.

The learning rate is the best of five on the validation images of the first seed, for each arm and
epsilon by itself; that tuning is not private and not paid for here. Every finished run is kept in
``--work``. Noise and draws come from the operating system, so that figures differ between
executions.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
import yaml

sys.path.insert(0, str(Path(__file__).parent))
from _corpora_task import SIZE, Task
from _fluoroscopy_task import CLASSES, load_fluoroscopy

from fedefm.config import DpConfig, RunConfig
from fedefm.data.dataset import FrameDataset
from fedefm.model.weights import load_weights
from fedefm.train.assemble import build_model, build_server, build_site, plan_exchanges
from fedefm.train.effort import efforts
from fedefm.train.exchange import SERVER
from fedefm.train.federation import Federation
from fedefm.train.measure import ACCURACY
from fedefm.train.secrecy import Secrecy
from nvflare_jobs.protect import ByLedger
from nvflare_jobs.secure import BySecureSums
from privacy.calibrate import noise_for, sampling_for

SITES, HONEST, PATIENTS, BATCH = 8, 7, 200, 32
DELTA = 1 / (10 * PATIENTS)
RATES = (0.03, 0.1, 0.3, 1.0, 3.0)


@dataclass(frozen=True)
class Job:
    """One training run; ``epsilon`` None is without privacy."""

    arm: str
    epsilon: float | None
    rate: float
    seed: int
    rounds: int

    @property
    def key(self) -> str:
        return "-".join(str(value) for value in asdict(self).values())


def run_job(job: Job, work: Path) -> dict[str, Any]:
    """Train once; finished runs come from ``work``."""
    path = work / "runs" / f"{job.key}.json"
    if not path.exists():
        torch.set_num_threads(1)
        started = time.process_time()
        task = load_fluoroscopy(PATIENTS, work / "images")
        with tempfile.TemporaryDirectory() as folder:
            found = _train(job, task, Path(folder))
        seconds = round(time.process_time() - started, 1)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(job) | found | {"cpu_seconds": seconds}))
    return dict(json.loads(path.read_text()))


def _train(job: Job, task: Task, folder: Path) -> dict[str, Any]:
    run, held = _run_config(job), _alike(task, job.seed)
    plan = plan_exchanges(run, tuple(held))
    hide, secret = BySecureSums(None), dict[str, Secrecy]()
    for party in (*held, SERVER) if job.arm == "shared" else ():
        file = None if party == SERVER else _site_file(folder, party)
        secret[party] = hide(party, file, run, plan.sites, "run", print)
    sites = {}
    for name, images in held.items():
        guard = None
        if job.epsilon is not None:
            planned = efforts(run, plan.schedule, name)
            guard = ByLedger()(name, _site_file(folder, name), run, planned, "run", images)
        sites[name] = build_site(name, images, run, plan, guard, secrecy=secret.get(name))
    server = build_server(run, plan, secrecy=secret.get(SERVER))
    Federation(run, plan, sites, server).train()
    told = [site.release.result() for site in sites.values()]
    for site in sites.values():
        site.release.close()
    splits = ("validation", "test")
    accuracies = {split: _accuracy(server.average, run, task, split) for split in splits}
    return accuracies | {"privacy": told[0]}


def _alike(task: Task, seed: int) -> dict[str, FrameDataset]:
    """Every site has the same number of patients of every kind, others with every seed."""
    images, rng = task.datasets["train"], torch.Generator().manual_seed(seed)
    rows: list[list[torch.Tensor]] = [[] for _ in range(SITES)]
    for label in range(len(CLASSES)):
        mine = (images.labels == label).nonzero().flatten()
        parts = mine[torch.randperm(len(mine), generator=rng)].tensor_split(SITES)
        for site, part in zip(rows, parts, strict=True):
            site.append(part)
    return {f"site-{k + 1}": images.subset(torch.cat(part)) for k, part in enumerate(rows)}


def _site_file(folder: Path, name: str) -> Path:
    path = folder / name / "fedefm_site.yaml"
    if not path.exists():
        path.parent.mkdir()
        entry = {"manifest": "manifest.csv", "patients": PATIENTS, "labels": list(CLASSES)}
        policy = {"require_dp": True, "delta": DELTA, "noise_shares": True}
        settings = {"datasets": {"pretraining": entry}, "policy": policy, "ledger": "ledger.sqlite"}
        path.write_text(yaml.safe_dump(settings))
    return path


def _run_config(job: Job) -> RunConfig:
    privacy: dict[str, Any] = {}
    if job.epsilon is not None:
        privacy["dp"] = {
            "noise_multiplier": _noise(job.epsilon, job.rounds),
            "delta": DELTA,
            "patients_per_step": BATCH,
            "gradients": "bookkeeping",
        }
    if job.arm == "shared":
        privacy["secagg"] = {"noise_shares": {"honest": HONEST}, "colluders": SITES - HONEST}
    training = {"batch_size": BATCH, "learning_rate": job.rate, "momentum": 0.0, "augment": "none"}
    federation = {
        "scenario": "client_server",
        "algorithm": "fedavg",
        "local_steps": 1,
        "rounds": job.rounds,
        "evaluate_every": job.rounds,
    }
    return RunConfig.model_validate(
        {
            "name": "noise-shares",
            "seed": job.seed,
            "model": {"backbone": "resnet_micro", "image_size": SIZE, "classes": CLASSES},
            "training": training | {"average_decay": 0.9},
            "federation": federation,
            "privacy": privacy,
        }
    )


def _noise(epsilon: float, steps: int) -> float:
    sampling = sampling_for(DpConfig(epsilon=epsilon, patients_per_step=BATCH), PATIENTS)
    where = ("add_or_remove_one", sampling.rate, sampling.units, sampling.cap)
    return noise_for(epsilon, DELTA, *where, steps)


def _accuracy(weights: Any, run: RunConfig, task: Task, split: str) -> float:
    model = build_model(run)
    load_weights(model, weights)
    return ACCURACY.over(model, {"": task.datasets[split]})


class Record:
    """What is known so far, written down after every run."""

    def __init__(self, path: Path | None, rounds: int) -> None:
        self._path, self._rounds, self.runs = path, rounds, list[dict[str, Any]]()

    def add(self, found: dict[str, Any]) -> None:
        """Keep, tell and write."""
        self.runs.append(found)
        told = ("arm", "epsilon", "rate", "seed", "validation", "test", "cpu_seconds")
        print("  ".join(f"{name} {found[name]}" for name in told), flush=True)

    def write(self, chosen: Iterable[Job]) -> None:
        """Mean and deviation over the seeds, and every run."""
        if self._path is None:
            return
        table = {_name(job): self._cell(job) for job in chosen}
        settings = {
            "sites": SITES, "honest": HONEST, "patients": PATIENTS, "batch": BATCH,
            "steps": self._rounds, "delta": DELTA,
        }  # fmt: skip
        versions = {"torch": torch.__version__, "python": sys.version.split()[0]}
        record = table | {"more": {"settings": settings, "runs": self.runs, "versions": versions}}
        self._path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")

    def _cell(self, job: Job) -> dict[str, Any]:
        mine = (job.arm, job.epsilon, job.rate)
        found = [run for run in self.runs if (run["arm"], run["epsilon"], run["rate"]) == mine]
        tests = [run["test"] for run in sorted(found, key=lambda run: run["seed"])]
        told = found[0]["privacy"] or {}
        return {
            "accuracy_mean": round(statistics.mean(tests), 4),
            "accuracy_std": round(statistics.stdev(tests), 4) if len(tests) > 1 else None,
            "accuracies": [round(value, 4) for value in tests],
            "rate": job.rate,
        } | {name: told.get(name) for name in ("epsilon", "noise_multiplier", "epsilon_own_noise")}


def _name(job: Job) -> str:
    return job.arm if job.epsilon is None else f"{job.arm}_epsilon_{job.epsilon:g}"


def benchmark(options: argparse.Namespace, pool: ProcessPoolExecutor) -> None:
    """Choose each arm's rate on the first seed, then run the others."""
    rounds, epsilons = (6, (3.0,)) if options.quick else (120, (3.0, 1.0))
    rates, seeds = (RATES[1:2], (0,)) if options.quick else (RATES, (0, 1, 2))
    arms = [(arm, epsilon) for epsilon in epsilons for arm in ("own", "shared")]
    record = Record(options.json, rounds)

    def run_all(jobs: list[Job]) -> dict[Job, dict[str, Any]]:
        done = dict(zip(jobs, pool.map(run_job, jobs, [options.work] * len(jobs)), strict=True))
        for found in done.values():
            record.add(found)
        return done

    chosen = []
    for arm, epsilon in [("none", None), *arms]:
        tried = run_all([Job(arm, epsilon, rate, seeds[0], rounds) for rate in rates])
        chosen.append(max(tried, key=lambda job: float(tried[job]["validation"])))
        record.write(chosen)
    run_all([replace(best, seed=seed) for seed in seeds[1:] for best in chosen])
    record.write(chosen)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a taste, within two minutes")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--work", type=Path, default=Path("build/noise_shares"))
    parser.add_argument("--workers", type=int, default=2)
    with ProcessPoolExecutor((options := parser.parse_args()).workers) as pool:
        benchmark(options, pool)


if __name__ == "__main__":
    main()

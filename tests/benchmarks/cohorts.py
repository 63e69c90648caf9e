"""Means over cohorts of three or more against means over pairs: accuracy, and bytes.

A secure sum needs somebody to hide among, and so the grid takes the place of matchings and of the
hypercube. Same task, network, settings and learning rate as ``learning.py``, same rounds for all;
``grid, as many bytes`` has fewer of them. Any two sites may talk, as hypercube and grid need, and
so the matchings are those of the complete graph. Training runs have plain sums, which give the same
numbers; what secure ones send is counted by running them, with real keys and masks, for a cycle.

``python tests/benchmarks/cohorts.py --data FOLDER [--quick] [--json PATH]``

Every finished run is kept in ``--work``: an interrupted benchmark goes on where it stopped.
"""

import argparse
import json
import statistics
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from itertools import repeat
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent))
from _corpora_task import MOST_IMAGES, SIZE, load_task
from _learning_runs import LOCAL_STEPS, Job, Method, run_job

from fedefm.config import FederationConfig, RunConfig
from fedefm.data.dataset import FrameDataset
from fedefm.topology.grid import Grid
from fedefm.train.assemble import build_server, build_site, plan_exchanges
from fedefm.train.exchange import SERVER
from fedefm.train.federation import Federation, Hidden
from nvflare_jobs.secure import BySecureSums

RATE = 0.03  # what ``learning.py`` chose for gossip and for FedEFM
COHORT = 3
CYCLE = FederationConfig().expert_every  # rounds, of which the last exchanges experts
CLASSES = tuple(f"class {k}" for k in range(16))
Scope = tuple[dict[int, tuple[int, ...]], int]  # seeds by number of sites, rounds
FULL: Scope = ({8: (0, 1), 9: (0, 1), 16: (0,)}, 80)  # 16 sites cost what the others do together
QUICK: Scope = ({9: (0,)}, 5)
WAYS = {
    "matchings": {"schedule": "matchings"},
    "hypercube": {"schedule": "hypercube"},
    "grid": {"schedule": "grid", "cohort": COHORT},
}
ALGORITHMS: dict[str, dict[str, Any]] = {"gossip": {"algorithm": "gossip"}, "fedefm": {}}
AS_MANY_BYTES = "grid, as many bytes"


def rows(sites: int) -> dict[str, Method]:
    """Every algorithm over every way of taking means that there is for so many sites."""
    found = {}
    for algorithm, settings in ALGORITHMS.items():
        for way, schedule in WAYS.items():
            if way == "hypercube" and sites & (sites - 1):
                continue
            name = f"{algorithm}, {way}"
            federation = {"topology": "complete", **settings, **schedule}
            found[name] = Method(name, federation, transfers(sites, algorithm, way), {})
    return found


def transfers(sites: int, algorithm: str, way: str) -> float:
    """Models that a site sends in a round, on average: up to its collector, and down from it."""
    mean = sites // 2 * 2 / sites
    if way == "grid":
        grid = Grid([str(k) for k in range(sites)], COHORT)
        up_and_down = [2 * (len(c) - 1) for k in range(grid.period) for c in grid.cohorts(k)]
        mean = sum(up_and_down) / grid.period / sites
    pairs = sites // 2 * 2 / sites  # with an odd number, one sits out
    return mean if algorithm == "gossip" else (mean * (CYCLE - 1) + 2 * pairs) / CYCLE


def jobs_of(sites: int, seeds: tuple[int, ...], rounds: int) -> dict[str, list[Job]]:
    """One job a seed for each row of the table of so many sites."""
    methods = rows(sites)
    table = {name: (name, rounds) for name in methods}
    for algorithm in ALGORITHMS:
        pairs, grid = methods[f"{algorithm}, matchings"], methods[f"{algorithm}, grid"]
        fewer = rounds * pairs.transfers / grid.transfers
        table[f"{algorithm}, {AS_MANY_BYTES}"] = (grid.name, CYCLE * max(1, round(fewer / CYCLE)))
    return {
        row: [Job(name, sites, seed, RATE, count) for seed in seeds]
        for row, (name, count) in table.items()
    }


def table_of(groups: dict[str, list[Job]], done: dict[Job, dict[str, Any]]) -> dict[str, Any]:
    """The rows of one number of sites."""
    return {name: _row(jobs[0], [done[job] for job in jobs]) for name, jobs in groups.items()}


def _row(job: Job, results: list[dict[str, Any]]) -> dict[str, Any]:
    hidden = job.method.endswith("grid")
    return {
        "accuracy_mean": round(statistics.mean(result["test"] for result in results), 4),
        "accuracies": [round(result["test"], 4) for result in results],
        "local_models_mean": round(statistics.mean(result["local"] for result in results), 4),
        "rounds": job.rounds,
        "seeds": len(results),
        "bytes": round(statistics.mean(result["bytes"] for result in results)),
        "bytes_secure": cycle_bytes(job) * job.rounds // CYCLE if hidden else None,
        "steps_per_site": round(job.rounds * LOCAL_STEPS * _phases(job.method)),
        "learning_rate": job.rate,
    }


def _phases(name: str) -> float:
    """Training at a site in a round, hosted included."""
    return 1 if name.startswith("gossip") else 1 + 1 / CYCLE


@cache
def cycle_bytes(job: Job) -> int:
    """What ``CYCLE`` rounds send if every mean is a secure sum, with real keys and masks."""
    names = tuple(f"site-{k:02d}" for k in range(job.sites))
    steps = {"local_steps": 1, "host_steps": 1, "rounds": CYCLE, "evaluate_every": CYCLE + 1}
    run = RunConfig.model_validate(
        {
            "name": "bytes",
            "model": {"backbone": "resnet_micro", "image_size": SIZE, "classes": CLASSES},
            "federation": {**rows(job.sites)[job.method].federation, **steps},
            "privacy": {"secagg": {}},
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        federation = _secure_federation(run, names, Path(folder))
        federation.train()
        return federation.sent_bytes


def _secure_federation(run: RunConfig, names: tuple[str, ...], folder: Path) -> Federation:
    """Sites with one image each, whose sums are the real ones."""
    plan, hide = plan_exchanges(run, names), BySecureSums(folder)
    parties = {p: hide(p, None, run, names, "bytes", _fail) for p in (*names, SERVER)}
    image, label = torch.zeros(1, 1, SIZE, SIZE, dtype=torch.uint8), torch.zeros(1).long()
    data = FrameDataset(image, label, label, CLASSES)
    sites = {n: build_site(n, data, run, plan, secrecy=parties[n]) for n in names}
    server = build_server(run, plan, secrecy=parties[SERVER])
    hidden = {party: Hidden(secrecy, []) for party, secrecy in parties.items()}
    return Federation(run, plan, sites, server, hidden=hidden)


def _fail(trouble: str) -> None:
    raise RuntimeError(trouble)


def print_table(sites: int, table: dict[str, Any]) -> None:
    """One table for a terminal."""
    print(f"\n{sites} sites")
    print(f"{'method':28}{'accuracy':>9}{'own models':>12}{'rounds':>8}{'MB':>8}{'MB secure':>11}")
    for name, row in table.items():
        secure = "-" if row["bytes_secure"] is None else f"{row['bytes_secure'] / 1e6:.1f}"
        print(
            f"{name:28}{row['accuracy_mean']:>9.3f}{row['local_models_mean']:>12.3f}"
            f"{row['rounds']:>8}{row['bytes'] / 1e6:>8.1f}{secure:>11}"
        )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="sample sets")
    parser.add_argument("--quick", action="store_true", help="a taste, within a minute")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--work", type=Path, default=Path("build/learning"), help="finished runs")
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    scope, work = (QUICK, options.work / "quick") if options.quick else (FULL, options.work)
    seeds, rounds = scope
    load_task(options.data, work / "task.pt", most_images=16 if options.quick else MOST_IMAGES)
    tables = {count: jobs_of(count, seeds[count], rounds) for count in seeds}
    jobs = list(dict.fromkeys(j for t in tables.values() for group in t.values() for j in group))
    jobs.sort(key=lambda job: job.seed)  # an interrupted benchmark has something of every table
    with ProcessPoolExecutor(options.workers) as pool:
        found = pool.map(run_job, jobs, repeat(options.data), repeat(work), repeat(rows))
        done = dict(zip(jobs, found, strict=True))
    record = {f"{count}_sites": table_of(groups, done) for count, groups in tables.items()}
    for count in tables:
        print_table(count, record[f"{count}_sites"])
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()

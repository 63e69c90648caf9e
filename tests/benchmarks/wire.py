"""What rounding on the wire does to learning: ``federation.wire: bfloat16`` beside ``float32``.

The task of ``learning.py`` (16 kinds of real and simulated images, 100 % unseen) at four sites,
same seeds, rounds and learning rate; only the type differs in which weights, experts and parts of
plain sums travel. Half the bytes, and 8 significant bits in place of 24. Differences between seeds
say how large a difference is noise.

    python tests/benchmarks/wire.py [--data FOLDER] [--seeds S ...] [--transfers N] [--quick]
        [--json PATH]
"""

import argparse
import json
import os
import platform
import statistics
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

sys.path.insert(0, str(Path(__file__).parent))
from _corpora_task import MOST_IMAGES, load_task
from _learning_runs import Job, Method, methods, run_job

SITES, TRANSFERS, RATE = 4, 160, 0.03
LEARNERS = ("fedefm", "gossip", "fedefm_mixed")
WIRES = ("float32", "bfloat16")
SEEDS, QUICK_SEEDS, QUICK_TRANSFERS = (0, 1, 2), (0,), 12


def rows(sites: int) -> dict[str, Method]:
    """Each of the learners with each wire, by both names."""
    usual = methods(sites)
    return {
        f"{learner}/{wire}": replace(
            usual[learner], federation={**usual[learner].federation, "wire": wire}
        )
        for learner in LEARNERS
        for wire in WIRES
    }


def measure(seeds: tuple[int, ...], transfers: int, data: Path, work: Path) -> dict[str, Any]:
    """Per learner and wire: accuracies by seed, and megabytes."""
    print(
        f"{'method':14} {'wire':9} {'accuracy':>14} {'own models':>11} {'sent, MB':>9}", flush=True
    )
    found: dict[str, Any] = {}
    for name, method in rows(SITES).items():
        learner, wire = name.split("/")
        runs = []
        for seed in seeds:
            job = Job(learner, SITES, seed, RATE, method.rounds(transfers))
            chosen = {learner: method}
            runs.append(run_job(job, data, work / wire, lambda _, chosen=chosen: chosen))
        row = {
            "accuracy": [round(run["test"], 4) for run in runs],
            "own_models": [round(run["local"], 4) for run in runs],
            "megabytes": round(statistics.mean(run["bytes"] for run in runs) / 1e6 / SITES, 1),
        }
        found.setdefault(learner, {})[wire] = row
        spread = statistics.pstdev(row["accuracy"])
        print(
            f"{learner:14} {wire:9} {statistics.mean(row['accuracy']):>7.3f} ± {spread:.3f} "
            f"{statistics.mean(row['own_models']):>11.3f} {row['megabytes']:>9.1f}",
            flush=True,
        )
    return found


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="sample sets")
    parser.add_argument("--quick", action="store_true", help="a taste, within a minute")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--transfers", type=int, default=TRANSFERS, help="models a site sends")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--work", type=Path, default=Path("build/wire"), help="finished runs")
    options = parser.parse_args()
    seeds, transfers = tuple(options.seeds), options.transfers
    if options.quick:
        seeds, transfers = QUICK_SEEDS, QUICK_TRANSFERS
    work = options.work / ("quick" if options.quick else "full")
    for wire in WIRES:
        (work / wire).mkdir(parents=True, exist_ok=True)
        most = 16 if options.quick else MOST_IMAGES
        load_task(options.data, work / wire / "task.pt", most_images=most)
    found = measure(seeds, transfers, options.data, work)
    if options.json:
        versions = {"torch": torch.__version__, "python": platform.python_version(), "threads": "1"}
        asked = {"sites": SITES, "seeds": list(seeds), "transfers": transfers}
        record = {**found, **asked, "versions": versions}
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()

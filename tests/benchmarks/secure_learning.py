"""What secure sums change in learning: nothing but rounding, also where sites fall silent.

FedAvg, and FedEFM's ``swap`` over a 3 x 3 grid, on the real corpora (``_corpora_task``) at nine
sites, with plain and with secure sums and the same seeds; and again with one and with two sites
that fall silent in the middle of the sum in every fifth round, by turns: before their masked vector
left (then the plain run loses the same parts), or after it (then they count). In a row of three no
sum is left either way, and its sites keep their own models.

Training carries any rounding on, and far. How far is seen from a plain run whose first model is off
by half a quantum (``nudged``); secure and plain runs should be no further apart.

    python tests/benchmarks/secure_learning.py [--data FOLDER] [--quick] [--json PATH]

Every finished run is kept in ``--work``: an interrupted benchmark goes on where it stopped.
"""

import argparse
import json
import statistics
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent))
from _corpora_task import MOST_IMAGES, load_task
from _secure_runs import METHODS, NUDGED, SITES, SUMS, Job, model_of, run_job

SEEDS, ROUNDS = (0, 1), 40
LOSSES = {  # how many fall silent, and whether before their masked vector left
    "nobody silent": (0, True),
    "one silent before": (1, True),
    "two silent before": (2, True),
    "two silent after": (2, False),
}
QUICK_LOSSES = ("nobody silent", "two silent before")
Results = dict[Job, dict[str, Any]]


def jobs_of(losses: tuple[str, ...], seeds: tuple[int, ...], rounds: int) -> list[Job]:
    """Every run; plain sums end with the parts, so nobody can fall silent after them."""
    nudged = [Job(method, NUDGED, 0, True, seed, rounds) for method in METHODS for seed in seeds]
    once = [Job(method, sums, 0, True, seeds[0], 1) for method in METHODS for sums in SUMS]
    return (
        once
        + nudged
        + [
            Job(method, sums, silent, before, seed, rounds)
            for seed in seeds
            for method in METHODS
            for silent, before in (LOSSES[name] for name in losses)
            for sums in SUMS
            if before or sums == "secure"
        ]
    )


def tables(losses: tuple[str, ...], results: Results, work: Path) -> dict[str, Any]:
    """Per method and loss: both accuracies, and how far apart the models are."""
    return {
        method: {name: _row(_of(method, LOSSES[name], results), results, work) for name in losses}
        for method in METHODS
    }


def after_one_round(results: Results, work: Path) -> dict[str, float]:
    """By method, how far a single round's rounding moves a weight."""
    once = [job for job in results if job.rounds == 1 and job.sums == "secure"]
    return {job.method: _difference(job, _counterpart(job), work) for job in once}


def _of(method: str, loss: tuple[int, bool], results: Results) -> list[Job]:
    """The secure runs of a row."""
    wanted = (method, *loss, "secure")
    rows = [job for job in results if (job.method, job.silent, job.before, job.sums) == wanted]
    return [job for job in rows if job.rounds > 1]


def _row(secure: list[Job], results: Results, work: Path) -> dict[str, Any]:
    """Secure runs beside the plain ones that lost the same parts."""
    plain = [_counterpart(job) for job in secure]
    nudged = [replace(job, sums=NUDGED) for job in secure]
    control = {"nudged": _apart(nudged, plain, results, work)} if nudged[0] in results else {}
    return {
        "plain": _figures([results[job] for job in plain]),
        "secure": _figures([results[job] for job in secure]),
        **_apart(secure, plain, results, work),
        **control,
    }


def _apart(some: list[Job], plain: list[Job], results: Results, work: Path) -> dict[str, Any]:
    """How far ``some`` runs came from those with plain sums and the same seeds."""
    pairs = list(zip(some, plain, strict=True))
    return {
        "largest_difference_of_a_weight": max(_difference(a, b, work) for a, b in pairs),
        "differences_of_accuracy": [
            round(results[a]["accuracy"] - results[b]["accuracy"], 4) for a, b in pairs
        ],
    }


def _counterpart(job: Job) -> Job:
    lost = job.silent if job.before else 0
    return replace(job, sums="plain", silent=lost, before=True)


def _difference(one: Job, other: Job, work: Path) -> float:
    a, b = (torch.load(model_of(job, work)) for job in (one, other))
    return max(float((a[name] - b[name]).abs().max()) for name in a)


def _figures(results: list[dict[str, Any]]) -> dict[str, Any]:
    accuracies = [result["accuracy"] for result in results]
    return {
        "accuracy_mean": round(statistics.mean(accuracies), 4),
        "accuracies": [round(value, 4) for value in accuracies],
        "bytes": round(statistics.mean(result["bytes"] for result in results)),
        "cpu_seconds": round(statistics.mean(result["cpu_seconds"] for result in results), 1),
        "troubles": sum(result["troubles"] for result in results),
    }


def print_table(method: str, rows: dict[str, Any]) -> None:
    """One table for a terminal."""
    print(f"\n{method}, {SITES} sites")
    print(f"{'':20}{'plain':>8}{'secure':>8}{'apart by':>11}{'MB plain':>10}{'secure':>8}")
    for name, row in rows.items():
        plain, secure, control = row["plain"], row["secure"], row.get("nudged")
        accuracies = f"{plain['accuracy_mean']:8.4f}{secure['accuracy_mean']:8.4f}"
        cost = f"{plain['bytes'] / 1e6:10.1f}{secure['bytes'] / 1e6:8.1f}"
        print(f"{name:20}{accuracies}{row['largest_difference_of_a_weight']:11.1e}{cost}")
        if control:
            apart = control["largest_difference_of_a_weight"]
            print(f"{'  nudged, plain':36}{apart:11.1e}", *control["differences_of_accuracy"])


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="sample sets")
    parser.add_argument("--quick", action="store_true", help="a taste, within a minute")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--work", type=Path, default=Path("build/secure_learning"))
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    seeds, rounds = ((0,), 5) if options.quick else (SEEDS, ROUNDS)
    work = options.work / ("quick" if options.quick else "full")
    load_task(options.data, work / "task.pt", most_images=16 if options.quick else MOST_IMAGES)
    losses = QUICK_LOSSES if options.quick else tuple(LOSSES)
    jobs = jobs_of(losses, seeds, rounds)
    with ProcessPoolExecutor(options.workers) as pool:
        done = pool.map(run_job, jobs, [options.data] * len(jobs), [work] * len(jobs))
        results = dict(zip(jobs, done, strict=True))
    found = tables(losses, results, work)
    for method, rows in found.items():
        print_table(method, rows)
    once = after_one_round(results, work)
    print("\napart after one round:", ", ".join(f"{m} {value:.1e}" for m, value in once.items()))
    if options.json:
        record = {
            **found,
            "largest_difference_after_one_round": once,
            "sites": SITES,
            "rounds": rounds,
            "seeds": len(seeds),
            "versions": {"torch": torch.__version__, "python": sys.version.split()[0]},
        }
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""What learns when no hospital holds another's kind of images.

Centralized, local-only, FedAvg, gossip and FedEFM's three updates on the task of ``_corpora_task``,
all with the same network, head, loss, augmentation, weight averaging and momentum. The learning
rate of each method is chosen on validation images (first seed, 4 sites); figures are test
accuracies. Seeds draw weights, batches and who holds what; the images and their split are the same
for all.

``python tests/benchmarks/learning.py --data FOLDER [--quick] [--json PATH]``

Every finished run is kept in ``--work``: an interrupted benchmark goes on where it stopped.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent))
from _corpora_task import MOST_IMAGES, load_task
from _learning_figure import draw
from _learning_runs import LOCAL_STEPS, Job, methods, run_job

RATES = (0.01, 0.03, 0.1)
SEEDS = (0, 1, 2)
TRANSFERS = 160  # models that a site sends in an equal-bytes run


@dataclass(frozen=True)
class Scope:
    """How much of the benchmark to run."""

    methods: tuple[str, ...]
    site_counts: tuple[int, ...]
    seeds: tuple[int, ...]
    rates: tuple[float, ...]
    transfers: int
    unseen: tuple[float, ...]  # shares besides 1.0
    swept: tuple[str, ...] = ("local", "fedavg", "gossip", "fedefm_literal", "fedefm")


FULL = Scope(tuple(methods(4)), (4, 8), SEEDS, RATES, TRANSFERS, (0.0, 0.5))
QUICK = Scope(("centralized", "local", "gossip", "fedefm"), (4,), (0,), (0.03,), 16, ())
RunAll = Callable[[list[Job]], dict[Job, dict[str, Any]]]


def benchmark(scope: Scope, run_all: RunAll) -> dict[str, Any]:
    """Every table of the benchmark."""
    tables: dict[str, Any] = {}
    rates = _choose_rates(scope, scope.site_counts[0], run_all)
    for count in scope.site_counts:
        equal_bytes = {m: methods(count)[m].rounds(scope.transfers) for m in scope.methods}
        tables[f"equal_bytes_{count}_sites"] = _table(scope, count, rates, equal_bytes, run_all)
        rounds = dict.fromkeys(scope.methods, scope.transfers // 2)
        if count == scope.site_counts[0]:
            tables[f"equal_rounds_{count}_sites"] = _table(scope, count, rates, rounds, run_all)
            for unseen in scope.unseen:
                swept = {m: equal_bytes[m] for m in scope.swept}
                name = f"unseen_{unseen:.0%}_{count}_sites"
                tables[name] = _table(scope, count, rates, swept, run_all, unseen)
    return tables


def _choose_rates(scope: Scope, count: int, run_all: RunAll) -> dict[str, float]:
    """The learning rate with the best validation accuracy, by method, on the first seed."""
    jobs = [
        Job(name, count, scope.seeds[0], rate, methods(count)[name].rounds(scope.transfers))
        for name in scope.methods
        for rate in scope.rates
    ]
    done = run_all(jobs)
    return {
        name: max(
            (job for job in jobs if job.method == name), key=lambda job: done[job]["validation"]
        ).rate
        for name in scope.methods
    }


def _table(
    scope: Scope,
    count: int,
    rates: dict[str, float],
    rounds: dict[str, int],
    run_all: RunAll,
    unseen: float = 1.0,
) -> dict[str, Any]:
    jobs = {
        name: [Job(name, count, seed, rates[name], rounds[name], unseen) for seed in scope.seeds]
        for name in rounds
    }
    done = run_all([job for group in jobs.values() for job in group])
    return {name: _row([done[job] for job in group], count) for name, group in jobs.items()}


def _row(results: list[dict[str, Any]], count: int) -> dict[str, Any]:
    accuracies = [result["test"] for result in results]
    job = results[0]["job"]
    local = [result["local"] for result in results if result["local"] is not None]
    curves = [result["curve"] for result in results]
    return {
        "accuracy_mean": round(statistics.mean(accuracies), 4),
        "accuracy_std": round(statistics.stdev(accuracies), 4) if len(results) > 1 else None,
        "bytes": round(statistics.mean(result["bytes"] for result in results)),
        "local_models_mean": round(statistics.mean(local), 4) if local else None,
        "learning_rate": job["rate"],
        "rounds": job["rounds"],
        "steps_per_site": round(job["rounds"] * LOCAL_STEPS * methods(count)[job["method"]].phases),
        "seeds": len(results),
        "accuracies": [round(value, 4) for value in accuracies],
        "curve": [
            [points[0][0], round(statistics.mean(value for _, value in points), 4)]
            for points in zip(*curves, strict=True)
        ],
    }


def print_table(name: str, table: dict[str, Any]) -> None:
    """One table for a terminal."""
    print(f"\n{name.replace('_', ' ')}")
    print(f"{'method':24}{'accuracy':>16}{'local models':>14}{'MB sent':>9}{'rounds':>8}{'lr':>7}")
    for method, row in table.items():
        spread = f" ± {row['accuracy_std']:.3f}" if row["accuracy_std"] is not None else ""
        shown = f"{row['accuracy_mean']:.3f}{spread}"
        local = "" if row["local_models_mean"] is None else f"{row['local_models_mean']:.3f}"
        cost = f"{row['bytes'] / 1e6:.0f}"
        rate = row["learning_rate"]
        print(f"{method:24}{shown:>16}{local:>14}{cost:>9}{row['rounds']:>8}{rate:>7}")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=_Plain)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="sample sets")
    parser.add_argument("--quick", action="store_true", help="a taste, within a minute")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--figure", type=Path, help="where to draw the curves, .svg or .png")
    parser.add_argument("--work", type=Path, default=Path("build/learning"), help="finished runs")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    scope, work = (QUICK, options.work / "quick") if options.quick else (FULL, options.work)
    load_task(options.data, work / "task.pt", most_images=16 if options.quick else MOST_IMAGES)
    with ProcessPoolExecutor(options.workers) as pool:

        def run_all(jobs: list[Job]) -> dict[Job, dict[str, Any]]:
            unique = list(dict.fromkeys(jobs))
            results = pool.map(run_job, unique, [options.data] * len(jobs), [work] * len(jobs))
            return dict(zip(unique, results, strict=True))

        tables = benchmark(scope, run_all)
    for name, table in tables.items():
        print_table(name, table)
    record = _record(tables, work)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(record, indent=1) + "\n")
    if options.figure:
        draw(record, options.figure)


class _Plain(argparse.RawDescriptionHelpFormatter):
    """Keeps the lines of the docstring."""


def _record(tables: dict[str, Any], work: Path) -> dict[str, Any]:
    """The first table on top, the others under ``more``."""
    first, *others = tables
    images = torch.load(work / "task.pt", weights_only=False)
    return {
        **tables[first],
        "more": {
            **{name: tables[name] for name in others},
            "classes": list(images[3]),
            "versions": {"torch": torch.__version__, "python": sys.version.split()[0]},
        },
    }


if __name__ == "__main__":
    main()

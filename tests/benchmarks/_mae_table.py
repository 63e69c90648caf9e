"""All runs of the learning part, the rates chosen among them, and their table."""

import statistics
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from _mae_data import ULTRASOUND, load, take_in
from _mae_pretraining import ONCE, SCENARIOS, Pretraining, Size, pretrain
from _mae_tuning import SCRATCH, Tuning, starts, tune

from fedefm.finetune.bootstrap import Interval, by_patient, patient_intervals

Run = dict[str, Any]
Table = dict[str, Any]


def learn(
    size: Size, data: Path, work: Path, workers: int, tell: Callable[[Table], None]
) -> dict[str, Any]:
    """Pre-train, choose rates, fine-tune, and sum up."""
    for folder in ("pretrained", "tuned"):
        (work / folder).mkdir(parents=True, exist_ok=True)
    take_in(data, work.parent)  # before several processes would
    with ProcessPoolExecutor(workers) as pool:

        def all_of(task: Callable[..., Run], jobs: Iterable[Any]) -> list[Run]:
            done = []
            for run in pool.map(partial(task, size=size, data=data, work=work), jobs):
                done.append(run)
                print({k: _short(v) for k, v in run.items() if k != "image_dice"}, flush=True)
            return done

        pretrained = all_of(pretrain, pretrainings(size))
        tried = all_of(tune, trials(size))
        rates = chosen(tried)
        runs = all_of(tune, tunings(size, rates))
    patients = load(data, work.parent, size.pixels).frames[ULTRASOUND, "test"].patients.numpy()
    table = {"explained": _explained(pretrained), "dice": _dice(runs, patients)}
    tell(table)
    shown = [{k: v for k, v in run.items() if k != "image_dice"} for run in [*tried, *runs]]
    cpu = sum(run["cpu_seconds"] for run in [*pretrained, *_once(tried, runs)])
    return {
        **table,
        "rates": rates,
        "size": asdict(size),
        "pretraining": pretrained,
        "runs": _once(shown),
        "cpu_seconds": cpu,
    }


def pretrainings(size: Size) -> list[Pretraining]:
    """All images in one place are the same for any number of sites."""
    few = size.site_counts[0]
    return [
        Pretraining(scenario, count, seed)
        for seed in size.seeds
        for count in size.site_counts
        for scenario in SCENARIOS
        if scenario not in ONCE or count == few
    ]


def trials(size: Size) -> list[Tuning]:
    """By which the rate of each start is chosen: on the first seed, at the fewest sites."""
    few, seed = size.site_counts[0], size.seeds[0]
    first = {scenario: site for scenario, count, site in reversed(starts(size)) if count == few}
    return [
        Tuning(scenario, few, site, size.tuned_at, seed, rate)
        for scenario, site in first.items()
        for rate in size.rates
    ]


def chosen(tried: Iterable[Run]) -> dict[str, float]:
    """The rate with the best Dice on validation patients, by scenario."""
    best: dict[str, Run] = {}
    for run in tried:
        if run["validation"] > best.get(run["scenario"], {"validation": -1.0})["validation"]:
            best[run["scenario"]] = run
    return {scenario: run["rate"] for scenario, run in best.items()}


def tunings(size: Size, rates: dict[str, float]) -> list[Tuning]:
    """Every start on every share of the labels, seed by seed."""
    return [
        Tuning(scenario, count, site, fraction, seed, rates[scenario])
        for seed in size.seeds
        for fraction in size.fractions
        for scenario, count, site in starts(size)
    ]


def _once(*runs: Iterable[Run]) -> list[Run]:
    """Trials are among the runs, too."""
    names = ("scenario", "sites", "site", "fraction", "seed", "rate")
    return list({tuple(run[name] for name in names): run for some in runs for run in some}.values())


def _explained(pretrained: list[Run]) -> Table:
    """``start -> domain and masks -> {mean, std}`` over seeds, of test images."""
    return {
        name: {
            what: _over_seeds([run["explained"][what] for run in same])
            for what in same[0]["explained"]
        }
        for name, same in _by_start(pretrained).items()
    }


def _dice(runs: list[Run], patients: np.ndarray) -> Table:
    """``fraction -> start -> {mean, std, gain, over_local}``, the last two by patient.

    A ``gain`` is over scratch; federated ones are told ``over_local`` ones of as many sites, too.
    """
    table: Table = {}
    for fraction in dict.fromkeys(run["fraction"] for run in runs):
        row = table[f"{fraction:g}"] = {}
        held = _by_start([run for run in runs if run["fraction"] == fraction])
        for name, same in held.items():
            seeds = dict.fromkeys(run["seed"] for run in same)
            each = [statistics.mean(r["dice"] for r in same if r["seed"] == s) for s in seeds]
            row[name] = {**_over_seeds(each), "patients": same[0]["patients"]}
            if name != SCRATCH:
                row[name]["gain"] = _gain(same, held[SCRATCH], patients)
            alone = name.replace("federated", "local")
            if alone != name:
                row[name]["over_local"] = _gain(same, held[alone], patients)
    return table


def _gain(runs: list[Run], others: list[Run], patients: np.ndarray) -> dict[str, Any]:
    difference = (_images(runs) - _images(others))[:, None]
    (gain,) = patient_intervals(by_patient(difference, patients))
    return asdict(gain)


def _images(runs: list[Run]) -> np.ndarray:
    """Dice of each test image, a mean over runs; all seeds have as many."""
    return np.mean([run["image_dice"] for run in runs], axis=0)


def _by_start(runs: list[Run]) -> dict[str, list[Run]]:
    found: dict[str, list[Run]] = {}
    for run in runs:
        alone = run["scenario"] in (SCRATCH, *ONCE)
        name = run["scenario"] if alone else f"{run['scenario']}, {run['sites']} sites"
        found.setdefault(name, []).append(run)
    return found


def _over_seeds(values: list[float]) -> dict[str, float | None]:
    spread = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.mean(values), "std": spread}


def show(table: Table) -> None:
    """The table on the terminal."""
    print("\nexplained of test images")
    for name, row in table["explained"].items():
        for what, cell in row.items():
            print(f"{name:22}{what:32}{_told(cell)}")
    for fraction, row in table["dice"].items():
        print(f"\n{float(fraction):.0%} of the labels, Dice; gain over scratch, over local")
        for name, cell in row.items():
            gains = [str(Interval(**cell[key])) for key in ("gain", "over_local") if key in cell]
            print(f"{name:22}{_told(cell):>18}  {'  '.join(gains)}")


def _told(cell: dict[str, Any]) -> str:
    return f"{cell['mean']:.3f}" + ("" if cell["std"] is None else f" ± {cell['std']:.3f}")


def _short(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _short(inner) for name, inner in value.items()}
    return round(value, 3) if isinstance(value, float) else value

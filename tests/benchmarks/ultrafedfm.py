"""UltraFedFM: what a step of masked autoencoding costs, what is learned by it, and where it runs.

*step*: our training step beside the paper's, written plainly (``_mae_reference``), with the same
weights, share of masked patches, optimizer and batch, pair by pair on one thread; and what the
encoder computes of the patches kept. *learning*: a small ViT is pre-trained on fetal ultrasound and
chest X-rays, each at half of the sites, by FedAvg, by each site alone and with all images in one
place, with as many steps on as many images; then the fetal head is segmented from each of these and
from scratch, on 5, 20 and 100 % of the labels. Dice is of patients that were in neither. *where*:
one short run file at 4 and 16 sites, in one process and in FLARE's simulator, plain, private, in
secure sums, both.

What was tried before *learning* was set up, on one seed, all images in one place and validation
patients: fine-tuning on 5 % of the labels from 1,000 steps of 32 images reached a Dice of 0.753
with random masks and 0.721 with textured ones, and 0.731 from scratch, each at the better of the
rates 1e-3 and 3e-3; on 20 %, at 1e-3, it was 0.748 with random masks and 0.733 from scratch. A rate
of 3e-4 was worse for all (0.68). 600 steps of 64 images, still with noise in what was to be
painted, helped nothing (0.716 and 0.712 on 5 and 20 %) and explained 0.06 of the variance in
ultrasound, 0.21 in X-rays; without noise 1,000 steps of 32 explained 0.07 and 0.40. So random masks
are a start of their own, beside the paper's textured ones. Larger models, longer pre-training, and
other rates of it were not tried: all of this is to take an hour of one core.

``python tests/benchmarks/ultrafedfm.py [--data DIR] [--quick] [--only PART ...] [--json PATH]``

Finished runs are kept in ``--work``: an interrupted benchmark goes on where it stopped. Parts that
are not measured now are kept in the JSON.
"""

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
import _mae_step
from _mae_data import is_there, take_in
from _mae_pretraining import Size
from _mae_table import learn, show
from _mae_where import PLACES, Short, apart, run

PARTS = ("step", "learning", "where")


@dataclass(frozen=True)
class Scope:
    """How much is measured."""

    name: str  # of the folder in ``--work``
    repeats: int
    cases: tuple[str, ...]
    learning: Size
    short: Short


FULL = Scope("full", 15, tuple(_mae_step.CASES), Size(), Short())
QUICK = Scope(
    "quick",
    3,
    ("vit_tiny, 64 px",),
    Size(
        site_counts=(4,),
        seeds=(0,),
        fractions=(0.2,),
        rounds=2,
        local_steps=2,
        steps=4,
        rates=(1e-3,),
        local_models=1,
    ),
    Short(rounds=2, local_steps=1, protections=("plain",), site_counts=(4,)),
)


def step(scope: Scope) -> dict[str, Any]:
    """Ours against the reference."""
    print(f"CPU time of a step over the reference's, median of {scope.repeats} pairs, quartiles")
    table = {}
    for name in scope.cases:
        row = table[name] = _mae_step.measure(_mae_step.CASES[name], scope.repeats)
        ratios = [row[key] for key in ("ours_over_reference", "quarter", "three_quarters")]
        print(
            f"{name:20} {ratios[0]:.3f} [{ratios[1]:.3f}, {ratios[2]:.3f}], "
            f"{row['reference_cpu_ms']:.0f} ms the reference; the encoder computes "
            f"{row['encoder_share']:.3f} of what all patches would take; making a textured and "
            f"degraded batch takes {row['textured_degraded_batch_over_step']:.3f} of a step",
            flush=True,
        )
    return table


def where(scope: Scope, data: Path, work: Path) -> dict[str, Any]:
    """The short run in both places, by how many sites there are."""
    short = scope.short
    table: dict[str, Any] = {"rounds": short.rounds, "local_steps": short.local_steps}
    for count in short.site_counts:
        table[f"{count} sites"] = _of_sites(count, short, data, work)
    return table


def _of_sites(count: int, short: Short, data: Path, work: Path) -> dict[str, Any]:
    manifests, table = take_in(data, work.parent), dict[str, Any]()
    names = f"{'place':>10}{'seconds':>9}{'explained':>11}{'MB sent':>9}{'epsilon':>9}"
    print(f"\n{f'{count} sites':14}{names}")
    for protection in short.protections:
        runs = {}
        for place in PLACES:
            found = run(protection, place, count, short, manifests, work / "where")
            runs[place] = found
            spent = "" if found["epsilon"] is None else f"{found['epsilon']:.2f}"
            print(
                f"{protection:14}{place:>10}{found['seconds']:>9.1f}{found['explained']:>11.3f}"
                f"{found['sent_megabytes']:>9.1f}{spent:>9}",
                flush=True,
            )
        models = [Path(one.pop("model")) for one in runs.values()]
        table[protection] = {**runs, **apart(*models)}
        same = "the same file" if table[protection]["same_file"] else "other files"
        far = table[protection]["largest_difference"]
        print(f"{'':14}{same}, weights apart by at most {far:.1g}")
    return table


def main() -> None:
    """Measure, print the tables, write JSON where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("../shared/data"), help="sample sets")
    parser.add_argument("--quick", action="store_true", help="a taste, within a minute")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="keep the others")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    parser.add_argument("--work", type=Path, default=Path("build/ultrafedfm"), help="kept runs")
    parser.add_argument("--workers", type=int, default=1, help="processes, of learning")
    options = parser.parse_args()
    torch.set_num_threads(1)
    scope = QUICK if options.quick else FULL
    work, parts = options.work / scope.name, tuple(options.only)
    if not is_there(options.data):
        print(f"left out: learning, where ({options.data} has not both sample sets)")
        parts = tuple(part for part in parts if part == "step")
    measures: dict[str, Callable[[], dict[str, Any]]] = {
        "step": lambda: step(scope),
        "learning": lambda: learn(scope.learning, options.data, work, options.workers, show),
        "where": lambda: where(scope, options.data, work),
    }
    for part in parts:
        started = time.perf_counter()
        result = measures[part]() | _with_what(part, options, time.perf_counter() - started)
        if options.json:
            _write(options.json, {part: result})


def _with_what(part: str, options: argparse.Namespace, seconds: float) -> dict[str, Any]:
    """How a part was measured; folders of this machine are nobody's business."""
    names = ("torch", "timm", "segmentation-models-pytorch", "nvflare")
    return {
        "command": f"python tests/benchmarks/ultrafedfm.py --only {part}"
        + (" --quick" if options.quick else ""),
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            **{name: version(name) for name in names},
        },
        "threads": torch.get_num_threads(),
        "workers": options.workers if part == "learning" else 1,
        "cores": os.cpu_count(),
        "seconds_now": seconds,
    }


def _write(path: Path, result: dict[str, Any]) -> None:
    """What was measured now, and what the file has of other parts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    known = json.loads(path.read_text()) if path.exists() else {}
    found = known | result
    kept = {part: found[part] for part in PARTS if part in found}
    path.write_text(json.dumps(kept, indent=1) + "\n")


if __name__ == "__main__":
    main()

"""Forward and backward of the Earth Mover's Distance, against what else there is.

    python tests/benchmarks/emd.py [--quick] [--json PATH]

Every method starts from raw features of a student, which needs a gradient, and of a frozen expert.
One thread, process CPU time, all methods in turn within one run, median over repetitions, as a
share of the loop over ``ot.emd2``. Features are synthetic: smooth low-rank fields with a shared
mean and noise, in two regimes: ``aligned`` (the models agree, distance about 0.06) and ``mixed``
(the expert's features lie in a largely different basis, about 0.4).
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import ot
import torch
import torch.nn.functional as F
from torch import Tensor

from fedefm.distill.emd import emd

try:
    import cv2
except ImportError:
    cv2 = None

CHANNELS = 384
Step = Callable[[Tensor, Tensor], tuple[float, Tensor | None]]


def features(batch: int, nodes: int, regime: str, seed: int) -> tuple[Tensor, Tensor]:
    """``(batch, nodes, CHANNELS)`` of student and expert."""
    rng = torch.Generator().manual_seed(seed)
    side, rank = round(nodes**0.5), 12
    axis = torch.linspace(0, 1, side)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    waves = torch.rand(batch, rank, 2, generator=rng) * 2.5
    phase = torch.rand(batch, rank, 1, 1, generator=rng) * 2 * torch.pi
    angle = waves[..., 0, None, None] * y + waves[..., 1, None, None] * x
    fields = torch.cos(torch.pi * angle + phase).flatten(2).transpose(1, 2)  # (B, N, rank)
    basis = torch.randn(2, rank, CHANNELS, generator=rng)
    mean = 2 * torch.randn(CHANNELS, generator=rng)
    noise = torch.randn(2, batch, nodes, CHANNELS, generator=rng)
    kept, level = (0.97, 0.6) if regime == "aligned" else (0.35, 0.6)
    other = kept * basis[0] + (1 - kept**2) ** 0.5 * basis[1]
    return (
        fields @ basis[0] + mean + level * noise[0],
        fields @ other + mean + level * noise[1],
    )


def problem(u: Tensor, v: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Cosine cost and cross-reference node weights by plain autograd."""
    cost = 1 - torch.bmm(F.normalize(u, dim=2), F.normalize(v, dim=2).transpose(1, 2))
    a = (u * v.mean(1, keepdim=True)).sum(2).relu() + 1e-3
    b = (v * u.mean(1, keepdim=True)).sum(2).relu() + 1e-3
    return cost, a / a.sum(1, keepdim=True), b / b.sum(1, keepdim=True)


def ours(u: Tensor, v: Tensor) -> tuple[float, Tensor | None]:
    value = emd(u, v, threads=1).mean()
    value.backward()
    return float(value.detach()), u.grad


def pot_loop(u: Tensor, v: Tensor) -> tuple[float, Tensor | None]:
    cost, a, b = problem(u, v)
    value = torch.stack([ot.emd2(*each) for each in zip(a, b, cost, strict=True)]).mean()
    value.backward()
    return float(value.detach()), u.grad


def opencv(u: Tensor, v: Tensor) -> tuple[float, Tensor | None]:
    """As in DeepEMD: the flow is a constant, no gradient through the weights."""
    cost, a, b = problem(u, v)
    each = zip(cost.detach().numpy(), a.detach().numpy(), b.detach().numpy(), strict=True)
    flow = np.stack([cv2.EMD(s[:, None], t[:, None], cv2.DIST_USER, c)[2] for c, s, t in each])
    value = (torch.from_numpy(flow) * cost).sum((1, 2)).mean()
    value.backward()
    return float(value.detach()), u.grad


def floor(u: Tensor, v: Tensor) -> tuple[float, Tensor | None]:
    """One Gram product, forward only: nobody can do with less."""
    return float(torch.bmm(u.detach(), v.transpose(1, 2))[0, 0, 0]), None


def compare(batch: int, nodes: int, regime: str, repetitions: int) -> dict[str, float]:
    """Shares of the POT loop's time, its milliseconds a sample, and our errors against it."""
    u, v = features(batch, nodes, regime, seed=nodes)
    methods: dict[str, Step] = {"pot_loop": pot_loop, "ours": ours, "floor": floor}
    if cv2 is not None and batch * nodes <= 16 * 196:
        methods["opencv"] = opencv
    seconds: dict[str, list[float]] = {name: [] for name in methods}
    results: dict[str, tuple[float, Tensor | None]] = {}
    for repetition in range(repetitions + 1):
        for name, step in methods.items():
            if name == "opencv" and nodes > 100 and repetition not in (1, 2, 3):
                continue
            student = u.clone().requires_grad_()
            start = time.process_time()
            results[name] = step(student, v)
            if repetition:
                seconds[name].append(time.process_time() - start)
    base = statistics.median(seconds["pot_loop"])
    row = {name: statistics.median(taken) / base for name, taken in seconds.items()}
    row["pot_loop_ms_per_sample"] = 1e3 * base / batch
    return row | agreement(results)


def agreement(results: dict[str, tuple[float, Tensor | None]]) -> dict[str, float]:
    value, gradient = results["pot_loop"]
    row = {"emd": value}
    for name in ("ours", "opencv"):
        if name in results:
            mine, slope = results[name]
            row[f"{name}_value_error"] = abs(mine - value)
            row[f"{name}_gradient_cosine"] = float(
                F.cosine_similarity(slope.double().flatten(), gradient.double().flatten(), dim=0)
            )
    return row


def thread_scaling(batch: int, nodes: int, repetitions: int) -> dict[str, float]:
    """Wall seconds of forward and backward with one and two solver threads."""
    u, v = features(batch, nodes, "mixed", seed=nodes)
    seconds: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(repetitions):
        for threads, taken in seconds.items():
            student = u.clone().requires_grad_()
            start = time.perf_counter()
            emd(student, v, threads=threads).mean().backward()
            taken.append(time.perf_counter() - start)
    return {f"{threads}_threads": min(taken) for threads, taken in seconds.items()}


def small_training(repetitions: int = 30) -> float:
    """CPU milliseconds of values without gradient for a batch of 16 with 4 x 4 tokens of 64."""
    rng = torch.Generator().manual_seed(0)
    u, v = torch.randn(2, 16, 16, 64, generator=rng).unbind()
    taken = []
    for _ in range(repetitions):
        start = time.process_time()
        emd(u, v, threads=1)
        taken.append(time.process_time() - start)
    return 1e3 * statistics.median(taken)


def versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "POT": ot.__version__,
        "numpy": np.__version__,
        "opencv": cv2.__version__ if cv2 is not None else "absent",
        "threads": str(torch.get_num_threads()),
        "cpus": str(os.cpu_count()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="batches of 16, fewer repetitions")
    parser.add_argument("--json", type=Path, help="where to write the numbers")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print("versions: " + ", ".join(f"{name} {value}" for name, value in versions().items()))
    if cv2 is None:
        print("opencv is absent (pip install opencv-python-headless): its column stays empty")
    table = measure(arguments.quick)
    more = {
        "rows": table,
        "scaling_wall_seconds": thread_scaling(16, 196, 5 if arguments.quick else 15),
        "values_only_ms_b16_n16_c64": small_training(),
        "versions": versions(),
    }
    one, two = more["scaling_wall_seconds"].values()
    print(f"B=16 N=196, wall: 1 thread {1e3 * one:.1f} ms, 2 threads {1e3 * two:.1f} ms")
    print(f"B=16 N=16 C=64, values only: {more['values_only_ms_b16_n16_c64']:.2f} ms CPU")
    result = {str(nodes): summary(table, nodes) for nodes in (25, 49, 196)} | {"more": more}
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def measure(quick: bool) -> list[dict[str, float | str]]:
    print(
        f"{'B':>3} {'N':>4} {'regime':8}{'POT ms/sample':>14}{'POT':>6}{'ours':>8}{'OpenCV':>8}"
        f"{'floor':>8}{'value error':>13}{'1 - cosine':>12}{'1 - cos OpenCV':>15}"
    )
    table: list[dict[str, float | str]] = []
    for nodes in (25, 49, 196):
        for batch in (16,) if quick else (16, 64):
            for regime in ("aligned", "mixed"):
                row = compare(batch, nodes, regime, repetitions=5 if quick else 11)
                table.append({"batch": batch, "nodes": nodes, "regime": regime} | row)
                print_row(table[-1])
    return table


def print_row(row: dict[str, float | str]) -> None:
    nothing = float("nan")
    print(
        f"{row['batch']:>3} {row['nodes']:>4} {row['regime']:8}"
        f"{row['pot_loop_ms_per_sample']:>14.3f}{1:>6}{row['ours']:>8.3f}"
        f"{row.get('opencv', nothing):>8.3f}{row['floor']:>8.3f}{row['ours_value_error']:>13.1e}"
        f"{1 - row['ours_gradient_cosine']:>12.1e}"
        f"{1 - row.get('opencv_gradient_cosine', nothing):>15.1e}",
        flush=True,
    )


def summary(table: list[dict[str, float | str]], nodes: int) -> dict[str, float]:
    """The median share of each method over batch sizes and regimes; ours at its worst, too."""
    rows = [row for row in table if row["nodes"] == nodes]
    names = [n for n in ("pot_loop", "ours", "opencv", "floor") if any(n in row for row in rows)]
    shares = {name: [float(row[name]) for row in rows if name in row] for name in names}
    return {name: statistics.median(values) for name, values in shares.items()} | {
        "ours_worst": max(shares["ours"]),
        "value_error": max(float(row["ours_value_error"]) for row in rows),
        "gradient_cosine": min(float(row["ours_gradient_cosine"]) for row in rows),
    }


if __name__ == "__main__":
    main()

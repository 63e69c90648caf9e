"""Time and memory of one private step, against plain SGD and against Opacus.

    python tests/benchmarks/dp_step.py [--quick] [--json PATH]

One thread, process CPU time, all ways in turn within one run, median over repetitions, as multiples
of a step of plain SGD with momentum. Opacus is used as its users do: model wrapped and optimizer
built once, its own clipping and noise. Ours draw their noise from the cipher stream and put it on
its grid. ``ours`` is the back-end that ``privacy.dp.choose`` picks by itself. Peak memory is what a
process of its own needs above what it held before the first step, as a multiple of SGD's. One frame
per unit, flat clipping, as Opacus knows no other.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import opacus
import psutil
import torch
from opacus.grad_sample import GradSampleModule, GradSampleModuleFastGradientClipping
from opacus.optimizers import DPOptimizer, DPOptimizerFastGradientClipping
from opacus.utils.fast_gradient_clipping_utils import DPLossFastGradientClipping
from torch import Tensor, nn
from torch.nn import functional

from fedefm.model.foundation import FoundationModel
from fedefm.model.vit import VisionTransformer, VitSize
from fedefm.train.objective import Batch
from privacy.dp.choose import BACKENDS, choose
from privacy.dp.gradients import Clip, Gradients, UnitBatch, trainable
from privacy.dp.noise import GridNoise
from privacy.dp.randomness import SecretStream

CLASSES, BOUND, NOISE, RATE = 10, 1.0, 1.0, 1e-3
PEERS = ("sgd", "opacus_hooks", "opacus_ghost")
Step = Callable[[], None]


@dataclass(frozen=True)
class Case:
    """A model and the images of a step; ``patch`` is None for the U-Net."""

    size: int
    batch: int
    patch: int | None


CASES = {
    "vit64": Case(64, 32, patch=8),
    "vit224": Case(224, 8, patch=16),
    "unet64": Case(64, 16, patch=None),
    "unet128": Case(128, 8, patch=None),
}


class Twice(nn.Sequential):
    """Two convolutions, each with GroupNorm and ReLU."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__(
            nn.Conv2d(channels, width, 3, padding=1), nn.GroupNorm(8, width), nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1), nn.GroupNorm(8, width), nn.ReLU(),
        )  # fmt: skip


class UNet(nn.Module):
    """The textbook one at half a million parameters, with transposed convolutions."""

    def __init__(self, widths: tuple[int, ...] = (16, 32, 64, 128)) -> None:
        super().__init__()
        finer, steps = widths[-2::-1], zip(widths[:0:-1], widths[-2::-1], strict=True)
        self.down = nn.ModuleList(map(Twice, (1, *widths), widths))
        self.up = nn.ModuleList(nn.ConvTranspose2d(coarse, fine, 2, 2) for coarse, fine in steps)
        self.join = nn.ModuleList(Twice(2 * width, width) for width in finer)
        self.head = nn.Conv2d(widths[0], CLASSES, 1)

    def forward(self, x: Tensor) -> Tensor:
        maps = [self.down[0](x)]
        for block in self.down[1:]:
            maps.append(block(functional.max_pool2d(maps[-1], 2)))
        x = maps.pop()
        for up, join in zip(self.up, self.join, strict=True):
            x = join(torch.cat([up(x), maps.pop()], dim=1))
        return self.head(x)


def model_of(case: Case) -> nn.Module:
    torch.manual_seed(0)
    if case.patch is None:
        return UNet()
    body = VisionTransformer(VitSize(case.patch, dim=192, depth=12, heads=3), case.size)
    classes = [str(number) for number in range(CLASSES)]
    return FoundationModel(body, nn.Linear(192, CLASSES), classes, {})


def step_of(case: Case, batch: int, seed: int = 0) -> UnitBatch:
    rng = torch.Generator().manual_seed(seed)
    shape = (batch, case.size, case.size) if case.patch is None else (batch,)
    labels = torch.randint(CLASSES, shape, generator=rng)
    images = torch.randn(batch, 1, case.size, case.size, generator=rng)
    rows = torch.arange(batch)
    return UnitBatch(Batch(images, labels, rows), rows, torch.ones(batch), batch)


class CrossEntropy(nn.Module):
    """One loss per image; ``reduction`` is there for Opacus to set."""

    reduction = "mean"

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        losses = functional.cross_entropy(logits, labels, reduction="none")
        losses = losses.flatten(1).mean(dim=1) if losses.dim() > 1 else losses
        return losses if self.reduction == "none" else losses.mean()


def cross_entropy(model: nn.Module, batch: Batch) -> Tensor:
    losses = functional.cross_entropy(model(batch.images), batch.labels, reduction="none")
    return losses.flatten(1).mean(dim=1) if losses.dim() > 1 else losses


def stepper(name: str, case: Case, batch: int) -> Step:
    """A fresh model, and what takes one step with it in the way called ``name``."""
    model, step = model_of(case).train(), step_of(case, batch)
    sgd = torch.optim.SGD(model.parameters(), RATE, momentum=0.9)
    if name == "sgd":
        return lambda: plain(model, step, sgd)
    if name == "opacus_hooks":
        return opacus_hooks(model, step, sgd)
    if name == "opacus_ghost":
        return opacus_ghost(model, step, sgd)
    (backend,) = [each for each in BACKENDS if each.name == name]
    return ours(model, step, sgd, backend)


def plain(model: nn.Module, step: UnitBatch, sgd: torch.optim.Optimizer) -> None:
    sgd.zero_grad(set_to_none=True)
    cross_entropy(model, step.batch).mean().backward()
    sgd.step()


def opacus_hooks(model: nn.Module, step: UnitBatch, sgd: torch.optim.Optimizer) -> Step:
    wrapped = GradSampleModule(model)
    optimizer = DPOptimizer(
        sgd, noise_multiplier=NOISE, max_grad_norm=BOUND, expected_batch_size=step.count
    )
    return lambda: plain(wrapped, step, optimizer)


def opacus_ghost(model: nn.Module, step: UnitBatch, sgd: torch.optim.Optimizer) -> Step:
    wrapped = GradSampleModuleFastGradientClipping(model, max_grad_norm=BOUND)
    optimizer = DPOptimizerFastGradientClipping(
        sgd, noise_multiplier=NOISE, max_grad_norm=BOUND, expected_batch_size=step.count
    )
    loss = DPLossFastGradientClipping(wrapped, optimizer, CrossEntropy())

    def take() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss(wrapped(step.batch.images), step.batch.labels).backward()
        optimizer.step()

    return take


def ours(model: nn.Module, step: UnitBatch, sgd: torch.optim.Optimizer, backend: Gradients) -> Step:
    parameters = trainable(model)
    numbers = sum(parameter.numel() for parameter in parameters.values())
    noise = GridNoise(BOUND, NOISE, numbers, most=step.count, stream=SecretStream())

    def take() -> None:
        found = backend.clipped_sum(model, cross_entropy, step, Clip(BOUND))
        noisy = noise.add(found.gradients)
        for name, parameter in parameters.items():
            parameter.grad = noisy[name].div_(step.count)
        sgd.step()
        sgd.zero_grad(set_to_none=True)

    return take


def times(case: Case, batch: int, names: tuple[str, ...], repetitions: int) -> dict[str, float]:
    """Median CPU seconds of a step; the first of each is not counted."""
    steppers = {name: stepper(name, case, batch) for name in names}
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for repetition in range(repetitions + 1):
        for name, take in steppers.items():
            start = time.process_time()
            take()
            if repetition:
                seconds[name].append(time.process_time() - start)
    return {name: statistics.median(taken) for name, taken in seconds.items()}


def pick(case: Case, batch: int) -> str:
    """The name of the back-end that the choice by timing falls on."""
    choice = choose(
        model_of(case).train(), cross_entropy, lambda seed: step_of(case, batch, seed), Clip(BOUND)
    )
    return choice.gradients.name


def memory(case_name: str, name: str, batch: int) -> float:
    """MiB that a process needs at its peak for two steps, above what it held before."""
    command = [sys.executable, __file__, "--memory-of", case_name, name, str(batch)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def own_memory(case: Case, name: str, batch: int) -> float:
    take = stepper(name, case, batch)
    before = psutil.Process().memory_info().rss
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    take()
    take()
    status = Path("/proc/self/status").read_text().split("VmHWM:")[1]
    return (int(status.split()[0]) * 1024 - before) / 2**20


def versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "opacus": opacus.__version__,
        "threads": str(torch.get_num_threads()),
        "cpus": str(os.cpu_count()),
    }


def measure(name: str, quick: bool) -> dict[str, object]:
    case = CASES[name]
    backends = ("bookkeeping", "loop") if quick else tuple(each.name for each in BACKENDS)
    batch = case.batch // 4 if quick else case.batch
    chosen = pick(case, batch)
    seconds = times(case, batch, (*PEERS, *backends), 1 if quick else 5)
    ratios = {way: taken / seconds["sgd"] for way, taken in seconds.items()}
    row: dict[str, object] = {way: ratios[way] for way in PEERS}
    row |= {"ours": ratios[chosen], "chosen": chosen, "sgd_seconds": seconds["sgd"]}
    row |= {"batch": batch, "backends": {way: ratios[way] for way in backends}}
    row["parameters"] = sum(parameter.numel() for parameter in model_of(case).parameters())
    if not quick or name == "vit64":
        ways = ("sgd", chosen) if quick else (*PEERS, *backends)
        peaks = {way: memory(name, way, batch) for way in ways}
        shares = {way: peak / peaks["sgd"] for way, peak in peaks.items()}
        row["memory"] = {**shares, "ours": shares[chosen], "sgd_mib": peaks["sgd"]}
    return row


def show(name: str, row: dict[str, object]) -> None:
    print(f"{name}: {row['parameters']:,} parameters, batch {row['batch']}")
    print(f"  SGD takes {row['sgd_seconds']:.3f} s CPU; ours is {row['chosen']}")
    shares = row.get("memory", {})
    for way, ratio in {**{peer: row[peer] for peer in PEERS}, **row["backends"]}.items():
        peak = f"{shares[way]:7.2f} x memory" if way in shares else ""
        print(f"  {way:14}{ratio:6.2f} x time{peak}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="a quarter of the batch, one repeat")
    parser.add_argument("--json", type=Path, help="where to write the numbers")
    parser.add_argument("--memory-of", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore", "Full backward hook is firing")
    if arguments.memory_of:
        case, way, batch = arguments.memory_of
        print(own_memory(CASES[case], way, int(batch)))
        return
    print("versions: " + ", ".join(f"{name} {value}" for name, value in versions().items()))
    result: dict[str, object] = {}
    for name in CASES:
        result[name] = measure(name, arguments.quick)
        show(name, result[name])
    result["versions"] = versions()
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

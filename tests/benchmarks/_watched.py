"""A command run by itself, with what it took and what else the machine did meanwhile.

Seconds of the clock are worth something where the cores are left alone. So each run comes with how
many cores others kept busy: what one process leaves idle costs it nothing, what two need does.
"""

import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

MIB = 2**20


@dataclass(frozen=True)
class Run:
    """One run: what it printed, as JSON, and what it took from start to end."""

    said: dict[str, Any]
    seconds: float
    cpu_s: float  # with all its children
    peak_mib: float  # of its processes together, shared pages divided between them
    others: float  # cores that were busy with something else


def watched(command: Sequence[str], memory: bool = True) -> Run:
    """Run a command to its end. ``memory`` costs some per cent of a core. Raises where it fails."""
    peak = [0.0]
    before, own, started = _busy(), _own(), time.perf_counter()
    running = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    if memory:
        threading.Thread(target=_watch, args=(running.pid, peak), daemon=True).start()
    said = running.communicate()[0]
    seconds, cpu = time.perf_counter() - started, _own() - own
    if running.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {running.returncode}")
    others = max(0.0, _busy() - before - cpu) / seconds
    return Run(json.loads(said.splitlines()[-1]), seconds, cpu, peak[0], others)


def in_turn(ways: dict[str, Callable[[], Run]], repeats: int) -> dict[str, list[Run]]:
    """``repeats`` runs of each way, all ways in turn: what others do meets all of them."""
    runs: dict[str, list[Run]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, run in ways.items():
            runs[name].append(run())
    return runs


def median(runs: Sequence[Run], key: str) -> float:
    """The median of what the runs said under ``key``."""
    return statistics.median(run.said[key] for run in runs)


def load(runs: Sequence[Run]) -> float:
    """How many cores others kept busy during these runs, in the middle one."""
    return statistics.median(run.others for run in runs)


def python(script: str, *arguments: object) -> list[str]:
    """The command for a script beside this one."""
    return [sys.executable, str(Path(__file__).with_name(script)), *map(str, arguments)]


def _busy() -> float:
    """Core seconds that this machine has worked since it was started."""
    spent = psutil.cpu_times()
    kinds = ("user", "nice", "system", "irq", "softirq", "steal")  # those that a system counts
    return float(sum(getattr(spent, kind, 0.0) for kind in kinds))


def _own() -> float:
    """Core seconds of this process and of the children that have ended."""
    return sum(os.times()[:4])


def _watch(process: int, peak: list[float]) -> None:
    try:
        root = psutil.Process(process)
        while root.is_running() and root.status() != psutil.STATUS_ZOMBIE:
            peak[0] = max(peak[0], sum(map(_memory, [root, *root.children(recursive=True)])))
            time.sleep(0.2)
    except psutil.Error:
        return


def _memory(process: psutil.Process) -> float:
    try:
        return float(process.memory_full_info().pss) / MIB
    except psutil.Error:
        return 0.0

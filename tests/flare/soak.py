"""Many short rounds on provisioned sites: does any process keep what it should let go of?

    python tests/flare/soak.py [--rounds N] [--json PATH]

A server and four sites play a run of tiny rounds: averaging, experts and measurements. The memory
that each process has for itself (USS) is read in every round; those are the server's and each
site's own process, which outlive jobs, their job processes, and the sites' training processes.
``grown`` compares the median of the last tenth of the rounds with that of as many rounds after
the first twenty and the first 310 s, in which all fills that fills: FLARE keeps a note of each
transfer for 300 s, and of a finished one all that it knows, with a thread, for as long as its
sender may retry and 5 s more. So rounds hold the more the faster they follow each other, however
many they are. Senders retry for 60 s; here for 5 s, so that a change of the machine's pace passes
the less for growth.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).parent))
from loopback import SERVER, Federation
from tiny import SITES, tiny_run, write_tiny_sites

ROUNDS, FILLING, FLAT = 1600, 20, 0.05
FILLING_S = 310.0  # of FLARE's memory of finished transfers
RETRY_S = {"NVFLARE_STREAMING_RETRY_TIMEOUT": "5"}  # for the environment of all processes
ROUND_S = 60.0  # at most, on a busy machine
POLL_S, MIB = 0.1, 2**20
STEP = 10  # rounds for each number of the curves that are kept
PARENT, JOB, TRAINING = "parent", "job", "training"
Samples = dict[tuple[str, str], dict[int, int]]  # kit and role -> round -> bytes


def soak(federation: Federation, rounds: int) -> tuple[Samples, int]:
    """Play so many rounds on a started federation, and read all memory in each.

    Also gives the first round by which all that fills is full. Raises AssertionError where the job
    does not complete, stands still, or is over too soon to tell.
    """
    settings = tiny_run("soak", rounds=rounds, expert_every=3, deadline_s=ROUND_S)
    job = federation.submit(federation.export(settings))
    events = federation.run_folder(job) / "events.jsonl"
    samples: Samples = defaultdict(dict)
    seen, progress, filled = -1, time.monotonic(), 0
    began = progress
    while seen < rounds - 1:
        now = _last_round(events)
        if now > seen:
            began = time.monotonic() if seen < 0 else began
            seen, progress = now, time.monotonic()
            if not filled and seen >= FILLING and progress - began >= FILLING_S:
                filled = seen
            for name, role, process in _processes(federation, job):
                held = samples[name, role]
                if uss := _uss(process):
                    held[now] = held.get(now, 0) + uss
        if time.monotonic() - progress > 10 * ROUND_S:
            raise AssertionError(f"no round after round {seen}: {federation.meta(job)}")
        time.sleep(POLL_S)
    if (status := federation.wait(job)) != "FINISHED:COMPLETED":
        raise AssertionError(f"the job ended as {status}")
    if not filled or filled + rounds // 10 > rounds - rounds // 10:
        raise AssertionError(f"{rounds} rounds are over before FLARE's memory of them is full")
    return samples, filled


def growth(samples: Samples, rounds: int, filled: int) -> dict[str, dict[str, float]]:
    """By process: MiB after the first rounds and in the last ones, and the share that it grew.

    A process that was there in neither, such as one that a process starts for a moment, is left
    out. Rounds may be shorter than reading all memory takes, so not each has been read.
    """
    window = rounds // 10
    found = {}
    for (name, role), by_round in sorted(samples.items()):
        if not by_round or max(by_round) < filled or min(by_round) > filled + window:
            continue
        early = _median(by_round, range(filled, filled + window))
        late = _median(by_round, range(rounds - window, rounds))
        found[f"{name} {role}"] = {
            "early_mib": round(early / MIB, 2),
            "late_mib": round(late / MIB, 2),
            "grown": round(late / early - 1, 4),
        }
    return found


def _median(by_round: Mapping[int, int], rounds: range) -> float:
    read = [number for number in by_round if number in rounds]
    nearest = min(by_round, key=lambda number: abs(number - rounds[0]))
    return statistics.median(by_round[number] for number in read or [nearest])


def _curve(by_round: Mapping[int, int]) -> dict[str, float]:
    """First of so many rounds -> the median of what was read in them, in MiB."""
    steps: dict[int, list[int]] = {}
    for number, held in sorted(by_round.items()):
        steps.setdefault(number - number % STEP, []).append(held)
    return {str(first): round(statistics.median(some) / MIB, 2) for first, some in steps.items()}


def _last_round(events: Path) -> int:
    """The newest round that began; -1 before the first."""
    try:
        told = [json.loads(line) for line in events.read_text().splitlines()]
    except (OSError, ValueError):
        return -1
    return max((e["round"] for e in told if e["event"] == "round_started"), default=-1)


def _processes(federation: Federation, job: str) -> Iterator[tuple[str, str, psutil.Process]]:
    for name in (SERVER, *federation.sites):
        for process in federation.processes(name):
            try:
                command = process.cmdline()
                if not command or Path(command[0]).name == "bash":
                    continue
                yield name, JOB if job in command else PARENT, process
                if job in command:
                    for child in process.children():
                        yield name, TRAINING, child
            except psutil.NoSuchProcess:
                continue


def _uss(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().uss)
    except psutil.Error:
        return 0


def print_table(found: Mapping[str, Mapping[str, float]]) -> None:
    """For a terminal."""
    print(f"{'process':24} {'once filled, MiB':>16} {'at the end':>11} {'grown':>7}")
    for name, row in found.items():
        line = f"{name:24} {row['early_mib']:>16.1f} {row['late_mib']:>11.1f} {row['grown']:>7.1%}"
        print(line, "" if row["grown"] <= FLAT else " grows")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    options = parser.parse_args()
    os.environ.update(RETRY_S)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sites = write_tiny_sites(folder / "sites", SITES)
        with Federation(folder / "federation", sites, SITES) as federation:
            federation.provision()
            federation.start()
            federation.be("lead@hub.org")
            federation.wait_ready()
            started = time.perf_counter()
            samples, filled = soak(federation, options.rounds)
            seconds = time.perf_counter() - started
    found = growth(samples, options.rounds, filled)
    print_table(found)
    if options.json:
        curves = {
            f"{name} {role}": _curve(by_round) for (name, role), by_round in sorted(samples.items())
        }
        record: dict[str, Any] = {
            "rounds": options.rounds,
            "filled_in_round": filled,
            "seconds": round(seconds, 1),
            "load": [round(value, 1) for value in os.getloadavg()],
            "processes": found,
            f"uss_mib_by_{STEP}_rounds": curves,
        }
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()

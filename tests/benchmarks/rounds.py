"""What federation costs besides learning: rounds in one process against the same steps alone.

    python tests/benchmarks/rounds.py [--quick] [--flare] [--json PATH]

FedEFM's default (``swap``: 5 local steps; every fifth round is an expert round with 5 hosted steps,
the others average a pair) on a ring with matchings, against the same trainer taking the same number
of optimizer steps on as many models and the same images, without messages, checks, undo, averages
or the similarity of experts. Both play round after round in turn in one process and thread; medians
of process CPU time, and of its ratio in neighboring pairs. The network is ``resnet_micro``, 32 px,
batches of 16: small on purpose, as a larger one hides what we add. ``ratio`` is the time of the
steps over the time of the rounds; ``share_of_steps`` is what part of a round its own steps took,
which noise hardly reaches, but which misses what a round does to the caches of the next one;
``rounds_per_s`` counts CPU seconds.

``--flare`` runs four sites in FLARE's simulator, too; see ``_rounds_in_flare.py``.
"""

import argparse
import json
import multiprocessing
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
from _rounds_task import (
    RUN,
    PlainSteps,
    TimedTrainer,
    build_federation,
    cycle_of_rounds,
    is_expert_round,
)

from fedefm.train.federation import Federation
from fedefm.train.message import Postbox
from fedefm.train.site import BANK_ROUNDS

SITES = (4, 16, 64)
CYCLES = {4: 24, 16: 8, 64: 4}  # of some averaging rounds and an expert round
QUICK_CYCLES = {4: 5, 16: 2, 64: 1}
MIB = 2**20


@dataclass(frozen=True)
class Pairs:
    """CPU seconds of one kind of round; right before or after each, of its steps alone; and of the
    steps within the round."""

    rounds: list[float] = field(default_factory=list)
    steps: list[float] = field(default_factory=list)
    inside: list[float] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return statistics.median(self.rounds)

    def ratio(self, steps: list[float]) -> float:
        """The median over pairs: what else this machine does slows both parts of a pair."""
        return statistics.median(s / r for s, r in zip(steps, self.rounds, strict=True))


def compare(count: int, cycles: int) -> dict[str, float]:
    """Rounds and steps in turn; which of them begins changes from round to round."""
    federation, alone = build_federation(count), PlainSteps(count)
    timed = [TimedTrainer(site.trainer) for site in federation.sites.values()]
    for site, trainer in zip(federation.sites.values(), timed, strict=True):
        site.trainer = trainer
    federation.play_round(0)  # first calls allocate and choose kernels
    alone.play_round(0)
    averaging, expert = Pairs(), Pairs()
    rounds = [number for cycle in range(cycles) for number in cycle_of_rounds(cycle)]
    for place, number in enumerate(rounds):
        pairs = expert if is_expert_round(number) else averaging
        both = [(federation.play_round, pairs.rounds), (alone.play_round, pairs.steps)]
        before = sum(trainer.seconds for trainer in timed)
        for play, taken in both if place % 2 else reversed(both):
            started = time.process_time()
            play(number)
            taken.append(time.process_time() - started)
        pairs.inside.append(sum(trainer.seconds for trainer in timed) - before)
    return _row(count, averaging, expert)


def _row(count: int, averaging: Pairs, expert: Pairs) -> dict[str, float]:
    """Means over a run, where one round in ``expert_every`` exchanges experts."""
    share = 1 / RUN.federation.expert_every

    def mean(of_averaging: float, of_expert: float) -> float:
        return (1 - share) * of_averaging + share * of_expert

    def ratio(averaging_ratio: float, expert_ratio: float) -> float:
        return mean(averaging.seconds * averaging_ratio, expert.seconds * expert_ratio) / ours

    ours = mean(averaging.seconds, expert.seconds)
    ratios = averaging.ratio(averaging.steps), expert.ratio(expert.steps)
    return {
        "ratio": ratio(*ratios),
        "rounds_per_s": 1 / ours,
        "share_of_steps": ratio(averaging.ratio(averaging.inside), expert.ratio(expert.inside)),
        "ratio_averaging_round": ratios[0],
        "ratio_expert_round": ratios[1],
        "cpu_ms_of_a_site_in_averaging_round": 1e3 * averaging.seconds / count,
        "cpu_ms_of_a_site_in_expert_round": 1e3 * expert.seconds / count,
    }


def measure_memory(count: int) -> dict[str, float]:
    """What a federation adds to a process that has trained before, once all that it keeps is there.

    Memory does not depend on the number of steps, so a phase takes one.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as fresh:
        return fresh.submit(_memory, count).result()


def _memory(count: int) -> dict[str, float]:
    short = RUN.federation.model_copy(update={"local_steps": 1, "host_steps": 1})
    run = RUN.model_copy(update={"federation": short})
    _play_cycle(build_federation(2, run))
    before = _resident()
    federation = build_federation(count, run)
    for cycle in range(BANK_ROUNDS):
        _play_cycle(federation, cycle)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"rss_mib": (_resident() - before) / MIB, "peak_rss_mib": peak / MIB}


def _play_cycle(federation: Federation, cycle: int = 0) -> None:
    for round_index in cycle_of_rounds(cycle):
        federation.play_round(round_index)


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize()


def anatomy(repetitions: int) -> dict[str, float]:
    """CPU milliseconds of what one site does in a round, one by one."""
    federation = build_federation(2)
    _play_cycle(federation)
    site, other = federation.sites.values()
    weights, experts = site.weights(), {other.name: other.weights()}
    sender, receiver = (Postbox(name, "rounds", "rounds") for name in federation.sites)

    def deliver() -> None:
        message = sender.seal(0, "weights", other.name, weights)
        receiver.open(message, 0, "weights", frozenset({site.name}), site.shapes)

    return {
        "five_steps": _median_ms(lambda: site.train_locally(0), repetitions),
        "snapshot_for_undo": _median_ms(site.state, repetitions),
        "message_sealed_and_opened": _median_ms(deliver, repetitions),
        "similarity_of_an_expert": _median_ms(lambda: site.similarity(experts, 0), repetitions),
        "average_over_rounds": _median_ms(site.finish_round, repetitions),
    }


def _median_ms(action: Callable[[], object], repetitions: int) -> float:
    taken = []
    for _ in range(repetitions):
        started = time.process_time()
        action()
        taken.append(time.process_time() - started)
    return 1e3 * statistics.median(taken)


def versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "threads": str(torch.get_num_threads()),
        "cpus": str(os.cpu_count()),
    }


def measure(quick: bool) -> dict[str, dict[str, float]]:
    print(
        f"{'sites':>5} {'rounds/s':>9} {'ratio':>6} {'steps':>6} {'averaging':>10} {'expert':>7} "
        f"{'RSS added MiB':>14} {'RSS peak MiB':>13}"
    )
    table = {}
    for count in SITES:
        memory = measure_memory(count)
        row = compare(count, (QUICK_CYCLES if quick else CYCLES)[count]) | memory
        table[str(count)] = row
        print(
            f"{count:>5} {row['rounds_per_s']:>9.2f} "
            f"{row['ratio']:>6.3f} {row['share_of_steps']:>6.3f} "
            f"{row['ratio_averaging_round']:>10.3f} {row['ratio_expert_round']:>7.3f} "
            f"{row['rss_mib']:>14.1f} {row['peak_rss_mib']:>13.1f}",
            flush=True,
        )
    return table


def measure_flare(quick: bool) -> dict[str, float]:
    from _rounds_in_flare import seconds_a_round  # loads FLARE, which takes seconds

    row = seconds_a_round(RUN, rounds=6 if quick else 30)
    print(
        f"FLARE's simulator, 4 sites, wall: {row['seconds_per_round']:.3f} s a round and "
        f"{row['start_and_end_s']:.1f} s to start and end; in one process "
        f"{row['in_process_seconds_per_round']:.3f} s a round, state saved in both"
    )
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--flare", action="store_true", help="FLARE's simulator, too")
    parser.add_argument("--json", type=Path, help="where to write the numbers")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print("versions: " + ", ".join(f"{name} {value}" for name, value in versions().items()))
    table = measure(arguments.quick)
    parts = anatomy(20 if arguments.quick else 100)
    print(
        "CPU ms of one site: "
        + ", ".join(f"{n.replace('_', ' ')} {v:.2f}" for n, v in parts.items())
    )
    result = {
        **table,
        "flare_simulator": None,
        "more": {
            "expert_every": RUN.federation.expert_every,
            "cpu_ms": parts,
            "versions": versions(),
        },
    }
    _write(arguments.json, result)
    if arguments.flare:
        _write(arguments.json, result | {"flare_simulator": measure_flare(arguments.quick)})


def _write(path: Path | None, result: dict[str, object]) -> None:
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""What a round costs over FLARE, next to the same round in one process.

    python tests/benchmarks/flare_round.py [--quick] [--only SIZE:SITES:WAY ...] [--json PATH]

Really provisioned sites on this machine: FLARE's own kits and scripts, certificates, every message
signed, encrypted from end to end and relayed by the server. ``plain`` are the default sums in
pairs, ``secure`` is ``privacy.secagg`` over a grid; both are encrypted. Models of about 1, 10 and
86 million parameters. Rounds alternate between averaging and experts, and the medians of both kinds
count equally; the first round of each kind is not counted, in which connections are made.

A site's own work in a round lasts ``--local-s`` seconds, in expert rounds half of it for the other
site's model: few real steps, and then it rests, since sites have machines of their own and share
two cores here. The rest is real: copies, digests, masks, signatures, encryption, relay, state on
the disk. ``process_s`` is the same round in one process with a clock for each site and a network
that costs nothing (``_round_in_process.py``), ``ratio`` is ``flare_s / process_s``. So what the
sites' processes take from each other on these cores, and what else this machine does, counts
against FLARE.

``bytes`` are those of a round's messages, all of which the server relays; ``memory_mib`` is the
largest USS of a job's processes at the server and, as the median, at a site.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import nvflare
import torch
import yaml

sys.path.insert(0, str(Path(__file__).parent))
from _provisioned_rounds import SERVER, SteadyFederation, play_in_flare
from _round_in_process import Clocks, play_in_process
from _round_task import KINDS, MODELS, WAYS, fits, names_of, settings, write_sites
from _steady import steady

from fedefm.config import RunConfig

SITES = (4, 8)
LEFT_OUT = {("86M", 4), ("86M", 8)}  # a site takes up to 8 GB of memory; 86M:2:plain fits in 24
LOCAL_S, ROUNDS = 10.0, 6
QUICK = [("1M", 2, "plain")]
QUICK_LOCAL_S, QUICK_ROUNDS = 0.5, 4
Case = tuple[str, int, str]  # size of the model, sites, way of adding up
Rounds = dict[str, list[dict[str, float]]]


def measure(
    cases: Sequence[Case], local_s: float, rounds: int, wire: str, keep: Any
) -> dict[str, Any]:
    """A row for each case. One federation serves all cases with as many sites."""
    found: dict[str, Any] = {}
    clocked: list[Clocks] = []
    steady(fits(local_s), lambda seconds: clocked[0].rest(seconds))
    for count in sorted({count for _, count, _ in cases}):
        with tempfile.TemporaryDirectory() as name, _started(Path(name), count, local_s) as there:
            for size, _, way in [case for case in cases if case[1] == count]:
                asked = settings(size, way, rounds, wire)
                flare = play_in_flare(there, asked)
                alone = play_in_process(
                    RunConfig.model_validate(asked), there.sites_folder, Path(name) / "p", clocked
                )
                row = _row(alone, flare)
                found.setdefault(size, {}).setdefault(str(count), {})[way] = row
                _print_row((size, count, way), row)
                keep(size, str(count), way, row)
    return found


def _started(folder: Path, count: int, local_s: float) -> SteadyFederation:
    sites = write_sites(folder / "sites", count)
    for site in names_of(count):
        known = {"datasets": {"pretraining": {"manifest": "manifest.csv"}}}
        (sites / site / "fedefm_site.yaml").write_text(yaml.safe_dump(known))
    federation = SteadyFederation(folder / "federation", sites, names_of(count))
    federation.fits = fits(local_s)
    try:
        federation.provision()
        federation.start()
        federation.be("lead@hub.org")
        federation.wait_ready()
    except BaseException:
        federation.shutdown()
        raise
    return federation


def _row(alone: Rounds, flare: dict[str, Any]) -> dict[str, Any]:
    rounds, memory = flare["rounds"], flare["memory_mib"]
    kinds = {
        kind: {
            "process_s": _median(alone[kind], "seconds"),
            "flare_s": _median(rounds[kind], "seconds"),
            "bytes": round(_median(rounds[kind], "bytes")),
            "flare_rounds_s": [round(each["seconds"], 2) for each in rounds[kind]],
        }
        for kind in KINDS
    }
    process_s = statistics.mean(kind["process_s"] for kind in kinds.values())
    flare_s = statistics.mean(kind["flare_s"] for kind in kinds.values())
    return {
        "process_s": round(process_s, 3),
        "flare_s": round(flare_s, 3),
        "ratio": round(flare_s / process_s, 3),
        "bytes": round(statistics.mean(kind["bytes"] for kind in kinds.values())),
        "rounds": kinds,
        "memory_mib": {
            "site": round(statistics.median(v for n, v in memory.items() if n != SERVER)),
            "server": round(memory[SERVER]),
        },
        **{name: round(value, 1) for name, value in flare.items() if name.endswith("_s")},
        "load": [round(value, 1) for value in os.getloadavg()],
    }


def _median(rounds: list[dict[str, float]], what: str) -> float:
    """Without the first, which makes connections and warms caches."""
    return statistics.median(each[what] for each in rounds[1:])


def _print_head() -> None:
    print(
        f"{'model':>5} {'sites':>5} {'sums':>7} {'process s':>9} {'FLARE s':>8} {'ratio':>6} "
        f"{'averaging':>9} {'expert':>7} {'MB relayed':>10} {'MiB a site':>10} "
        f"{'start s':>8} {'end s':>6} {'load':>5}"
    )


def _print_row(case: Case, row: dict[str, Any]) -> None:
    size, count, way = case
    ratios = [row["rounds"][kind]["flare_s"] / row["rounds"][kind]["process_s"] for kind in KINDS]
    print(
        f"{size:>5} {count:>5} {way:>7} {row['process_s']:>9.2f} {row['flare_s']:>8.2f} "
        f"{row['ratio']:>6.2f} {ratios[0]:>9.2f} {ratios[1]:>7.2f} {row['bytes'] / 1e6:>10.1f} "
        f"{row['memory_mib']['site']:>10} {row['submit_to_first_round_s']:>8.1f} "
        f"{row['last_round_to_finished_s']:>6.1f} {row['load'][0]:>5.1f}",
        flush=True,
    )


def versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "nvflare": nvflare.__version__,
        "threads": os.environ["OMP_NUM_THREADS"],
        "cpus": str(os.cpu_count()),
    }


def all_cases() -> list[Case]:
    return [
        (size, count, way)
        for count in SITES
        for size in MODELS
        for way in WAYS
        if (size, count) not in LEFT_OUT
    ]


def read_case(text: str) -> Case:
    size, count, way = text.split(":")
    if size not in MODELS or way not in WAYS:
        raise argparse.ArgumentTypeError(f"{text!r} is not SIZE:SITES:WAY, as 10M:4:secure")
    return size, int(count), way


def keeper(path: Path | None, more: dict[str, Any]) -> Any:
    """Adds each row to the file at once, so that a benchmark can be taken in pieces."""

    def keep(size: str, count: str, way: str, row: dict[str, Any]) -> None:
        if path is None:
            return
        record = json.loads(path.read_text()) if path.exists() else {}
        record.setdefault(size, {}).setdefault(count, {})[way] = row
        record["more"] = more
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record, indent=1) + "\n")

    return keep


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="two sites, a small model")
    parser.add_argument("--only", type=read_case, nargs="+", help="such as 10M:4:secure")
    parser.add_argument("--local-s", type=float, help="a site's own work in a round")
    parser.add_argument("--rounds", type=int, help="of a run")
    parser.add_argument("--wire", default="float32", help="federation.wire of the runs")
    parser.add_argument("--json", type=Path, help="where to write the numbers; rows are added")
    options = parser.parse_args()
    cases = options.only or (QUICK if options.quick else all_cases())
    local_s = options.local_s or (QUICK_LOCAL_S if options.quick else LOCAL_S)
    rounds = options.rounds or (QUICK_ROUNDS if options.quick else ROUNDS)
    print("versions: " + ", ".join(f"{name} {value}" for name, value in versions().items()))
    print(f"local work {local_s:g} s a round, {rounds} rounds, wire {options.wire}")
    _print_head()
    more = {"local_s": local_s, "rounds": rounds, "wire": options.wire, "versions": versions()}
    measure(cases, local_s, rounds, options.wire, keeper(options.json, more))


if __name__ == "__main__":
    main()

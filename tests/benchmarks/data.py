"""How fast images come in, are fed to training, and are simulated; each beside a peer, with memory.

*Ingest* of generated exports with one process and with two, beside a loop of pydicom and Pillow,
and beside two such loops at once, each with half of the files: what two cores of this machine give.
10,000 frames are ingested once as a whole, and once stopped by Ctrl-C half way and continued.
*Loader*: what making a batch takes over what the training step takes that it feeds, with the model
and the batches of ``fedefm demo``, beside PyTorch's DataLoader. *Simulator*: CPU time of a frame.

Everything runs in processes of its own, in turn; figures are medians. ``others`` is how many cores
were busy with something else meanwhile, whichever way had most of it. The speed-up by CPU time is
what it says where the clock cannot: one process' CPU time over that of the two's longest way, which
is all that the first process does and half of what its workers do.

``python tests/benchmarks/data.py [--quick] [--only ingest long loader simulator] [--json PATH]``
"""

import argparse
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import PIL
import psutil
import pydicom
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
from _data_loader import KINDS, TRAININGS
from _data_sources import DISTINCT, Kind, dicom, kinds
from _watched import Run, in_turn, load, median, python, watched

from fedefm.data.simulated import write_dataset

SIDE = 512  # pixels of an ingested frame
SIMULATED = 256  # pixels
GOAL_S = 0.08  # of a simulated frame
DECODING = ("decoding_s_per_frame", "decoding_cpu_s_per_frame")
PARTS = ("ingest", "long", "loader", "simulator")
MADE_OF = {"demo, pre-training": 64, "tiles of 128 of 512 px": 512}  # pixels of the files


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    frames: int = 720  # of each kind of source
    long: int = 10_000
    side: int = SIDE
    repeats: int = 3
    steps: int = 30  # of training
    patients: int = 30  # of each kind of simulated image to train on
    simulated: int = 25  # frames of each kind
    sources: tuple[str, ...] = tuple(kind.name for kind in kinds(1))
    trainings: tuple[str, ...] = tuple(TRAININGS)


DEMO = ("demo, pre-training", "demo, fine-tuning")
QUICK = Size(
    frames=16,
    long=64,
    side=128,
    repeats=1,
    steps=3,
    patients=3,
    simulated=1,
    sources=("runs, JPEG-LS", "PNG folder, as it is"),
    trainings=DEMO,
)


def ingest(size: Size, work: Path) -> dict[str, Any]:
    """Every kind of source, by frames a second."""
    print(f"ingest of {size.frames} frames of {size.side} px, frames a second of the clock")
    heads = ("1 process", "2", "speed-up", "by CPU", "loop", "2 loops", "speed-up", "over loop",
             "MiB 1, 2", "loop MiB", "CPU ms", "loop", "others")  # fmt: skip
    print(f"{'':26}" + "".join(f"{head:>11}" for head in heads))
    table = {}
    for kind in (kind for kind in kinds(size.frames) if kind.name in size.sources):
        with scratch(work) as folder:
            kind.write(folder / "source", kind.files, kind.frames, size.side)
            row = table[kind.name] = _ingest_row(kind, folder, size.repeats)
        cells = [f"{row[key]:.1f}" for key in ("one_per_s", "two_per_s")]
        cells += [f"{row['speed_up']:.2f}", f"{row['speed_up_by_cpu']:.2f}"]
        cells += [f"{row['loop_per_s']:.1f}", f"{row['loops_per_s']:.1f}"]
        cells += [f"{row['loops_speed_up']:.2f}", f"{row['over_loop']:.2f}"]
        cells += [f"{row['one_peak_mib']:.0f}, {row['two_peak_mib']:.0f}"]
        cells += [f"{row['loop_peak_mib']:.0f}", f"{row['one_cpu_ms']:.1f}"]
        cells += [f"{row['loop_cpu_ms']:.1f}", f"{row['others']:.2f}"]
        print(f"{kind.name:26}" + "".join(f"{cell:>11}" for cell in cells), flush=True)
    return table


def _ingest_row(kind: Kind, folder: Path, repeats: int) -> dict[str, float]:
    def once(way: str, *numbers: int) -> Run:
        with scratch(folder) as out:
            run = watched(command(way, out / "out", *numbers))
            if run.said["frames"] != kind.total // (numbers[1] if way == "loop" else 1):
                raise RuntimeError(f"{way} took {run.said['frames']} of {kind.total} frames")
            return run

    def command(way: str, out: Path, *numbers: int) -> list[str]:
        source = folder / "source"
        return python("_data_ingest.py", way, source, out, kind.convert, *numbers)

    def two_loops() -> Run:
        with scratch(folder) as out:
            both = [command("loop", out / str(k), k, 2) for k in (0, 1)]
            return watched(python("_data_together.py", json.dumps(both)))

    _refuse_other_pictures(kind, folder, command)
    runs = in_turn(
        {
            "one": lambda: once("ours", 1),
            "two": lambda: once("ours", 2),
            "loop": lambda: once("loop", 0, 1),
            "loops": two_loops,
        },
        repeats,
    )
    row = {f"{way}_per_s": kind.total / median(some, "seconds") for way, some in runs.items()}
    row |= {f"{way}_cpu_ms": 1e3 * median(some, "cpu_s") / kind.total for way, some in runs.items()}
    row |= {f"{way}_peak_mib": statistics.median(r.peak_mib for r in s) for way, s in runs.items()}
    alone = 1e3 * median(runs["two"], "own_cpu_s") / kind.total
    return row | {
        "frames": kind.total,
        "speed_up": row["two_per_s"] / row["one_per_s"],
        "speed_up_by_cpu": row["one_cpu_ms"] / (alone + (row["two_cpu_ms"] - alone) / 2),
        "loops_speed_up": row["loops_per_s"] / row["loop_per_s"],
        "over_loop": row["one_per_s"] / row["loop_per_s"],
        "others": max(map(load, runs.values())),
    }


def _refuse_other_pictures(kind: Kind, folder: Path, command: Callable[..., list[str]]) -> None:
    """Raises where ours and the loop do not write the same pictures: then speeds say nothing."""
    with scratch(folder) as out:
        watched(command("ours", out / "ours", 1), memory=False)
        watched(command("loop", out / "loop", 0, 1), memory=False)
        own = sorted((out / "ours" / "images").rglob("*.png"))
        theirs = sorted((out / "loop").glob("*.png"))
        for pair in list(zip(own, theirs, strict=True))[:: max(1, len(own) // 20)]:
            one, other = (np.asarray(Image.open(path)).astype(int) for path in pair)
            if abs(one - other).max() > 1:
                raise RuntimeError(f"{kind.name}: {pair[0].name} differs from the loop's")


def long_ingest(size: Size, work: Path) -> dict[str, Any]:
    """Many frames at once by the command, as a whole and stopped half way."""
    frames = min(100, size.long // 2)
    with scratch(work) as folder:
        dicom("JPEG-LS")(folder / "source", size.long // frames, frames, size.side)
        source, whole, stopped = (folder / name for name in ("source", "whole", "stopped"))
        command = [sys.executable, "-m", "nvflare_jobs.cli", "data", "ingest", str(source)]
        done = watched([*command, str(whole), "--json", "--processes", "2"])
        key = ["--key", str(whole / ".pseudonym_key"), "--processes", "2"]
        begun, halted_s, kept = _stopped_half_way(
            [*command, str(stopped), *key], stopped, size.long
        )
        rest = watched([*command, str(stopped), "--json", "--resume", *key])
        manifests = [(path / "manifest.csv").read_bytes() for path in (whole, stopped)]
        if manifests[0] != manifests[1]:
            raise RuntimeError("the manifest of the continued ingest is another one")
    found = {
        "frames": size.long,
        "ingest_frames_per_s": size.long / done.seconds,
        "seconds": done.seconds,
        "cpu_s": done.cpu_s,
        "peak_mib": done.peak_mib,
        "others": max(done.others, rest.others),
        "frames_kept_at_ctrl_c": kept,
        "s_until_ctrl_c": begun,
        "s_from_ctrl_c_to_end": halted_s,
        "s_of_the_rest": rest.seconds,
        "stopped_over_whole": (begun + halted_s + rest.seconds) / done.seconds,
        "peak_mib_of_the_rest": rest.peak_mib,
    }
    print(
        f"\n{size.long} frames (JPEG-LS, {frames} in a file) by two processes: "
        f"{found['ingest_frames_per_s']:.1f} a second, {done.peak_mib:.0f} MiB; stopped by Ctrl-C "
        f"with {kept} done, which took {halted_s:.1f} s, and continued: "
        f"{found['stopped_over_whole']:.2f} of the time in all; others {found['others']:.2f}",
        flush=True,
    )
    return found


def _stopped_half_way(command: Sequence[str], out: Path, frames: int) -> tuple[float, float, int]:
    """Seconds until Ctrl-C and from it to the end, and the frames that were kept."""
    pictures = out.parent / f".{out.name}-unfinished" / "images"
    started = time.perf_counter()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background has it
    running = subprocess.Popen(command, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    signal.signal(signal.SIGINT, before)  # ignored, and what it starts would not hear it
    while running.poll() is None and _files(pictures) < frames // 2:
        time.sleep(0.05 if frames < 1000 else 1)
    running.send_signal(signal.SIGINT)
    begun = time.perf_counter()
    if running.wait() != 130:
        raise RuntimeError("the ingest was over before Ctrl-C")
    return begun - started, time.perf_counter() - begun, _files(pictures)


def _files(folder: Path) -> int:
    return sum(len(names) for _, _, names in os.walk(folder))


def loader(size: Size, work: Path) -> dict[str, Any]:
    """Seconds of a batch over those of the step that it feeds."""
    cores = os.cpu_count() or 1
    print(f"\nbatches, and the steps that they feed, {cores} threads")
    heads = ("batch ms", "step ms", "ratio", "decoded, too", "MiB", "plain", "MiB", "workers",
             "both: plain", "workers", "others")  # fmt: skip
    print(f"{'':26}" + "".join(f"{head:>13}" for head in heads))
    table = {}
    for name in size.trainings:
        with scratch(work) as folder:
            side, home = MADE_OF.get(name, TRAININGS[name].size), folder / "set"
            write_dataset(home, KINDS, size.patients, 1, side, 1)
            row = table[name] = _loader_row(home / "manifest.csv", name, size, cores)
        cells = [f"{1e3 * row['batch_s']:.1f}", f"{1e3 * row['step_s']:.0f}"]
        cells += [f"{row['loader_over_step']:.3f}", f"{row['with_decoding']:.3f}"]
        cells += [f"{row['peak_mib']:.0f}", f"{row['plain_loader_over_step']:.3f}"]
        cells += [f"{row['plain_peak_mib']:.0f}", f"{row['workers_loader_over_step']:.3f}"]
        cells += [f"{row[f'{way}_over_ours']:.2f}" for way in ("plain", "workers")]
        cells += [f"{row['others']:.2f}"]
        print(f"{name:26}" + "".join(f"{cell:>13}" for cell in cells), flush=True)
    return table


def _loader_row(manifest: Path, name: str, size: Size, cores: int) -> dict[str, float]:
    def one(way: str) -> Callable[[], Run]:
        command = python("_data_loader.py", manifest, name, way, size.steps, cores)
        return lambda: watched(command)

    runs = in_turn({way: one(way) for way in ("ours", "plain", "workers")}, size.repeats)
    own = runs["ours"]
    keys = ("batch_s", "step_s", "batch_cpu_s", "step_cpu_s", "loader_over_step", "both_s")
    row = {key: median(own, key) for key in keys}
    row |= {key: median(own, key) for key in (*DECODING, "with_decoding")}
    row["peak_mib"] = statistics.median(run.peak_mib for run in own)
    for way in ("plain", "workers"):
        row |= {f"{way}_{key}": median(runs[way], key) for key in keys}
        row[f"{way}_over_ours"] = row[f"{way}_both_s"] / row["both_s"]
        row[f"{way}_peak_mib"] = statistics.median(run.peak_mib for run in runs[way])
    return row | {"others": max(map(load, runs.values()))}


def simulator(size: Size) -> dict[str, Any]:
    """CPU seconds of a frame on one core."""
    command = python("_data_simulator.py", SIMULATED, size.simulated)
    runs = in_turn({"ours": lambda: watched(command)}, size.repeats)["ours"]
    seconds = median(runs, "simulate_s_per_frame")
    found = {
        "simulate_s_per_frame": seconds,
        "cpu_s_by_kind": {kind: median(runs, kind) for kind in KINDS},
        "over_numpy_work": median(runs, "over_numpy_work"),
        "peak_mib": statistics.median(run.peak_mib for run in runs),
        "others": load(runs),
    }
    print(
        f"\nsimulator: {seconds:.3f} s of CPU a {SIMULATED} px frame (goal {GOAL_S}), "
        f"{found['over_numpy_work']:.2f} of the fixed NumPy work, {found['peak_mib']:.0f} MiB"
    )
    return found


@contextmanager
def scratch(folder: Path) -> Iterator[Path]:
    """A folder that is gone afterwards."""
    inner = Path(tempfile.mkdtemp(dir=folder))
    try:
        yield inner
    finally:
        shutil.rmtree(inner)


def main() -> None:
    """Measure, print the tables, write JSON where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="few small frames, within a minute")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="keep the others")
    parser.add_argument("--work", type=Path, help="where the sources are generated; some GB")
    parser.add_argument("--json", type=Path, help="where to write the numbers")
    arguments = parser.parse_args()
    size = QUICK if arguments.quick else Size()
    if arguments.work:
        arguments.work.mkdir(parents=True, exist_ok=True)
    measures: dict[str, Callable[[Path], dict[str, Any]]] = {
        "ingest": lambda work: ingest(size, work),
        "long": lambda work: long_ingest(size, work),
        "loader": lambda work: loader(size, work),
        "simulator": lambda work: simulator(size),
    }
    for part in arguments.only:
        with tempfile.TemporaryDirectory(dir=arguments.work) as folder:
            result = {part: measures[part](Path(folder))}
        if arguments.json:
            _write(arguments.json, result, size)


def _write(path: Path, result: dict[str, Any], size: Size) -> None:
    """What was measured now, and what the file has of other parts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    known = json.loads(path.read_text()) if path.exists() else {}
    kept = {part: known[part] for part in PARTS if part in known}
    path.write_text(json.dumps(summary(kept | result, size), indent=1) + "\n")


def summary(result: dict[str, Any], size: Size) -> dict[str, Any]:
    """The figures of record, all that was measured, and with what."""
    demo = [result["loader"][name]["loader_over_step"] for name in DEMO if "loader" in result]
    record = {
        "simulate_s_per_frame": result.get("simulator", {}).get("simulate_s_per_frame"),
        "ingest_frames_per_s": result.get("long", {}).get("ingest_frames_per_s"),
        "loader_over_step": max(demo, default=None),
    }
    return {
        **record,
        **result,
        "command": "python " + " ".join(sys.argv),
        "frame_px": size.side,
        "distinct_frames": DISTINCT,
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "torch": torch.__version__,
            "pydicom": pydicom.__version__,
            "pillow": PIL.__version__,
        },
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
    }


if __name__ == "__main__":
    main()

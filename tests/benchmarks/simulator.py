"""Real against simulated fluoroscopy: gray levels, noise, devices; and how fast a frame is made.

``--real`` names a folder of real runs (DICOM or other files with many frames); without it, only the
simulator is measured. ``--device 2:260,12:182,149`` says between which points (x,y in pixels) of
which frame a catheter lies in the first real run. ``--prototype`` is a script with a function
``frame(seed, size)`` to compare the speed with.

``python tests/benchmarks/simulator.py [--real DIR] [--json PATH] [--figure PATH] [--look PATH]``
"""

import argparse
import ast
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy
from _simulator_frames import (
    GRAYS,
    SIZE,
    Device,
    Measured,
    as_json,
    halved,
    measure,
    real_device,
    real_runs,
    simulated_devices,
    simulated_runs,
)

from fedefm.data.fluoroscopy import DOMAINS, simulate_frame
from fedefm.data.xray_sequence import Sequence


def table(rows: list[Measured]) -> None:
    """Gray levels and noise, a row for each kind."""
    bins = " ".join(f"{f'{low}-{high}':>11}" for low, high in GRAYS)
    print("noise: all, then without what moves, by gray level; correlation at 1, 2, 3 px")
    print(f"{'':26} {'mean':>5} {'std':>4} {'p1':>4} {'p99':>4} {bins}  Immerkaer  correlation")
    for row in rows:
        noise = " ".join(f"{rms:5.2f} {median:5.2f}" for rms, median in row.noise)
        lags = " ".join(f"{value:.2f}" for value in row.correlation[1:4])
        first, *_, last = row.levels.percentiles
        levels = f"{row.levels.mean:5.0f} {row.levels.std:4.0f} {first:4.0f} {last:4.0f}"
        print(f"{row.name:26} {levels} {noise} {row.single_frame:10.1f}  {lags}")


def device_table(devices: dict[str, list[Device]]) -> None:
    """Contrast and width of devices."""
    print(f"\n{'':26} {'device':>10} {'ln(bg/min)':>11} {'width, px at 300':>17}")
    for name, found in devices.items():
        for device in found:
            print(f"{name:26} {device.name:>10} {device.contrast:11.2f} {device.width:17.1f}")


def speed(frames: int, prototype: Path | None) -> dict[str, Any]:
    """CPU seconds a frame, interleaved with a fixed piece of NumPy work and the prototype."""
    peers: dict[str, Callable[[int], object]] = {
        name: lambda index, name=name: simulate_frame(name, 5, index, SIZE) for name in DOMAINS
    }
    runs = {name: Sequence(name, 5, 0, SIZE) for name in ("cardiac", "neuro_dsa")}
    peers |= {f"sequence of {name}": run.frame for name, run in runs.items()}
    peers["numpy"] = _fixed_work
    if prototype is not None:
        draw = _function_of(prototype, "frame")
        peers["prototype"] = lambda index: draw(index, SIZE)
    spent: dict[str, list[float]] = {name: [] for name in peers}
    for index in range(frames):
        for name, work in peers.items():
            if name == "prototype" and index >= max(3, frames // 4):
                continue  # ten times as slow
            started = time.process_time()
            work(index)
            spent[name].append(time.process_time() - started)
    medians = {name: statistics.median(values) for name, values in spent.items()}
    drawn = [value for name in DOMAINS for value in spent[name]]
    return {
        "simulate_s_per_frame": statistics.median(drawn),
        "over_numpy_work": statistics.median(drawn) / medians["numpy"],
        "prototype_over_ours": medians["prototype"] / statistics.median(drawn)
        if prototype
        else None,
        "cpu_s_by_kind": medians,
        "frames": len(drawn),
    }


def _fixed_work(index: int) -> object:
    """Twenty transforms of 512 x 512: what a machine's speed is told by."""
    image = np.random.default_rng(index).random((512, 512))
    for _ in range(20):
        image = np.abs(np.fft.fft2(image))
        image /= image.max()
    return image


def _function_of(script: Path, name: str) -> Callable[[int, int], object]:
    """A function of a script, without running the rest of the script."""
    tree = ast.parse(script.read_text(encoding="utf-8"))
    kept = (ast.Import, ast.ImportFrom, ast.FunctionDef)
    tree.body = [part for part in tree.body if isinstance(part, kept)]
    space: dict[str, Any] = {}
    exec(compile(tree, str(script), "exec"), space)
    found: Callable[[int, int], object] = space[name]
    return found


def _points(text: str) -> tuple[int, tuple[float, float], tuple[float, float]]:
    frame, start, end = text.split(":")
    (a, b), (c, d) = (tuple(float(v) for v in point.split(",")) for point in (start, end))
    return int(frame), (a, b), (c, d)


def main() -> None:
    """Measure, print the tables, write and draw where asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--real", type=Path, help="a folder of real runs")
    parser.add_argument("--device", type=_points, help="FRAME:X,Y:X,Y, ends of a real catheter")
    parser.add_argument("--prototype", type=Path, help="a script to compare the speed with")
    parser.add_argument("--quick", action="store_true", help="fewer runs, within a minute")
    parser.add_argument("--json", type=Path, help="write the results here")
    parser.add_argument("--figure", type=Path, help="draw the curves here")
    parser.add_argument("--look", type=Path, help="draw frames here; holds real ones where given")
    arguments = parser.parse_args()
    runs, frames = (3, 5) if arguments.quick else (12, 9)

    if arguments.real and not arguments.real.is_dir():
        parser.error(f"{arguments.real} is no folder; name one with real runs, or leave --real out")
    real = real_runs(arguments.real) if arguments.real else {}
    if not real:
        where = f"{arguments.real} holds none" if arguments.real else "no --real folder was named"
        print(f"left out: real frames, and the comparison with them ({where})")
    real_rows = [
        measure(name + suffix, [each])
        for name, stack in real.items()
        for suffix, each in (("", stack), (", 2 x 2 binned", halved(stack)))
    ]
    drawn = {domain: simulated_runs(domain, runs, frames) for domain in DOMAINS}
    rows = [measure(domain, found) for domain, found in drawn.items()]
    table([*real_rows, *rows])

    devices: dict[str, list[Device]] = {}
    if real and arguments.device:
        name, stack = next(iter(real.items()))
        devices[name] = [real_device(stack, *arguments.device)]
    elif real:
        print("left out: the device in the real frames (--device was not named)")
    devices |= {domain: simulated_devices(domain, 2 * runs) for domain in DOMAINS}
    device_table(devices)

    took = speed(3 if arguments.quick else 25, arguments.prototype)
    print(f"\n{took['simulate_s_per_frame']:.3f} s of CPU a {SIZE} px frame, "
          f"{took['over_numpy_work']:.2f} of the fixed NumPy work")  # fmt: skip
    if took["prototype_over_ours"]:
        print(f"the prototype takes {took['prototype_over_ours']:.1f} times as long")
    if arguments.figure or arguments.look:
        from _simulator_figure import draw, draw_frames

        if arguments.figure:
            draw(real_rows, rows, devices, arguments.figure)
        if arguments.look:
            draw_frames(real, drawn, arguments.look)
    if arguments.json:
        result = {
            "command": "python " + " ".join(sys.argv),
            **took,
            "kinds": {row.name: as_json(row) for row in [*real_rows, *rows]},
            "devices": {
                name: {
                    device.name: {"ln_contrast": device.contrast, "width_px_at_300": device.width}
                    for device in found
                }
                for name, found in devices.items()
            },
            "gray_levels": GRAYS,
            "versions": {
                "python": platform.python_version(),
                "numpy": np.__version__,
                "scipy": scipy.__version__,
            },
            "threads": int(os.environ.get("OMP_NUM_THREADS", "0")) or None,
            "cores": os.cpu_count(),
        }
        arguments.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()

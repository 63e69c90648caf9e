"""Simulated frames in a process of their own, so that its memory is theirs.

``python _data_simulator.py PIXELS FRAMES`` prints CPU seconds of a frame, as JSON: the median over
all, that of each kind, and the first in units of a fixed piece of NumPy work.
"""

import json
import statistics
import sys
import time

import numpy as np

from fedefm.data.fluoroscopy import DOMAINS, simulate_frame


def main() -> None:
    side, frames = map(int, sys.argv[1:])
    spent: dict[str, list[float]] = {name: [] for name in (*DOMAINS, "numpy")}
    for index in range(-1, frames):  # the first of each kind is not counted
        for name, seconds in spent.items():
            started = time.process_time()
            if name == "numpy":
                fixed_work(index + 1)
            else:
                simulate_frame(name, 5, index + 1, side)
            if index >= 0:
                seconds.append(time.process_time() - started)
    drawn = statistics.median(second for name in DOMAINS for second in spent[name])
    found = {name: statistics.median(seconds) for name, seconds in spent.items()}
    found |= {"simulate_s_per_frame": drawn, "over_numpy_work": drawn / found["numpy"]}
    print(json.dumps(found))


def fixed_work(index: int) -> None:
    """Twenty transforms of 512 x 512: what a machine's speed is told by."""
    image = np.random.default_rng(index).random((512, 512))
    for _ in range(20):
        image = np.abs(np.fft.fft2(image))
        image /= image.max()


if __name__ == "__main__":
    main()

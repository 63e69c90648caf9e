import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fedefm.data.file_pool import finished


def squared(task: int) -> int:
    return task * task


def crashing(task: int) -> int:
    if task in (3, 7):
        os.abort()
    return task * task


def failing(task: int) -> int:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("processes", [1, 2])
def test_every_task_is_done_once(processes: int) -> None:
    results = finished(squared, range(20), processes, lambda task: -1)
    assert sorted(results) == [n * n for n in range(20)]


def test_a_crash_costs_no_task_but_its_own() -> None:
    results = list(finished(crashing, range(12), 2, lambda task: -task))
    assert sorted(results) == sorted([n * n for n in range(12) if n not in (3, 7)] + [-3, -7])


def test_what_the_work_raises_is_raised() -> None:
    with pytest.raises(OSError, match="No space"):
        list(finished(failing, range(5), 2, lambda task: -1))


LOADING = """
import time
from pathlib import Path
from fedefm.data.file_pool import finished

if __name__ == "__mp_main__":  # a worker
    Path("loading").touch()
    time.sleep(1)
if __name__ == "__main__":
    try:
        list(finished(time.sleep, [0.1] * 50, 2, lambda task: None))
    except KeyboardInterrupt:
        print("stopped")
"""


@pytest.mark.usefixtures("ctrl_c_is_heard")
def test_workers_that_still_load_are_silent_on_ctrl_c(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(LOADING)
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "script.py"],
        cwd=tmp_path,
        stdout=pipe,
        stderr=pipe,
        start_new_session=True,
    ) as running:
        while not (tmp_path / "loading").exists() and running.poll() is None:
            time.sleep(0.01)
        os.killpg(running.pid, signal.SIGINT)  # as a terminal does: to workers, too
        said, faults = running.communicate(timeout=60)
    assert (said, faults) == (b"stopped\n", b"")

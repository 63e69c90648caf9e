"""One job at a time has a run's state at a site: two with one run name would undo each other's.

The state is found by the run's name, and names are not the jobs' own. So the training process holds
a lock as long as it lives, which the system frees however that ends.
"""

import fcntl
import time
from pathlib import Path
from typing import TextIO

from fedefm.errors import ConfigError

WAIT_S = 10.0  # for a process that dies, or lets go of its ledger
POLL_S = 0.1


def hold_run(state: Path, job: str) -> TextIO:
    """Let ``job`` alone have ``state``, until what this gives is closed or the process ends.

    The lock lies beside the folder, where no clean-up of a run finds it. Raises ConfigError where
    another process has it still after ``WAIT_S``.
    """
    path = state.with_name(f".{state.name}.lock")  # no run's name begins with a dot
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.open("a+", encoding="utf-8")
    try:
        if not _taken(lock):
            raise ConfigError(
                f"run {state.name!r} is running here in {_holder(lock)}; wait for its end, "
                "abort it, or give this run another name"
            )
        lock.truncate(0)
        lock.write(f"{job}\n")
        lock.flush()
    except BaseException:
        lock.close()
        raise
    return lock


def _taken(lock: TextIO) -> bool:
    until = time.monotonic() + WAIT_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > until:
                return False
            time.sleep(POLL_S)


def _holder(lock: TextIO) -> str:
    """The job that has the lock; it may have said nothing yet."""
    lock.seek(0)
    job = lock.read().strip()
    return f"job {job}" if job else "another job"

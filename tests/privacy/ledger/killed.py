"""Runs one small job again and again, killed at its first, second, ... change of a file.

    LD_PRELOAD=killed.so python killed.py killed.so FOLDER HALFWAY

Each job has a folder of its own name, the number of the call it died at. It notes in ``taken``
what it is about to train, as soon as it may. The last job, which lived, is noted in ``lived``.
"""

import ctypes
import os
import sys
from pathlib import Path

from privacy.ledger import Budget, Dataset, Ledger, RunLabel
from privacy.mechanism import Mechanism

STEP = Mechanism(1.0, 0.1, 100, 30)
CHEST = Dataset("chest", "patient")
RUN = RunLabel("id", "first")
NO_CAP = Budget(None, 1e-5, "add_or_remove_one")


def job(folder: Path) -> None:
    notes = os.open(folder / "taken", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    with Ledger.open(folder / "ledger.db", "north", folder / "witness") as ledger:
        account = ledger.plan(CHEST, RUN, STEP, 8, NO_CAP)
        fit(account, 2, notes)
        account = ledger.plan(CHEST, RUN, STEP, 9, NO_CAP)
        fit(account, 3, notes)
        account.close()


def fit(account, steps: int, notes: int) -> None:
    reservation = account.reserve(steps)
    os.write(notes, b"." * steps)
    account.settle(reservation, steps)


def main(library: str, folder: Path, halfway: int) -> None:
    arm = ctypes.CDLL(library).arm
    for calls in range(1, 1000):
        place = folder / str(calls)
        place.mkdir()
        child = os.fork()
        if child == 0:
            arm(calls, halfway)
            job(place)
            arm(0, 0)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status == 0:
            (folder / "lived").write_text(str(calls))
            return
        assert os.WTERMSIG(status) == 9, status


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))

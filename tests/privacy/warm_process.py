"""Forks for each run of pytest, after the slow imports: a program, started by ``mutation.py``.

Each line of the standard input is one order, ``{"folder": ..., "arguments": [...]}``; each line of
the standard output is how pytest ended. Nothing of ``privacy`` is imported before the fork.
"""

import gc
import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

SLOW = (
    "dp_accounting.pld",
    "fedefm.data.dataset",
    "fedefm.train.exchange",
    "fedefm.train.objective",
    "fedefm.train.protection",
    "hypothesis",
    "nvflare.lighter.provisioner",
    "opacus.accountants",
    "opacus.grad_sample",
    "scipy.stats",
    "sympy.polys.matrices",
)


class Watcher:
    """Writes down which files of ``privacy`` the tests imported."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def pytest_sessionfinish(self) -> None:
        loaded = [
            module.__file__
            for name, module in list(sys.modules.items())
            if name.partition(".")[0] == "privacy" and getattr(module, "__file__", None)
        ]
        (self._folder / "loaded.json").write_text(json.dumps(loaded))


def run(folder: Path, arguments: list[str]) -> int:
    """Run pytest with ``folder`` first on the path, here and in processes that tests start."""
    os.chdir(folder)
    sys.path[0] = os.environ["PYTHONPATH"] = str(folder)  # in place of this program's own folder
    output = os.open(folder / "output.txt", os.O_WRONLY | os.O_CREAT)
    os.dup2(output, 1)
    os.dup2(output, 2)
    return int(pytest.main(arguments, plugins=[Watcher(folder)]))


def serve() -> None:
    """Until the input ends."""
    for name in SLOW:
        importlib.import_module(name)
    early = [name for name in sys.modules if name.partition(".")[0] == "privacy"]
    if early:
        raise RuntimeError(f"{early} were imported before any copy could be")
    gc.freeze()  # pytest collects garbage at its end, and need not look at what was there before
    for line in sys.stdin:
        order: dict[str, Any] = json.loads(line)
        child = os.fork()
        if child == 0:
            try:
                os._exit(run(Path(order["folder"]), order["arguments"]))
            finally:
                os._exit(99)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    serve()

"""Imported by each Python process of a benchmark's federation, whose PYTHONPATH has this folder.

Where a process trains (it imports ``fedefm.train.trainer``), its fits last ``BENCH_FIT_S`` seconds;
see ``_steady.py``. Other processes are left as they are, and load nothing more.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
import time
from pathlib import Path
from types import ModuleType

TRAINER, SECONDS = "fedefm.train.trainer", "BENCH_FIT_S"


class _AfterTrainer(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Lets the usual loader make the module, and then changes it."""

    def find_spec(
        self, name: str, path: object = None, target: object = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != TRAINER:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return spec
        self._usual, spec.loader = spec.loader, self
        return spec

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        return self._usual.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._usual.exec_module(module)
        sys.path.insert(0, str(Path(__file__).parent.parent))
        from _steady import steady

        steady([float(part) for part in os.environ[SECONDS].split(",")], time.sleep)


if os.environ.get(SECONDS):
    sys.meta_path.insert(0, _AfterTrainer())

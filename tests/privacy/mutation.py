"""Breaks a copy of the ``privacy`` package on purpose, and runs tests against the copy.

A test of privacy is worth something only if it fails where privacy is broken. The working tree is
never touched; the copy comes first on the path of a process of its own, which says itself that it
imported nothing of ``privacy`` from anywhere else.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGE = REPOSITORY / "privacy"
TESTS = REPOSITORY / "tests" / "privacy"
LIMIT_S = 120  # of one test


class Broken(Exception):
    """The mutant or its run is not what it should be, so that it shows nothing."""


@dataclass(frozen=True)
class Edit:
    """``old`` stands exactly once in ``file`` (within ``privacy``) and becomes ``new``."""

    file: str
    old: str
    new: str


@dataclass(frozen=True)
class Mutant:
    """One way to break a promise, and the tests (within ``tests/privacy``) that notice it."""

    name: str
    edits: tuple[Edit, ...]
    tests: tuple[str, ...]


def mutant(name: str, file: str, old: str, new: str, *tests: str) -> Mutant:
    """A mutant of one edit."""
    return Mutant(name, (Edit(file, old, new),), tests)


@dataclass(frozen=True)
class Outcome:
    """Names of the tests that ran, and of those that failed."""

    ran: tuple[str, ...]
    failed: tuple[str, ...]


class Laboratory:
    """A process of its own for each run, forked from one that has imported what is slow.

    To be closed, or used in a ``with``; one run at a time.
    """

    def __init__(self) -> None:
        # CI: the same examples each time; no bytecode: nothing is written beside the tests
        own = {"CI": "1", "PYTHONDONTWRITEBYTECODE": "1", "OMP_NUM_THREADS": "1"}
        given = {name: v for name, v in os.environ.items() if not name.startswith("PYTEST_")}
        self._process = subprocess.Popen(
            [sys.executable, str(TESTS / "warm_process.py")],
            env=given | own,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def caught_by(self, mutant: Mutant) -> tuple[str, ...]:
        """The tests that fail with ``mutant``: the first one, since the run ends there."""
        with a_copy() as folder:
            for edit in mutant.edits:
                apply(edit, folder / "privacy")
            return self._run(folder, mutant.tests, {edit.file for edit in mutant.edits}).failed

    def control(self, tests: Sequence[str]) -> Outcome:
        """The same tests against a copy in which nothing is changed."""
        with a_copy() as folder:
            return self._run(folder, tests, set())

    def close(self) -> None:
        """End the process."""
        self._process.communicate()

    def __enter__(self) -> "Laboratory":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _run(self, folder: Path, tests: Sequence[str], files: set[str]) -> Outcome:
        if not tests:
            raise Broken("no tests are named")
        order = {"folder": str(folder), "arguments": _arguments(folder, tests)}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps(order), file=self._process.stdin, flush=True)
        return _outcome(folder, self._process.stdout.readline().strip(), files)


def apply(edit: Edit, package: Path) -> None:
    """Make the edit. Raises Broken where it is not found exactly once, or is no Python."""
    path = package / edit.file
    if not path.is_file():
        raise Broken(f"there is no privacy/{edit.file}")
    source = path.read_text(encoding="utf-8")
    found = source.count(edit.old)
    if found != 1:
        raise Broken(f"privacy/{edit.file} holds {found} times, not once: {edit.old!r}")
    changed = source.replace(edit.old, edit.new)
    compile(changed, edit.file, "exec")
    path.write_text(changed, encoding="utf-8")


@contextmanager
def a_copy() -> Iterator[Path]:
    """A folder that holds a copy of the package."""
    with tempfile.TemporaryDirectory(prefix="fedefm-mutant-") as name:
        folder = Path(name).resolve()
        shutil.copytree(PACKAGE, folder / "privacy")
        yield folder


def _arguments(folder: Path, tests: Sequence[str]) -> list[str]:
    # without rewritten asserts and idle plugins: a run takes a quarter of the time
    quiet = ["-x", "-q", "--tb=short", "--assert=plain"]
    for plugin in ("cacheprovider", "xdist", "anyio"):
        quiet += ["-p", f"no:{plugin}"]
    place = ["-c", str(REPOSITORY / "pyproject.toml"), "--rootdir", str(REPOSITORY)]
    told = ["--junitxml", str(folder / "outcome.xml"), "--timeout", str(LIMIT_S)]
    return [*quiet, *place, *told, *(str(TESTS / test) for test in tests)]


def _outcome(folder: Path, ended: str, files: set[str]) -> Outcome:
    """What a run shows.

    Raises Broken where the copy was not what was imported, where the changed ``files`` were not
    imported at all, and where a test could not run, which is no proof of anything.
    """
    output = folder / "output.txt"
    said = output.read_text(errors="replace")[-4000:] if output.exists() else ""
    if ended not in ("0", "1"):
        raise Broken(f"pytest ended with {ended!r}:\n{said}")
    _require_copy(folder, files)
    cases = list(ElementTree.parse(folder / "outcome.xml").iter("testcase"))
    if any(case.find("error") is not None for case in cases):
        raise Broken(f"a test could not run:\n{said}")
    ran = tuple(_name(case) for case in cases if case.find("skipped") is None)
    if not ran:
        raise Broken(f"no test ran:\n{said}")
    return Outcome(ran, tuple(_name(case) for case in cases if case.find("failure") is not None))


def _require_copy(folder: Path, files: set[str]) -> None:
    loaded = {Path(name).resolve() for name in json.loads((folder / "loaded.json").read_text())}
    strangers = [path for path in loaded if not path.is_relative_to(folder)]
    if strangers or not loaded:
        raise Broken(f"privacy was imported from {strangers or 'nowhere'}, not from the copy")
    unused = [file for file in files if folder / "privacy" / file not in loaded]
    if unused:
        raise Broken(f"the tests never import privacy/{unused[0]}")


def _name(case: ElementTree.Element) -> str:
    return f"{case.get('classname', '').rpartition('.')[2]}::{case.get('name')}"

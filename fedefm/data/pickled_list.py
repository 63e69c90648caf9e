"""Old lists of images, pickled as ``[(path, label), ...]``, read without ever unpickling.

A pickle is a program; ``pickle.load`` runs whatever it says. Here its instructions are read with
the standard library's ``pickletools``, which executes nothing, and only those that build lists,
tuples, strings and whole numbers are followed. All else is refused.
"""

import csv
import io
import pickletools
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from fedefm.data.endless import refuse_endless
from fedefm.errors import DataError

LARGEST_BYTES = 64 * 1024 * 1024
MOST_STEPS = 5_000_000  # instructions: a list of some 900,000 images, half a minute
LARGEST_LABEL = 10**9
FORMULA = ("=", "+", "-", "@", "\t", "\r")  # a spreadsheet would run a cell that begins so

Entry = tuple[str, int]

STRINGS = {"UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"} | {
    "STRING",  # of Python 2, as are the next two
    "BINSTRING",
    "SHORT_BINSTRING",
}
NUMBERS = {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4"}
SIZED_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
NOTED = {"PUT", "BINPUT", "LONG_BINPUT"}
RECALLED = {"GET", "BINGET", "LONG_BINGET"}
IGNORED = {"PROTO", "FRAME"}


class _Machine:
    """The stack on which a pickle's instructions work, with none that could run code."""

    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.marks: list[int] = []  # heights of the stack
        self.memo: dict[int, Any] = {}

    def follow(self, name: str, argument: Any) -> None:
        """Raises ValueError, IndexError or KeyError where a pickle asks for what is not there."""
        if name in STRINGS or (name in NUMBERS and type(argument) is int):
            self.stack.append(argument)
        elif name in SIZED_TUPLES:
            self.stack.append(tuple(self._taken(len(self.stack) - SIZED_TUPLES[name])))
        elif name in NOTED:
            self.memo[argument] = self.stack[-1]
        elif name in RECALLED:
            self.stack.append(self.memo[argument])
        elif name in OTHERS:
            OTHERS[name](self)
        elif name not in IGNORED:
            raise _Refused(name)

    def append(self) -> None:
        value = self.stack.pop()
        self._list().append(value)

    def extend(self) -> None:
        values = self._taken(self.marks.pop())
        self._list().extend(values)

    def _list(self) -> list[Any]:
        if not isinstance(self.stack[-1], list):
            raise ValueError("appends to what is no list")
        return self.stack[-1]

    def _taken(self, height: int) -> list[Any]:
        if not (self.marks[-1] if self.marks else 0) <= height <= len(self.stack):
            raise ValueError("takes more than there is")
        values = self.stack[height:]
        del self.stack[height:]
        return values


OTHERS: dict[str, Callable[[_Machine], None]] = {
    "MARK": lambda machine: machine.marks.append(len(machine.stack)),
    "EMPTY_LIST": lambda machine: machine.stack.append([]),
    "LIST": lambda machine: machine.stack.append(machine._taken(machine.marks.pop())),
    "TUPLE": lambda machine: machine.stack.append(tuple(machine._taken(machine.marks.pop()))),
    "APPEND": _Machine.append,
    "APPENDS": _Machine.extend,
    "MEMOIZE": lambda machine: machine.memo.update({len(machine.memo): machine.stack[-1]}),
}


class _Refused(Exception):
    """An instruction that a list of paths and labels does not need."""


def read_pickled_list(path: Path) -> list[Entry]:
    """The paths and labels of an old list, in its order. Nothing in the file is executed.

    Raises DataError: a pickle of anything else, a broken or too large one, a path that leaves the
    list's folder, a label that is not a whole number from 0.
    """
    refuse_endless(path)
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise DataError(f"{path} is larger than 64 MiB; it is no list of images")
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    try:
        value = _value(content)
    except _Refused as refused:
        raise DataError(
            f"{path} asks for {refused}, which a list of paths and labels does not need and which "
            "could run code; nothing of it was run"
        ) from None
    except Exception as error:  # pickletools raises whatever it trips over
        raise DataError(f"{path} is not a whole pickle: {type(error).__name__}") from None
    return list(_entries(value, path))


def write_list(entries: list[Entry], path: Path) -> None:
    """Write ``path,label`` as CSV, whole or not at all. Raises DataError where ``path`` exists."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("path", "label"))
    writer.writerows(entries)
    part = path.with_name(f".{path.name}.part")
    try:
        if path.exists():
            raise DataError(f"{path} exists already; name a new file")
        part.write_text(text.getvalue(), encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror}") from None
    finally:
        part.unlink(missing_ok=True)


def _value(content: bytes) -> Any:
    machine = _Machine()
    for step, (opcode, argument, _) in enumerate(pickletools.genops(content)):
        if step > MOST_STEPS:
            raise _Refused(f"more than {MOST_STEPS:,} instructions")
        if opcode.name != "STOP":
            machine.follow(opcode.name, argument)
    (value,) = machine.stack
    return value


def _entries(value: Any, path: Path) -> Iterator[Entry]:
    """Looks two levels deep and no deeper, however the pickle nests."""
    if not isinstance(value, list) or not value:
        raise DataError(f"{path} holds no list of images, or an empty one")
    for number, entry in enumerate(value, start=1):
        pair = entry if isinstance(entry, list | tuple) and len(entry) == 2 else (None, None)
        name, label = pair
        if not (isinstance(name, str) and isinstance(label, int)):
            raise DataError(f"{path} entry {number} is not a path and a whole number")
        if not 0 <= label <= LARGEST_LABEL:
            raise DataError(
                f"{path} entry {number} has a label that is not from 0 to 1,000,000,000"
            )
        yield _plain(name, f"{path} entry {number}"), label


def _plain(name: str, where: str) -> str:
    """``name`` with forward slashes, if it stays below the folder that it starts from."""
    parts = PurePosixPath(name.replace("\\", "/"))
    outside = parts.is_absolute() or ".." in parts.parts or ":" in name[:2] or parts.name == ""
    if outside or not name.isprintable():
        raise DataError(f"{where} names a file outside the list's folder, or none")
    if name.startswith(FORMULA):
        raise DataError(f"{where} has a path that a spreadsheet would run as a formula")
    return parts.as_posix()

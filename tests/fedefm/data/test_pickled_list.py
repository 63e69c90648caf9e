"""Old pickled lists are converted, and nothing that a pickle could carry is ever run."""

import builtins
import os
import pickle
import pickletools
import struct
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedefm.data import pickled_list
from fedefm.data.pickled_list import LARGEST_BYTES, read_pickled_list, write_list
from fedefm.data.public_sets.tables import read_table
from fedefm.errors import DataError

LIST = [("chest/1 a.png", 0), ("chest/größe.png", 3), ("chest/1 a.png", 70_000), ("x.png", 2**20)]
PATHS = st.text(st.characters(codec="utf-8", categories=["L", "N"]), min_size=1, max_size=9)


def pickled(folder: Path, content: bytes) -> Path:
    path = folder / "silo1.pkl"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("kind", [tuple, list])
def test_a_list_of_any_protocol_is_read(tmp_path: Path, protocol: int, kind: type) -> None:
    content = pickle.dumps([kind(pair) for pair in LIST], protocol)
    assert read_pickled_list(pickled(tmp_path, content)) == LIST


@given(st.lists(st.tuples(PATHS, st.integers(0, 10**9)), min_size=1), st.integers(0, 5))
def test_what_is_read_is_what_pickle_would_load(
    tmp_path_factory: pytest.TempPathFactory, entries: list[tuple[str, int]], protocol: int
) -> None:
    path = pickled(tmp_path_factory.mktemp("any"), pickle.dumps(entries, protocol))
    assert read_pickled_list(path) == pickle.loads(path.read_bytes())


def test_a_list_written_by_python_2_is_read(tmp_path: Path) -> None:
    content = b"(lp0\n(S'chest/1.png'\np1\nI4\ntp2\na."
    assert read_pickled_list(pickled(tmp_path, content)) == [("chest/1.png", 4)]


def test_the_twin_in_csv_holds_the_same(tmp_path: Path) -> None:
    write_list(LIST, tmp_path / "silo1.csv")
    _, rows = read_table(tmp_path / "silo1.csv", ("path", "label"))
    assert [(row["path"], int(row["label"])) for row in rows] == LIST
    with pytest.raises(DataError, match="exists already"):
        write_list(LIST, tmp_path / "silo1.csv")


class Runs:
    """Runs a function when it is unpickled."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.arguments


HOSTILE = {
    "a shell": lambda mark: pickle.dumps([Runs(os.system, f"touch {mark}")]),
    "a shell, in text": lambda mark: f"cposix\nsystem\n(S'touch {mark}'\ntR.".encode(),
    "eval": lambda mark: pickle.dumps([("a.png", Runs(builtins.eval, f"open('{mark}', 'w')"))]),
    "exec": lambda mark: pickle.dumps([Runs(builtins.exec, f"open('{mark}', 'w')")], 2),
    "a process": lambda mark: pickle.dumps([Runs(subprocess.Popen, ["touch", str(mark)])]),
    "an instance": lambda mark: f"(S'touch {mark}'\nios\nsystem\n.".encode(),
    "an object": lambda mark: f"(cos\nsystem\nS'touch {mark}'\no.".encode(),
    "a name on the stack": lambda mark: (
        b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x04true\x85R."
    ),
    "a state": lambda mark: pickle.dumps([Path("a.png")]),
    "a persistent id": lambda mark: b"Pa.png\n.",
    "a persistent object": lambda mark: b"S'a.png'\nQ.",
    "an extension": lambda mark: b"\x80\x02\x82\x01.",
    "an array": lambda mark: pickle.dumps(np.arange(3)),
    "a NumPy label": lambda mark: pickle.dumps([("a.png", np.int64(1))]),
    "a dictionary": lambda mark: pickle.dumps({"a.png": 1}),
    "a set": lambda mark: pickle.dumps([{"a.png"}]),
    "bytes": lambda mark: pickle.dumps([(b"a.png", 1)]),
    "out-of-band data": lambda mark: b"\x80\x05\x97.",
    "a float": lambda mark: pickle.dumps([("a.png", 1.0)]),
    "nothing": lambda mark: pickle.dumps([("a.png", None)]),
    "truth": lambda mark: pickle.dumps([("a.png", True)]),
    "truth, in text": lambda mark: b"(lp0\n(S'a.png'\nI01\nta.",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_could_run_code_or_is_not_needed_is_refused_and_not_run(
    tmp_path: Path, kind: str
) -> None:
    mark = tmp_path / "it ran"
    content = HOSTILE[kind](mark)
    with pytest.raises(
        DataError, match=r"silo1\.pkl asks for [A-Z0-9_]+, .* nothing of it was run"
    ):
        read_pickled_list(pickled(tmp_path, content))
    assert not mark.exists()


def test_the_hostile_pickles_are_hostile(tmp_path: Path) -> None:
    """The test above would prove nothing with pickles that do no harm."""
    pickle.loads(HOSTILE["a shell"](tmp_path / "ran"))
    assert (tmp_path / "ran").exists()


def memo_bomb() -> bytes:
    """Thirty lists, each holding the one before twice: a billion strings for who follows them."""
    inner: list[Any] = [("a.png", 1)]
    for _ in range(30):
        inner = [inner, inner]
    return pickle.dumps(inner)


def itself() -> bytes:
    loop: list[Any] = []
    loop.append(loop)
    return pickle.dumps(loop)


GOOD = pickle.dumps(LIST)
BROKEN = {
    "empty": b"",
    "text": b"path,label\na.png,1\n",
    "truncated": GOOD[: len(GOOD) // 2],
    "without its end": GOOD[:-1],
    "an unknown instruction": b"\xff" + GOOD,
    "nothing on the stack": b".",
    "two values": b"]].",
    "a mark that is not there": b"l.",
    "a tuple of more than there is": b"\x80\x02\x87.",
    "a tuple across a mark": b"S'a'\nI1\n(\x86.",
    "appends to nothing": b"I1\na.",
    "appends to a string": b"S'a'\nI1\na.",
    "recalls what was not noted": b"h\x09.",
    "a length beyond the file": b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b"abc.",
    "a number of four billion digits": b"\x8b" + struct.pack("<i", 2**31 - 1) + b"1.",
    "a number of below no digits": b"\x8b" + struct.pack("<i", -1) + b".",
    "a long number in text": b"(lp0\n(S'a.png'\nL" + b"9" * 9000 + b"L\nta.",
    "a broken string": b"X\x02\x00\x00\x00\xff\xfe.",
    "a memo bomb": memo_bomb(),
    "deep nesting": b"(" * 200_000 + b"l" * 200_000 + b".",
    "deep tuples": b")" + b"\x85" * 200_000 + b".",
    "a list that holds itself": itself(),
    "an empty list": pickle.dumps([]),
    "no list": pickle.dumps("a.png"),
    "one path": pickle.dumps(["a.png"]),
    "three of each": pickle.dumps([("a.png", 1, 2)]),
    "the wrong way round": pickle.dumps([(1, "a.png")]),
    "a label below 0": pickle.dumps([("a.png", -1)]),
    "a label of a thousand digits": pickle.dumps([("a.png", 10**1000)]),
    "an absolute path": pickle.dumps([("/etc/passwd", 1)]),
    "a path to above": pickle.dumps([("a/../../b.png", 1)]),
    "a path of Windows": pickle.dumps([("C:\\a.png", 1)]),
    "above, on Windows": pickle.dumps([("..\\a.png", 1)]),
    "no path": pickle.dumps([("", 1)]),
    "a path with a null": pickle.dumps([("a\0.png", 1)]),
    "a path with a line end": pickle.dumps([("a\n=b.png", 1)]),
    "half a character": pickle.dumps([("\ud800.png", 1)]),
    "a formula": pickle.dumps([("=HYPERLINK(1).png", 1)]),
    "a formula with a minus": pickle.dumps([("-1+cmd.png", 1)]),
}


@pytest.mark.parametrize("kind", BROKEN)
@pytest.mark.timeout(20)
def test_what_is_no_list_ends_in_one_sentence(tmp_path: Path, kind: str) -> None:
    with pytest.raises(DataError, match=r"silo1\.pkl") as caught:
        read_pickled_list(pickled(tmp_path, BROKEN[kind]))
    assert len(str(caught.value)) < 400
    assert "\n" not in str(caught.value)


def test_a_pickle_without_end_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickled_list, "MOST_STEPS", 1000)
    with pytest.raises(DataError, match="asks for more than 1,000 instructions"):
        read_pickled_list(pickled(tmp_path, b"]" + b"I1\na" * 1000 + b"."))


def test_a_file_that_is_too_large_or_not_there_is_named(tmp_path: Path) -> None:
    path = pickled(tmp_path, b"")
    with path.open("r+b") as file:
        file.truncate(LARGEST_BYTES + 1)
    with pytest.raises(DataError, match="larger than 64 MiB"):
        read_pickled_list(path)
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_pickled_list(tmp_path / "none.pkl")
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        read_pickled_list(tmp_path)


@given(st.binary(max_size=300))
def test_no_bytes_end_in_anything_but_a_list_or_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    path = pickled(tmp_path_factory.mktemp("any"), content)
    with suppress(DataError):
        assert read_pickled_list(path)


@given(
    st.lists(st.sampled_from([o.code.encode("latin-1") for o in pickletools.opcodes])), st.data()
)
def test_no_instructions_end_in_anything_but_a_list_or_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, codes: list[bytes], data: st.DataObject
) -> None:
    content = b"".join(code + data.draw(st.binary(max_size=4)) for code in codes) + b"."
    path = pickled(tmp_path_factory.mktemp("any"), content)
    with suppress(DataError):
        assert read_pickled_list(path)


@pytest.mark.timeout(20)  # reading it would never end
def test_a_pipe_is_no_list(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "silo1.pkl")
    with pytest.raises(DataError, match="pipe or a device"):
        read_pickled_list(tmp_path / "silo1.pkl")

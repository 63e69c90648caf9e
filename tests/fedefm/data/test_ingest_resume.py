"""A long ingest that is stopped, continued, or runs out of disk."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedefm.data import ingest_frames
from fedefm.data.ingest import IngestInterrupted, ingest
from fedefm.data.pseudonyms import KEY_NAME, read_key
from fedefm.data.unfinished import JOURNAL
from fedefm.errors import DataError

KEY = b"k" * 32


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Ten images, and a stack of 70 frames."""
    rng = np.random.default_rng(0)
    (tmp_path / "source").mkdir()
    for number in range(10):
        pixels = rng.integers(0, 256, (8, 8), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / "source" / f"{number}.png")
    pages = [Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8)) for _ in range(70)]
    pages[0].save(tmp_path / "source" / "stack.tif", save_all=True, append_images=pages[1:])
    return tmp_path / "source"


def stop_after(frames: int) -> Callable[[int, int], None]:
    def progress(done: int, total: int) -> None:
        if done >= frames:
            raise KeyboardInterrupt

    return progress


def content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def full_pipe() -> tuple[int, int]:
    """Its ends to read and to write; who writes waits until somebody reads."""
    heard, full = os.pipe()
    os.set_blocking(full, False)
    for size in (4096, 1):
        with suppress(BlockingIOError):
            while True:
                os.write(full, b" " * size)
    os.set_blocking(full, True)
    return heard, full


@pytest.mark.parametrize("frames", [1, 9, 40, 80])
def test_a_stopped_ingest_goes_on_to_the_same_bytes(
    source: Path, tmp_path: Path, frames: int
) -> None:
    ingest(source, tmp_path / "whole", key=KEY)
    with pytest.raises(IngestInterrupted, match=r"after \d+ of 80 frames.*--resume"):
        ingest(source, tmp_path / "out", key=KEY, progress=stop_after(frames))
    assert not (tmp_path / "out").exists()
    seen: list[int] = []
    ingest(
        source, tmp_path / "out", resume=True, progress=lambda done, total: seen.append(done)
    )  # the key is in the unfinished folder
    assert content(tmp_path / "out") == content(tmp_path / "whole")
    assert seen[-1] == 80
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "source", "whole"]


def test_what_is_done_is_not_done_again(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(IngestInterrupted):
        ingest(source, tmp_path / "out", key=KEY, progress=stop_after(42))
    read: list[int] = []
    original = ingest_frames.read_image
    monkeypatch.setattr(
        ingest_frames,
        "read_image",
        lambda path, frame: (read.append(frame), original(path, frame))[1],
    )
    ingest(source, tmp_path / "out", key=KEY, resume=True)
    assert len(read) == 80 - 42


def test_damage_in_between_is_mended(source: Path, tmp_path: Path) -> None:
    ingest(source, tmp_path / "whole", key=KEY)
    with pytest.raises(IngestInterrupted):
        ingest(source, tmp_path / "out", key=KEY, progress=stop_after(42))
    unfinished = tmp_path / ".out-unfinished"
    first = json.loads((unfinished / JOURNAL).read_text().splitlines()[-1])
    (unfinished / next(iter(first["files"]))).write_bytes(b"half an im")
    with (unfinished / JOURNAL).open("ab") as journal:
        journal.write(b'{"task": 11, "fil')
    ingest(source, tmp_path / "out", key=KEY, resume=True)
    assert content(tmp_path / "out") == content(tmp_path / "whole")


@pytest.mark.parametrize("torn", [b"\0" * 300 + b"\n", b'{"task": 1, "fi', b"\xff\n", b"7\n[]\n"])
def test_a_journal_that_a_power_cut_has_torn_is_believed_as_far_as_it_goes(
    source: Path, tmp_path: Path, torn: bytes
) -> None:
    whole = ingest(source, tmp_path / "whole", key=KEY).manifest.parent
    with pytest.raises(IngestInterrupted):
        ingest(source, tmp_path / "out", key=KEY, progress=stop_after(5))
    with (tmp_path / ".out-unfinished" / JOURNAL).open("ab") as journal:
        journal.write(torn)
    made = ingest(source, tmp_path / "out", key=KEY, resume=True)
    assert content(made.manifest.parent) == content(whole)


def test_an_unfinished_folder_is_neither_overwritten_nor_mixed(
    source: Path, tmp_path: Path
) -> None:
    with pytest.raises(IngestInterrupted):
        ingest(source, tmp_path / "out", key=KEY, progress=stop_after(20))
    with pytest.raises(DataError, match="is not finished; go on with --resume, or delete it"):
        ingest(source, tmp_path / "out", key=KEY)
    for change in ({"corpus": "other"}, {"files": "png"}, {"key": b"x" * 32}):
        with pytest.raises(DataError, match="begun from other files or with other options"):
            ingest(source, tmp_path / "out", resume=True, **change)  # type: ignore[arg-type]
    Image.new("L", (8, 8)).save(source / "0.png")
    with pytest.raises(DataError, match="begun from other files"):
        ingest(source, tmp_path / "out", resume=True)
    assert (tmp_path / ".out-unfinished").is_dir()


def test_resume_begins_where_nothing_was_begun(source: Path, tmp_path: Path) -> None:
    assert len(ingest(source, tmp_path / "out", resume=True).rows) == 80


def test_a_full_disk_is_a_sentence_and_can_be_continued(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ingest(source, tmp_path / "whole", key=KEY)
    original, written = Path.write_bytes, []

    def write(path: Path, content: bytes) -> int:
        written.append(path)
        if len(written) > 40:
            original(path, bytes(content)[:5])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return original(path, content)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "write_bytes", write)
        with pytest.raises(DataError, match=r"No space left on device.*--resume"):
            ingest(source, tmp_path / "out", key=KEY)
    assert not (tmp_path / "out").exists()
    assert not list((tmp_path / ".out-unfinished").glob("manifest.csv"))
    ingest(source, tmp_path / "out", resume=True)
    assert content(tmp_path / "out") == content(tmp_path / "whole")


def test_files_that_cannot_be_used_leave_nothing_behind(source: Path, tmp_path: Path) -> None:
    (source / "5.png").write_bytes(b"broken")
    with pytest.raises(DataError, match="cannot be read as an image"):
        ingest(source, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


def test_several_processes_write_the_same_bytes(source: Path, tmp_path: Path) -> None:
    (source / "5.png").write_bytes(b"broken")
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        made = ingest(source, folder, key=KEY, processes=processes, skip_unreadable=True)
        assert len(made.rows) == 79
    assert content(tmp_path / "1") == content(tmp_path / "2")


@pytest.mark.usefixtures("ctrl_c_is_heard")
def test_ctrl_c_is_heard_and_what_is_done_is_kept(tmp_path: Path) -> None:
    """A process of its own with two workers; takes seconds, since Python starts four times."""
    rng = np.random.default_rng(0)
    (tmp_path / "source").mkdir()
    for number in range(20):
        pages = [Image.fromarray(rng.integers(0, 256, (160, 160), dtype=np.uint8))] * 20
        path = tmp_path / "source" / f"{number}.tif"
        pages[0].save(path, save_all=True, append_images=pages[1:])
    command = [sys.executable, "-m", "nvflare_jobs.cli", "data", "ingest"]
    command += [str(tmp_path / "source"), str(tmp_path / "out"), "--processes", "2"]
    heard, full = full_pipe()  # it cannot tell its progress, so it is not done before it is seen
    running = subprocess.Popen(command, stderr=full, start_new_session=True)
    os.close(full)
    journal = tmp_path / ".out-unfinished" / JOURNAL
    while not journal.exists() and running.poll() is None:
        time.sleep(0.02)
    os.killpg(running.pid, signal.SIGINT)  # as a terminal does: to workers, too
    with os.fdopen(heard) as everything:
        said = everything.read().strip()
    assert running.wait(timeout=120) == 130, said
    assert "--resume goes on" in said
    assert "Traceback" not in said
    resumed = subprocess.run([*command, "--resume"], capture_output=True, text=True, timeout=300)
    assert resumed.returncode == 0, resumed.stderr
    ingest(tmp_path / "source", tmp_path / "whole", key=read_key(tmp_path / "out" / KEY_NAME))
    assert content(tmp_path / "out") == content(tmp_path / "whole")

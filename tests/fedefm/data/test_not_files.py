"""What is no file is neither opened nor passed over in silence."""

import os
import socket
from pathlib import Path

import pytest
from PIL import Image

from fedefm.data.ingest import ingest
from fedefm.data.not_files import NO_FILE, NOWHERE, not_files


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """An image, a link to it, and a folder with a link to itself, one to nothing, and a pipe."""
    folder = tmp_path / "in" / "deep"
    folder.mkdir(parents=True)
    Image.new("L", (4, 4)).save(folder / "a.png")
    (folder / "b.png").symlink_to("a.png")
    (folder / "loop.png").symlink_to("loop.png")
    (folder / "gone.png").symlink_to("nothing.png")
    os.mkfifo(folder / "p.png")
    (folder / ".hidden.png").symlink_to("nothing.png")
    (tmp_path / "in" / "same").symlink_to("deep")
    return tmp_path / "in"


def test_links_to_nowhere_and_pipes_are_listed_with_the_reason(
    source: Path, tmp_path: Path
) -> None:
    made = ingest(source, tmp_path / "out", layout="images")
    said = sorted((line.outcome, line.reason) for line in made.report)
    assert said == [("left out", NOWHERE)] * 2 + [("left out", NO_FILE)]
    listing = (tmp_path / "out" / ".sources.csv").read_text()
    assert all(f"./deep/{name}.png" in listing for name in ("loop", "gone", "p"))


def test_files_folders_and_links_to_them_are_none(source: Path) -> None:
    assert [path.name for path in not_files(source)] == ["gone.png", "loop.png", "p.png"]
    assert not_files(source / "deep" / "a.png") == {}


def test_a_link_to_a_socket_leads_somewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("s.png")
        (tmp_path / "link.png").symlink_to("s.png")
        found = not_files(tmp_path)
    assert found == {tmp_path / "link.png": NO_FILE, tmp_path / "s.png": NO_FILE}

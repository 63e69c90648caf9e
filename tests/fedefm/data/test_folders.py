import os
from pathlib import Path

import pytest

from fedefm.data.folders import fresh_folder, link_or_copy
from fedefm.errors import DataError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_appears_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "set"
    with fresh_folder(target) as folder:
        (folder / "a").touch()
        assert not target.exists()
    assert names(target) == ["a"]
    assert names(tmp_path / "deep") == ["set"]


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    with fresh_folder(tmp_path / "set") as folder:
        (folder / "a").touch()
    assert names(tmp_path / "set") == ["a"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_nothing_is_left_after_an_error(tmp_path: Path, error: type[BaseException]) -> None:
    def fill() -> None:
        with fresh_folder(tmp_path / "set") as folder:
            (folder / "a").touch()
            raise error

    with pytest.raises(error):
        fill()
    assert names(tmp_path) == []


def test_what_is_there_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "mine").touch()
    (tmp_path / "file").touch()
    for name in ("set", "file"):
        with pytest.raises(DataError, match="not empty"), fresh_folder(tmp_path / name):
            pass
    assert names(tmp_path / "set") == ["mine"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written"), fresh_folder(tmp_path / "file" / "x"):
        pass


def test_files_are_linked_once_and_copied_where_links_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_text("content")
    (tmp_path / "soft").symlink_to(tmp_path / "a")
    for name in ("a", "a", "soft"):
        link_or_copy(tmp_path / name, tmp_path / "out" / name)
        assert (tmp_path / "out" / name).samefile(tmp_path / "a")
        assert not (tmp_path / "out" / name).is_symlink()

    def refuse(*paths: Path) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    link_or_copy(tmp_path / "a", tmp_path / "copy")
    assert (tmp_path / "copy").read_text() == "content"
    assert not (tmp_path / "copy").samefile(tmp_path / "a")

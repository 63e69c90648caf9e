"""Output folders that appear whole or not at all, and files put into them without a second copy."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fedefm.errors import DataError


def refuse_full(target: Path) -> None:
    """Raises DataError where ``target`` holds something already."""
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise DataError(f"{target} exists already and is not empty; name a new folder")


@contextmanager
def fresh_folder(target: Path) -> Iterator[Path]:
    """A folder to fill, which takes the name ``target`` at the end and vanishes on an error.

    Raises DataError where ``target`` holds something already or cannot be written.
    """
    temporary = target.absolute().parent / f".{target.name}-{secrets.token_hex(4)}"
    try:
        refuse_full(target)
        temporary.mkdir(parents=True)
        yield temporary
        temporary.replace(target.absolute())
    except OSError as error:
        raise DataError(
            f"{target} cannot be written: {error.strerror or error}; make room there, or name a "
            "folder elsewhere"
        ) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def link_or_copy(source: Path, target: Path) -> None:
    """Make ``target`` the same file as ``source``, or a copy where links are not possible."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        return  # a file of many frames is placed once
    original = source.resolve()  # a link to a link could leave the folder
    try:
        os.link(original, target)
    except OSError:  # another file system, or one without hard links
        shutil.copyfile(original, target)

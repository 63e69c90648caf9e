"""What every layout tells of itself, and the few steps that many of them share."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fedefm.data.found import Found


@dataclass(frozen=True)
class About:
    """What people want to know before they bring a set in."""

    what: str
    where: str  # it is had
    terms: str  # of use, as its owners name them
    masks: str  # what the values mean


@dataclass(frozen=True)
class Layout:
    """How to recognize a kind of folder, and how to list what is in it.

    ``companions`` are patterns of files that look like images and are none of the set's: masks, and
    second readings that are not used. Any other file that ``find`` leaves would be lost.
    """

    matches: Callable[[Path], bool]
    find: Callable[[Path], list[Found]]
    companions: tuple[str, ...] = ()
    about: About = About("", "", "", "")


def has(*names: str) -> Callable[[Path], bool]:
    """Whether a folder holds all of ``names``, which may be patterns."""
    return lambda source: source.is_dir() and all(any(source.glob(name)) for name in names)


def has_one_of(*names: str) -> Callable[[Path], bool]:
    """Whether a folder holds at least one of ``names``, which may be patterns."""
    return lambda source: source.is_dir() and any(any(source.glob(name)) for name in names)


def unpacked(source: Path, name: str) -> Path:
    """The set's own folder: ``source``, or the folder in it that its archive makes."""
    return source / name if (source / name).is_dir() else source


def files_in(folder: Path, pattern: str) -> list[Path]:
    """Files that fit, in order, without the ``._`` twins that macOS leaves in archives."""
    return sorted(path for path in folder.glob(pattern) if not path.name.startswith("."))


def if_there(path: Path) -> Path | None:
    """``path`` where it is a file, else None."""
    return path if path.is_file() else None


def number_of(path: Path) -> tuple[int, ...]:
    """All numbers in a file's name: (12,) for ``image12.jpg`` as for ``mask012.png``."""
    return tuple(int(digits) for digits in re.findall(r"[0-9]{1,18}", path.stem))

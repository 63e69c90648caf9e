"""Running numbers that stand for the files of a source.

The path of an export often names a patient (``/export/Miller_Hans/IM1``), so what others may see
says "file 12": messages, the report, the names of converted files. Which file that is stands in one
listing beside the manifest, ``.sources.csv``, readable by its owner alone, as the key to the
pseudonyms is. Where nothing is written, the files can be named on the screen instead.
"""

import csv
import os
from collections.abc import Iterable
from pathlib import Path

from fedefm.words import printable

LISTING_NAME = ".sources.csv"


class FileNumbers:
    """The number of each file, in the order in which files are first asked for."""

    def __init__(self, source: Path, show_paths: bool = False) -> None:
        self._base = source if source.is_dir() else source.parent
        self.shown = show_paths
        self.source = (
            f"source {source}" if show_paths else f"source {source} (--show-paths names files)"
        )
        self._numbers: dict[Path, int] = {}

    def of(self, path: Path) -> int:
        """The file's number, counted from 1; a new one if it has none."""
        return self._numbers.setdefault(path, len(self._numbers) + 1)

    def name(self, path: Path) -> str:
        """How a message names a file."""
        return printable(self._below(path)) if self.shown else f"file {self.of(path)}"

    def name_of(self, number: int) -> str:
        """The same, by the file's number."""
        return self.name(list(self._numbers)[number - 1])

    def names(self, paths: Iterable[Path], most: int) -> str:
        """How a message names some files, ``most`` of them by name."""
        every = [self.name(path) for path in paths]
        more = f" and {len(every) - most} more" if len(every) > most else ""
        return ", ".join(every[:most]) + more

    def write(self, folder: Path) -> None:
        """Write the listing, readable by its owner alone."""
        handle = os.open(folder / LISTING_NAME, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8", errors="surrogateescape", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("file", "path"))
            # "./" keeps a spreadsheet from taking a file's name for a formula
            paths = ((number, f"./{self._below(path)}") for path, number in self._numbers.items())
            writer.writerows(paths)

    def _below(self, path: Path) -> str:
        inside = path.is_relative_to(self._base)
        return path.relative_to(self._base).as_posix() if inside else str(path)

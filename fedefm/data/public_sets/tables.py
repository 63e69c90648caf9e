"""Tables and JSON that come with a public set, read with care: anybody may have written them."""

import csv
import json
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any, NoReturn

from fedefm.data.endless import refuse_endless
from fedefm.errors import DataError

LARGEST_BYTES = 256 * 1024 * 1024


def read_table(path: Path, columns: Sequence[str]) -> tuple[list[str], list[dict[str, str]]]:
    """The header and the rows of a CSV file, which has at least ``columns``.

    Raises DataError: no text, no CSV, a column missing or named twice, a row of another length.
    """
    lines = csv.reader(StringIO(_text(path), newline=""), strict=True)
    try:
        header = [cell.strip() for cell in next(lines, [])]
        missing = [name for name in columns if name not in header]
        if missing:
            raise DataError(f"{path} has no column {missing[0]!r}; it is not the set's own table")
        if len(set(header)) < len(header):
            raise DataError(f"{path} names a column twice; it is not the set's own table")
        rows = []
        for cells in filter(None, lines):
            if len(cells) != len(header):
                raise DataError(
                    f"{path} line {lines.line_num} has {len(cells)} cells instead of {len(header)}"
                )
            rows.append(dict(zip(header, (cell.strip() for cell in cells), strict=True)))
    except csv.Error as error:
        raise DataError(f"{path} is not CSV: line {lines.line_num}: {error}") from None
    return header, rows


def read_pairs(path: Path) -> dict[str, str]:
    """The second cell of each row by the first, of a CSV file without a header.

    Raises DataError: no text, no CSV, a row that is not of two cells, a first cell twice.
    """
    pairs: dict[str, str] = {}
    lines = csv.reader(StringIO(_text(path), newline=""), strict=True)
    try:
        for cells in filter(None, lines):
            if len(cells) != 2:
                raise DataError(f"{path} line {lines.line_num} has {len(cells)} cells instead of 2")
            name, value = (cell.strip() for cell in cells)
            if name in pairs:
                raise DataError(f"{path} line {lines.line_num} names an image a second time")
            pairs[name] = value
    except csv.Error as error:
        raise DataError(f"{path} is not CSV: line {lines.line_num}: {error}") from None
    return pairs


def read_json(path: Path) -> Any:
    """The value of a JSON file. Raises DataError; NaN and infinity are refused, too."""
    text = _text(path)
    try:
        return json.loads(text, parse_constant=_no_number)
    except RecursionError:
        raise DataError(f"{path} is nested too deeply; it is not the set's own file") from None
    except ValueError as error:
        raise DataError(f"{path} is not JSON: {error}") from None


def inside(folder: Path, name: str, where: str) -> Path:
    """The file that a table names ``where``, which has to lie in ``folder``.

    Raises DataError; it does not repeat the name, which may be a person's.
    """
    try:
        path = folder / name
        if path.resolve().is_relative_to(folder.resolve()) and ".." not in path.parts:
            if path.is_file():
                return path
            raise DataError(f"{where} names a file that is not there")
    except (OSError, ValueError, RuntimeError):  # name too long, null byte, loop of links
        pass
    raise DataError(f"{where} names a file that is not inside {folder}")


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")


def _text(path: Path) -> str:
    refuse_endless(path)
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise DataError(f"{path} is larger than 256 MiB; it is not the set's own file")
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from None
    try:
        if b"\0" not in content:
            return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        pass
    raise DataError(f"{path} is not UTF-8 text; it is not the set's own file")

"""The manifest: one CSV row an image or frame, and the checks that keep it honest.

Columns: ``path,frame,patient_id,corpus,label,mask_path,split,sha256`` and, where it is known of a
frame, ``spacing_mm``. Paths are relative to the manifest's folder and may not leave it, also not
through a symbolic link. ``patient_id`` is a pseudonym. Rows are counted as a spreadsheet shows
them: the header is row 1. Messages name row and path, never a patient.
"""

import csv
import math
import ntpath
import os
import re
import stat
import tempfile
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import astuple, dataclass, fields, replace
from functools import cache
from io import StringIO
from pathlib import Path

from fedefm.data.endless import refuse_endless
from fedefm.errors import DataError, all_problems

SPLITS = ("train", "validation", "test")
FIRST_ROW = 2  # the header is row 1
# Control characters, and those that turn text around or hide (Unicode TR 36).
# Joiners (U+200C and U+200D) are none: Persian and the scripts of India need them.
CONTROL = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e"
    "\u2060-\u206f\ufeff\ufff9-\ufffb\U000e0000-\U000e007f]"
)
LARGEST_BYTES = 512 * 1024 * 1024  # some four million rows; more is not a manifest


@dataclass(frozen=True)
class Row:
    """One frame; an empty string stands for what is not known."""

    path: str
    frame: int = 0
    patient_id: str = ""
    corpus: str = ""
    label: str = ""
    mask_path: str = ""
    split: str = ""
    sha256: str = ""  # of the whole file at ``path``
    spacing_mm: float | None = None  # side of a pixel; a projection's is often at the detector


SPACING = "spacing_mm"
COLUMNS = tuple(field.name for field in fields(Row) if field.name != SPACING)


@dataclass(frozen=True)
class Manifest:
    """The rows of one manifest and the folder that its paths start from."""

    folder: Path
    rows: tuple[Row, ...]

    def of_split(self, split: str | None) -> tuple[int, ...]:
        """Positions of the rows in ``split``; of all rows if ``split`` is None."""
        return tuple(i for i, row in enumerate(self.rows) if split is None or row.split == split)


def read_manifest(path: Path) -> Manifest:
    """The manifest at ``path``, with its structure checked.

    Raises DataError with all problems at once: columns, types, splits, duplicates, a patient in two
    splits, paths that leave the folder, files that do not exist. What is inside the images is
    looked at by ``fedefm.data.check.check_manifest``.
    """
    manifest, problems = parse_manifest(path)
    if problems:
        raise DataError(all_problems(f"manifest {path}", problems))
    return manifest


def parse_manifest(path: Path) -> tuple[Manifest, list[str]]:
    """The rows that could be read and everything that is wrong with the others.

    Raises DataError where there is no table at all: missing, binary, too large, wrong columns,
    empty.
    """
    rows: list[Row] = []
    problems: list[str] = []
    columns, lines = _table(path)
    for number, cells in enumerate(lines, start=FIRST_ROW):
        row, faults = _row(cells, len(columns))
        problems += [f"row {number}: {fault}" for fault in faults]
        rows.append(row)
    if not rows:
        raise DataError(f"manifest {path} lists no images; it has a header and no rows")
    manifest = Manifest(path.resolve().parent, tuple(rows))
    return manifest, problems + structure_problems(manifest)


def structure_problems(manifest: Manifest) -> list[str]:
    """What is wrong between the rows of a manifest, and between it and its folder."""
    return [*_path_problems(manifest), *_duplicates(manifest.rows), *_split_leaks(manifest.rows)]


def path_verdicts(manifest: Manifest) -> dict[str, str]:
    """What is wrong with each path that the rows name; an empty string where it may be opened."""
    folder = manifest.folder.resolve()
    paths = {path for row in manifest.rows for path in (row.path, row.mask_path) if path}

    @cache
    def inside(place: str) -> bool:
        """Many files share a folder, and following its links takes longer than all else."""
        return Path(place).resolve().is_relative_to(folder)

    return {path: _path_verdict(folder, path, inside) for path in paths}


def write_manifest(path: Path, rows: Iterable[Row]) -> None:
    """Write ``rows`` to ``path``, whole or not at all; ``spacing_mm`` only if a row has one."""
    kept = list(rows)
    columns = COLUMNS
    if any(row.spacing_mm is not None for row in kept):
        columns = (*COLUMNS, SPACING)
    handle, name = tempfile.mkstemp(prefix=".manifest-", suffix=".csv", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows(astuple(row)[: len(columns)] for row in kept)
        Path(name).chmod(0o644)  # mkstemp makes it private; a manifest is as open as its images
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def is_formula(text: str) -> bool:
    """Whether a spreadsheet may run a cell as a formula (OWASP, "CSV Injection"); numbers may not.

    What people open must not do what the name of a folder says. Wide signs are read as plain ones
    where Chinese or Japanese is written.
    """
    cell = unicodedata.normalize("NFKC", text).strip()
    if not cell.startswith(("=", "+", "-", "@")):
        return False
    return re.fullmatch(r"[+-]?[0-9]+([.,][0-9]+)?", cell) is None


def has_control(text: str) -> bool:
    """Whether a cell holds characters that a terminal or a browser obeys and does not show."""
    return CONTROL.search(text) is not None


def where(position: int, row: Row) -> str:
    """How a message names the row at ``position``."""
    return f"row {position + FIRST_ROW} ({row.path})"


def _table(path: Path) -> tuple[tuple[str, ...], Iterator[list[str]]]:
    """The header, which was found to be ours, and the cells of each row."""
    rows = _rows(path)
    header = tuple(cell.strip() for cell in next(rows, ()))
    if header not in (COLUMNS, (*COLUMNS, SPACING)):
        raise DataError(
            f"manifest {path} has the columns {_shown(','.join(header))}; "
            f"they must be {','.join(COLUMNS)}, and {SPACING} may follow"
        )
    return header, (cells for cells in rows if cells)


def _rows(path: Path) -> Iterator[list[str]]:
    lines = csv.reader(StringIO(_text(path), newline=""), strict=True)
    try:
        yield from lines
    except csv.Error as error:
        raise DataError(f"manifest {path} is not CSV: line {lines.line_num}: {error}") from None


def _text(path: Path) -> str:
    try:
        refuse_endless(path)
        if path.stat().st_size > LARGEST_BYTES:
            raise DataError(f"manifest {path} is larger than 512 MiB; split it by corpus")
        content = path.read_bytes()
        if b"\0" in content:
            raise DataError(f"manifest {path} is a binary file; a manifest is UTF-8 text in CSV")
        return content.decode("utf-8-sig")
    except FileNotFoundError:
        raise DataError(f"manifest {path} does not exist") from None
    except IsADirectoryError:
        raise DataError(f"manifest {path} is a folder; name the CSV file inside it") from None
    except OSError as error:
        raise DataError(f"manifest {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise DataError(f"manifest {path} is not UTF-8 text; save it as CSV in UTF-8") from None


def _row(cells: list[str], width: int) -> tuple[Row, list[str]]:
    """A row and its faults; a cell that cannot be used is left empty."""
    if len(cells) != width:
        return Row(""), [f"has {len(cells)} cells instead of {width}"]
    cells = [cell.strip() for cell in cells]
    faults = [
        f"{name} is empty"
        for name, cell in zip(COLUMNS, cells, strict=False)
        if not cell and name in ("path", "patient_id", "corpus")
    ]
    faults += [
        f"{name} starts with {cell[0]!r}; a spreadsheet would run that as a formula"
        for name, cell in zip(COLUMNS, cells, strict=False)
        if is_formula(cell) and name not in ("frame", "split", "sha256")
    ]
    faults += [
        f"{name} holds a control character"
        for name, cell in zip((*COLUMNS, SPACING), cells, strict=False)
        if has_control(cell)
    ]
    cells = ["" if has_control(cell) else cell for cell in cells]
    path, frame, patient, corpus, label, mask, split, digest, *more = cells
    spacing = "".join(more)
    if not (frame == "" or (frame.isascii() and frame.isdigit() and len(frame) < 10)):
        faults.append(f"frame {_shown(frame)} is not a whole number from 0")
        frame = ""
    if split and split not in SPLITS:
        faults.append(f"split {_shown(split)} is not {', '.join(SPLITS)} or empty")
        split = ""
    if digest and not _is_sha256(digest):
        faults.append("sha256 is not 64 hexadecimal digits")
        digest = ""
    millimeters = _millimeters(spacing)
    if spacing and millimeters is None:
        faults.append(f"spacing_mm {_shown(spacing)} is not a number above 0")
    row = Row(path, int(frame or 0), patient, corpus, label, mask, split, digest.lower())
    return replace(row, spacing_mm=millimeters), faults


def _millimeters(text: str) -> float | None:
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) and number > 0 else None


def _path_problems(manifest: Manifest) -> Iterator[str]:
    verdicts = path_verdicts(manifest)
    for position, row in enumerate(manifest.rows):
        for name, path in (("image", row.path), ("mask", row.mask_path)):
            if verdicts.get(path):
                yield f"row {position + FIRST_ROW}: {name} {_shown(path)} {verdicts[path]}"


def _path_verdict(folder: Path, path: str, inside: Callable[[str], bool]) -> str:
    """What is wrong with ``path``, or an empty string."""
    if path.startswith("/") or ntpath.splitdrive(path)[0]:
        return "is an absolute path; paths are relative to the manifest"
    if ".." in path.replace("\\", "/").split("/"):
        return "leaves the manifest's folder; '..' is not allowed"
    place = f"{folder}/{path}".rstrip("/")
    try:
        mode = _mode(place)
        if not inside(place if stat.S_ISLNK(mode) else place.rpartition("/")[0]):
            return "is a link that leaves the manifest's folder"
        if stat.S_ISLNK(mode):
            mode = Path(place).resolve().stat().st_mode
    except FileNotFoundError:
        return "does not exist"
    except (OSError, ValueError, RuntimeError):  # name too long, null byte, loop of links
        return "cannot be looked up"
    return "" if stat.S_ISREG(mode) else "does not exist"


def _mode(place: str) -> int:
    """Of what is there, or of the link that is there; 0 where there is nothing."""
    try:
        return os.lstat(place).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return 0


def _duplicates(rows: tuple[Row, ...]) -> Iterator[str]:
    first: dict[tuple[str, int, str], int] = {}
    for position, row in enumerate(rows):
        key = (row.path, row.frame, row.mask_path)
        seen = first.setdefault(key, position)
        if row.path and seen != position:
            yield f"{where(position, row)}: frame {row.frame} is listed already in row {seen + 2}"


def _split_leaks(rows: tuple[Row, ...]) -> Iterator[str]:
    """A patient in two splits makes every test figure worthless."""
    first: dict[str, int] = {}
    for position, row in enumerate(rows):
        if not (row.split and row.patient_id):
            continue
        seen = first.setdefault(row.patient_id, position)
        if rows[seen].split != row.split:
            yield (
                f"{where(position, row)}: its patient is in split {row.split!r} here and in "
                f"{rows[seen].split!r} in row {seen + FIRST_ROW}; a patient belongs to one split"
            )


def _is_sha256(text: str) -> bool:
    return len(text) == 64 and all(digit in "0123456789abcdefABCDEF" for digit in text)


def _shown(text: str) -> str:
    return repr(text if len(text) <= 120 else text[:117] + "...")

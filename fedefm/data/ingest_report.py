"""``ingest_report.csv``: what became of files that were not taken as they are, and why.

Files are running numbers (see ``fedefm.data.file_numbers``) and reasons are sentences of ours, so
the report can be passed on. One line stands for all frames of a file that share a reason.
"""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, fields
from itertools import groupby
from pathlib import Path
from typing import Literal

from fedefm.data.file_numbers import FileNumbers

REPORT_NAME = "ingest_report.csv"


@dataclass(frozen=True)
class Line:
    """``frames`` are counted from 0, as ``0-6 8-12`` or ``7``; empty stands for the whole file."""

    file: int
    frames: str
    outcome: Literal["left out", "taken"]
    reason: str

    @property
    def frame_count(self) -> int:
        """How many frames it names; 0 where it stands for the whole file."""
        ends = [run.split("-") for run in self.frames.split()]
        return sum(int(run[-1]) - int(run[0]) + 1 for run in ends)


def fault_lines(file: int, faults: Sequence[tuple[int, str]], whole: bool) -> list[Line]:
    """Lines for frames of a file that cannot be used; ``whole`` where none of it can."""
    lines = []
    for reason, group in groupby(sorted(faults), key=lambda fault: fault[1]):
        frames = [frame for frame, _ in group]
        everything = whole and len(frames) == len(faults)
        lines.append(Line(file, "" if everything else span(frames), "left out", reason))
    return lines


def span(frames: Iterable[int]) -> str:
    """Ascending frames, runs drawn together: ``0-6 8-12``."""
    runs: list[list[int]] = []
    for frame in frames:
        if runs and frame == runs[-1][-1] + 1:
            runs[-1][1:] = [frame]
        else:
            runs.append([frame])
    return " ".join("-".join(map(str, run)) for run in runs)


def write_report(path: Path, lines: Iterable[Line]) -> None:
    """Write the lines in order of their files."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(field.name for field in fields(Line))
        writer.writerows(map(astuple, sorted(lines, key=lambda line: line.file)))


def sentences(lines: Iterable[Line], numbers: FileNumbers) -> list[str]:
    """The lines as messages tell them."""
    return [_sentence(numbers.name_of(line.file), line) for line in lines]


def _sentence(name: str, line: Line) -> str:
    """A reason begins with a verb, or with the thing that it is about."""
    noun = "frame" if line.frames.isdecimal() else "frames"
    frames = f", {noun} {line.frames}" if line.frames else ""
    stop = ":" if line.reason.startswith(("it", "the ")) else ""
    return f"{name}{frames}{stop} {line.reason}"

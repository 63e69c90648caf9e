"""The frames of an ingest, done by several processes, and continued where an earlier run ended."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from fedefm.data.file_pool import finished
from fedefm.data.ingest_frames import Task, crashed, placed
from fedefm.data.ingest_report import Line, fault_lines
from fedefm.data.manifest import Row
from fedefm.data.unfinished import UnfinishedFolder

FEW_FRAMES = 64  # are done before a second process has started

Progress = Callable[[int, int], None]


class Steps:
    """Frames that are done, told as they come."""

    def __init__(self, total: int, progress: Progress | None) -> None:
        self.total, self.done, self._progress = total, 0, progress

    def add(self, frames: int) -> None:
        self.done += frames
        if self._progress:
            self._progress(self.done, self.total)


def filled(
    tasks: Sequence[Task],
    unfinished: UnfinishedFolder,
    processes: int,
    steps: Steps,
    isolated: bool,
) -> tuple[tuple[Row, ...], list[Line]]:
    """The rows of all frames that can be used, and what is wrong with the others.

    ``isolated`` keeps decoders that may crash out of this process, however few the frames are.
    """
    notes = unfinished.done()
    for number in notes:
        steps.add(len(tasks[number].frames))
    left = [task for task in tasks if task.number not in notes]
    few = sum(len(task.frames) for task in left) < FEW_FRAMES and not isolated
    for done in finished(placed, left, 1 if few else processes, crashed):
        notes[done.task] = {"rows": [asdict(row) for row in done.rows], "faults": done.faults}
        unfinished.note(done.task, done.written, notes[done.task])
        steps.add(len(tasks[done.task].frames))
    rows = tuple(Row(**row) for task in tasks for row in notes[task.number]["rows"])
    return rows, _faults(tasks, notes)


def _faults(tasks: Sequence[Task], notes: Mapping[int, Any]) -> list[Line]:
    frames: dict[int, int] = {}
    faults: dict[int, list[tuple[int, str]]] = {}
    for task in tasks:
        frames[task.file] = frames.get(task.file, 0) + len(task.frames)
        for frame, reason in notes[task.number]["faults"]:
            faults.setdefault(task.file, []).append((frame, reason))
    return [
        line
        for file, some in faults.items()
        for line in fault_lines(file, some, whole=len(some) == frames[file])
    ]

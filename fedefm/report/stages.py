"""What every task was worth after every stage: whether late stages forget what early ones taught.

A task's head stays at its site. Until the site's own stage is over its head has learned nothing,
and what is measured then says nothing of the encoder. Where sites tell sums, the tasks of those who
train together are told as one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from fedefm.report.numbers import listed
from fedefm.report.record import RunRecord

Key = tuple[str, int]  # who, and after which round from 1
Cell = tuple[float | None, bool, bool]  # score, of a head that has learned, of the task's own stage


@dataclass(frozen=True)
class StagedTask:
    """One site's task, or those of a stage's sites together; ``cells`` by stage.

    ``kept`` is the change since the own stage.
    """

    site: str
    kind: str
    cells: tuple[Cell, ...]

    @property
    def kept(self) -> float | None:
        """The last score less the one after the own last stage; None where none came after it."""
        own = [score for score, _, own in self.cells if own]
        last, in_last = self.cells[-1][0], self.cells[-1][2]
        return None if in_last or own[-1] is None or last is None else last - own[-1]


@dataclass(frozen=True)
class Stages:
    """All tasks of a run, and how each stage is called; ``in_sums`` those of sites together."""

    names: tuple[str, ...]
    tasks: tuple[StagedTask, ...]
    in_sums: bool = False

    def meaning(self) -> str:
        """What became of the tasks of earlier stages, in a sentence."""
        changes = {task.site: task.kept for task in self.tasks if not task.cells[-1][2]}
        known = {site: change for site, change in changes.items() if change is not None}
        if not known:
            return "Whether later stages forget earlier ones was not measured."
        worst = min(known, key=lambda site: known[site])
        mean = sum(known.values()) / len(known)
        return (
            f"Since their own stage the tasks of earlier stages changed by {_points(mean)} in the "
            f"mean; the largest loss or smallest gain is {worst}'s, {_points(known[worst])}."
        )


def stages_of(record: RunRecord) -> Stages | None:
    """The stages of ``record``; None for a run without them, or where they were not told apart."""
    told = record.setting("stagewise")
    if not isinstance(told, dict):
        return None
    rows = _of_sums(record, told) if record.tells_sums else _of_sites(record, told)
    if not rows:
        return None
    # as sites first appear in the record, so that they have one color in all figures
    rows.sort(key=lambda row: ([own for _, _, own in row.cells].index(True), row.site))
    names = tuple(of_stages([k]) for k in range(1, len(told["stages"]) + 1))
    return Stages(names, tuple(rows), in_sums=record.tells_sums)


def first_rounds(record: RunRecord) -> dict[str, int]:
    """In which round, from 1, each site begins to train, where stages say so."""
    told = record.setting("stagewise")
    found: dict[str, int] = {}
    begins = 1
    for stage in told["stages"] if isinstance(told, dict) else ():
        found = {**dict.fromkeys(stage["sites"], begins), **found}
        begins += int(stage["rounds"])
    return found


def of_stages(numbers: Sequence[int]) -> str:
    """How stages of these numbers, counted from 1, are called, and who trains in them."""
    return f"stage{'s' if len(numbers) > 1 else ''} {listed(map(str, numbers))}"


def _of_sites(record: RunRecord, told: Mapping[str, Any]) -> list[StagedTask]:
    measured = {
        (event["site"], event["round"]): event["score"]
        for event in record.of("evaluated")
        if event.get("split") == "validation"
    }
    rows = []
    for site, task in told["tasks"].items():
        own = [k for k, stage in enumerate(told["stages"], start=1) if site in stage["sites"]]
        rows.append(_row(site, str(task["kind"]), own, told["stages"], measured))
    return rows


def _of_sums(record: RunRecord, told: Mapping[str, Any]) -> list[StagedTask]:
    measured, own_stages = dict[Key, float | None](), dict[str, list[int]]()
    for event in record.of("stage"):
        who = of_stages(event["stages"])
        measured[who, event["round"]], own_stages[who] = event["score"], event["stages"]
    rows = []
    for who, own in own_stages.items():
        kinds = [str(told["tasks"][site]["kind"]) for site in told["stages"][own[0] - 1]["sites"]]
        rows.append(_row(who, listed(dict.fromkeys(kinds)), own, told["stages"], measured))
    return rows


def _row(
    who: str,
    kind: str,
    own_stages: Sequence[int],
    stages: Sequence[Mapping[str, Any]],
    measured: Mapping[Key, float | None],
) -> StagedTask:
    own = [number in own_stages for number in range(1, len(stages) + 1)]
    ends = accumulate(int(stage["rounds"]) for stage in stages)
    scores = [measured.get((who, end)) for end in ends]
    return StagedTask(who, kind, tuple(zip(scores, accumulate(own, max), own, strict=True)))


def _points(change: float) -> str:
    """A difference of shares, with its sign."""
    return f"{100 * change:+.1f} points"

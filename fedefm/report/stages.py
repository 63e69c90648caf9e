"""What every task was worth after every stage: whether late stages forget what early ones taught.

A task's head stays at its site. Until the site's own stage is over its head has learned nothing,
and what is measured then says nothing of the encoder.
"""

from dataclasses import dataclass
from itertools import accumulate

from fedefm.report.record import RunRecord

Cell = tuple[float | None, bool, bool]  # score, of a head that has learned, of the task's own stage


@dataclass(frozen=True)
class StagedTask:
    """One site's task; ``cells`` by stage. ``kept`` is the change since its own stage."""

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
    """All tasks of a run, and how each stage is called."""

    names: tuple[str, ...]
    tasks: tuple[StagedTask, ...]

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
    """The stages of ``record``; None for a run without them, or where sites told sums alone."""
    told = record.setting("stagewise")
    if not isinstance(told, dict) or record.tells_sums:
        return None
    stages, tasks = told["stages"], told["tasks"]
    ends = list(accumulate(int(stage["rounds"]) for stage in stages))
    measured = {
        (event["site"], event["round"]): event["score"]
        for event in record.of("evaluated")
        if event.get("split") == "validation"
    }
    rows = []
    for site, task in tasks.items():
        own = [site in stage["sites"] for stage in stages]
        learned = list(accumulate(own, max))
        scores = [measured.get((site, end)) for end in ends]
        cells = tuple(zip(scores, learned, own, strict=True))
        rows.append(StagedTask(site, str(task["kind"]), cells))
    first = {row.site: [own for _, _, own in row.cells].index(True) for row in rows}
    rows.sort(key=lambda row: first[row.site])
    return Stages(tuple(f"stage {k}" for k in range(1, len(stages) + 1)), tuple(rows))


def _points(change: float) -> str:
    """A difference of shares, with its sign."""
    return f"{100 * change:+.1f} points"

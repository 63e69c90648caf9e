"""Who took part in which round: one strip a site, colored by what became of the site's turn."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from fedefm.report.figures.canvas import (
    ABSENT,
    FAILED,
    GROUND,
    LATE,
    MUTED,
    OK,
    PAPER,
    RULE,
    drawn,
    shortened,
)
from fedefm.report.figures.curves import round_axis
from fedefm.report.numbers import count, ranges

LOOKS = {  # color and hatching, so that color is never the only sign
    "ok": (OK, "", "took part"),
    "late": (LATE, "///", "late"),
    "failed": (FAILED, "xxx", "failed"),
    "absent": (ABSENT, "\\\\\\", "absent"),
    "resting": (RULE, "", "not asked"),
}
PLANNED = ("ok", "resting")


def participation_figure(
    statuses: Mapping[tuple[str, int], str], sites: Sequence[str], rounds: int
) -> Markup:
    """One row a site and one cell a round; ``statuses`` by (site, round number from 1)."""

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        for row, site in enumerate(sites):
            axes.barh(row, rounds, left=0.5, height=0.66, color=GROUND)
            for start, length, status in _runs(statuses.get((site, n)) for n in _all(rounds)):
                _strip(axes, row, start, length, status, hatched=length / rounds > 0.02)
        _separate_rounds(axes, rounds)
        axes.set_yticks(range(len(sites)), [shortened(site) for site in sites])
        axes.set_ylim(len(sites) - 0.5, -0.5)
        axes.set_xlim(0.5, rounds + 0.5)
        axes.tick_params(length=0)
        axes.spines[["left", "bottom"]].set_visible(False)
        round_axis(axes)
        _legend(figure, statuses)

    size = (9.6, 0.95 + 0.27 * len(sites))
    return drawn("participation", _told(statuses, sites, rounds), size, paint)


def _told(statuses: Mapping[tuple[str, int], str], sites: Sequence[str], rounds: int) -> str:
    missed = {
        site: [n for n in _all(rounds) if statuses.get((site, n), "ok") not in PLANNED]
        for site in sites
    }
    parts = [f"{site} missed {ranges(numbers)}" for site, numbers in missed.items() if numbers]
    told = "; ".join(parts) or "nobody missed one"
    return f"Which site took part in which of {count(rounds, 'round')}: {told}."


def _all(rounds: int) -> range:
    return range(1, rounds + 1)


def _runs(cells: Iterable[str | None]) -> list[tuple[int, int, str]]:
    """Equal neighbors as one: (first round, how many, status); rounds without a record left out."""
    runs, start = [], 1
    for status, group in groupby(cells):
        length = len(list(group))
        if status is not None:
            runs.append((start, length, status))
        start += length
    return runs


def _strip(axes: Axes, row: int, start: int, length: int, status: str, *, hatched: bool) -> None:
    color, hatch, _ = LOOKS.get(status, (MUTED, "xx", status))
    axes.barh(
        row, length, left=start - 0.5, height=0.66, color=color, hatch=hatch * hatched, linewidth=0
    )


def _separate_rounds(axes: Axes, rounds: int) -> None:
    if rounds <= 60:
        axes.vlines([n + 0.5 for n in range(rounds)], -0.5, 1000, color=PAPER, linewidth=0.8)


def _legend(figure: Figure, statuses: Mapping[tuple[str, int], str]) -> None:
    seen = set(statuses.values())
    patches = [
        Patch(facecolor=color, hatch=hatch, label=label, linewidth=0)
        for status, (color, hatch, label) in LOOKS.items()
        if status in seen
    ]
    patches.append(Patch(facecolor=GROUND, label="no record", linewidth=0))
    figure.legend(handles=patches, loc="outside upper right", ncols=6, fontsize=8.5)

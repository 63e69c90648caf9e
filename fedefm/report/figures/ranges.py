"""Values with their intervals, one row each: a dot and a line on a common axis."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from fedefm.report.figures.canvas import ABOVE_AXES, ACCENT, MUTED, drawn, shortened
from fedefm.report.measures import Words
from fedefm.report.numbers import percent


@dataclass(frozen=True)
class Row:
    """A share in [0, 1] with its interval, where there is one."""

    name: str
    value: float
    interval: tuple[float, float] | None = None
    bold: bool = False


def ranges_figure(
    name: str,
    title: str,
    rows: Sequence[Row],
    words: Words,
    references: Sequence[tuple[str, float]] = (),
) -> Markup:
    """``rows`` from top to bottom; ``references`` are levels with a name, drawn dashed."""

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        for place, row in enumerate(rows):
            if row.interval:
                thick = 3.2 if row.bold else 1.8
                axes.plot(row.interval, (place, place), color=ACCENT, linewidth=thick)
            (dot,) = axes.plot(row.value, place, "D" if row.bold else "o", color=ACCENT)
            dot.set(clip_on=False, zorder=ABOVE_AXES)
            axes.annotate(
                percent(row.value),
                (1, place),
                (8, 0),
                xycoords=("axes fraction", "data"),
                textcoords="offset points",
                va="center",
                fontweight="bold" if row.bold else "normal",
            )
        _name_levels(axes, references)
        axes.set_yticks(range(len(rows)), [shortened(row.name) for row in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlim(min([0.0, *(row.value for row in rows)]), 1)
        axes.xaxis.set_major_formatter(PercentFormatter(1))
        axes.set_xlabel(words.axis)
        axes.tick_params(axis="y", length=0, pad=8)  # room for a dot at 0
        axes.spines["left"].set_visible(False)
        axes.grid(axis="x")

    told = " ".join(_told(row) for row in rows)
    size = (9.6, 0.95 + 0.27 * len(rows))
    return drawn(name, f"{words.title}. {title}: {told}", size, paint)


def _name_levels(axes: Axes, references: Sequence[tuple[str, float]]) -> None:
    """Dashed lines with names above them; names of two levels lead away from each other."""
    lowest = min((level for _, level in references), default=0.0)
    for name, level in references:
        side = -1 if level == lowest else 1
        if len(references) == 1:
            side = 0
        axes.axvline(level, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
        axes.annotate(
            name,
            (level, 1),
            (3 * side, 4),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha={-1: "right", 0: "center", 1: "left"}[side],
            color=MUTED,
        )


def _told(row: Row) -> str:
    if row.interval is None:
        return f"{row.name}: {percent(row.value)}."
    low, high = map(percent, row.interval)
    return f"{row.name}: {percent(row.value)}, interval {low} to {high}."

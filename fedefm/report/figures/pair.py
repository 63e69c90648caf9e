"""Curves of two runs on the same axes, told apart by color, dashes and name."""

from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from fedefm.report import in_words
from fedefm.report.figures.canvas import ABOVE_AXES, ACCENT, SITE_COLORS, drawn, shortened
from fedefm.report.figures.curves import lowest, name_line_ends, round_axis
from fedefm.report.intervals import Band
from fedefm.report.measures import Words
from fedefm.report.numbers import decimal, percent
from fedefm.report.record import Series

LOOKS = ((ACCENT, "-"), (SITE_COLORS[1], (0, (5, 2))))


def pair_figure(
    name: str, title: str, lines: Series, bands: Band, score: Words | None = None
) -> Markup:
    """At most two ``lines`` with their ``bands``: of this ``score``, or of the training loss."""

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        labels = []
        rounds_of = [number for points in lines.values() for number, _ in points]
        first, last = min(rounds_of), max(max(rounds_of), min(rounds_of) + 1)
        for (color, dashes), (run, points) in zip(LOOKS, lines.items(), strict=False):
            if run in bands:
                rounds, low, high = zip(*bands[run], strict=True)
                if len(rounds) == 1:  # a band of one round has no width
                    axes.vlines(rounds, low, high, color=color, linewidth=1, clip_on=False)
                axes.fill_between(rounds, low, high, color=color, alpha=0.18, linewidth=0)
            marker = "o" if len(points) <= 12 else ""  # a single point is no line
            drawn_as = axes.plot(*zip(*points, strict=True), color=color, linewidth=2.4)[0]
            drawn_as.set(linestyle=dashes, marker=marker, clip_on=False, zorder=ABOVE_AXES)
            end, value = points[-1]
            if end < last:  # lead from the end of a shorter run to its name
                axes.hlines(value, end, last, color=color, linewidth=0.8, linestyle=":")
            labels.append((shortened(run), color, value))
        if score is not None:
            axes.set_ylim(lowest(lines), 1)
            axes.yaxis.set_major_formatter(PercentFormatter(1))
            axes.set_ylabel(score.axis)
        else:
            axes.set_ylim(bottom=0)
            axes.set_ylabel("training loss (mean over images)")
        axes.set_xlim(first, last)
        round_axis(axes)
        axes.grid(axis="y")
        name_line_ends(axes, labels)

    told = in_words.curves(lines, decimal if score is None else percent)
    return drawn(name, f"{title}. {told}", (9.6, 3.8), paint)

"""What was spent over time against the cap, as a figure."""

from collections.abc import Callable
from datetime import datetime, timedelta

from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure

from privacy.report.facts import DatasetFacts, Moment

Draw = Callable[[str, str, tuple[float, float], Callable[[Figure], None]], str]
"""``draw(name, description, size, paint)``: the SVG of what ``paint`` puts on a figure."""

SIZE = (9.6, 3.2)  # inches
SPENT, PLANNED, CAP = "#0b4f8a", "#9cc3e3", "#b3261e"
NARROWEST = timedelta(hours=1)  # of the time axis, so that a ledger of one minute is no line


def spend_figure(name: str, facts: DatasetFacts, draw: Draw) -> str:
    """Steps of epsilon over time, with what was planned above them and the cap."""
    told = f"Epsilon spent on {facts.name} over time, {facts.spent.record:.3f} at the end"
    if facts.cap is not None:
        told += f", against the cap of {facts.cap:g}"
    return draw(name, told, SIZE, lambda figure: _paint(figure.add_subplot(), facts))


def _paint(axes: Axes, facts: DatasetFacts) -> None:
    moments = facts.moments
    first, last = moments[0].when, moments[-1]
    margin = max(last.when - first, NARROWEST) * 0.03
    start, end = first - margin, last.when + margin
    steps = [Moment(start, 0.0, 0.0), *moments, Moment(end, last.spent, last.committed)]
    days = [_day(moment.when) for moment in steps]
    spent = [moment.spent for moment in steps]
    committed = [moment.committed for moment in steps]
    axes.fill_between(days, spent, committed, step="post", color=PLANNED, alpha=0.55, linewidth=0)
    axes.step(days, spent, where="post", color=SPENT, linewidth=2.2)
    _cap(axes, facts.cap, days[0])
    axes.set_xlim(days[0], days[-1])
    axes.set_ylim(0, 1.12 * max([*committed, facts.cap or 0.0, 1e-3]))
    axes.grid(axis="y")
    axes.set_ylabel(f"epsilon per {facts.unit}")
    locator = AutoDateLocator(minticks=3, maxticks=7)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    _name_ends(axes, last, days[-1])


def _day(when: datetime) -> float:
    return float(date2num(when))  # type: ignore[no-untyped-call]


def _cap(axes: Axes, cap: float | None, start: float) -> None:
    if cap is None:
        return
    axes.axhline(cap, color=CAP, linewidth=1.5, linestyle=(0, (6, 3)))
    axes.annotate(f"cap {cap:g}", (start, cap), (4, 4), textcoords="offset points", color=CAP)


def _name_ends(axes: Axes, last: Moment, end: float) -> None:
    def name(text: str, value: float, color: str, shift: float) -> None:
        axes.annotate(
            text, (end, value), (6, shift), textcoords="offset points", va="center", color=color
        )

    top = axes.get_ylim()[1]
    close = (last.committed - last.spent) / top < 0.08
    name(f"spent {last.spent:.2f}", last.spent, SPENT, -6 if close and _planned(last) else 0)
    if _planned(last):
        name(f"with planned {last.committed:.2f}", last.committed, "#3c6f97", 7 if close else 0)


def _planned(last: Moment) -> bool:
    return last.committed - last.spent > 1e-9

"""What was spent over time against the cap, as a figure."""

import math
from collections.abc import Callable
from datetime import datetime, timedelta

from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure

from privacy.report.facts import DatasetFacts, Moment
from privacy.report.numbers import epsilon

Draw = Callable[[str, str, tuple[float, float], Callable[[Figure], None]], str]
"""``draw(name, description, size, paint)``: the SVG of what ``paint`` puts on a figure."""

SIZE = (9.6, 3.2)  # inches
SPENT, PLANNED, CAP = "#0b4f8a", "#9cc3e3", "#b3261e"
PLANNED_TEXT = "#3c6f97"  # readable on white
NARROWEST = timedelta(hours=1)  # of the time axis, so that a ledger of one minute is no line


def spend_figure(name: str, facts: DatasetFacts, draw: Draw) -> str:
    """Steps of epsilon over time, with what was planned above them and the cap."""
    told = f"Epsilon spent on {facts.name} over time, {epsilon(facts.spent.record)} at the end"
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
    top = _top(facts)
    spent = [min(moment.spent, top) for moment in steps]
    committed = [min(moment.committed, top) for moment in steps]
    axes.fill_between(days, spent, committed, step="post", color=PLANNED, alpha=0.55, linewidth=0)
    axes.step(days, spent, where="post", color=SPENT, linewidth=2.2)
    _cap(axes, facts.cap, days[0])
    axes.set_xlim(days[0], days[-1])
    axes.set_ylim(0, top)
    axes.grid(axis="y")
    axes.set_ylabel(f"epsilon per {facts.unit}")
    locator = AutoDateLocator(minticks=3, maxticks=7)  # type: ignore[no-untyped-call]
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    _name_ends(axes, last, days[-1])


def _top(facts: DatasetFacts) -> float:
    """Of the vertical axis; an epsilon without bound ends there."""
    finite = [one.committed for one in facts.moments if math.isfinite(one.committed)]
    return 1.12 * max([*finite, facts.cap or 0.0, 1e-3])


def _day(when: datetime) -> float:
    return float(date2num(when))  # type: ignore[no-untyped-call]


def _cap(axes: Axes, cap: float | None, start: float) -> None:
    if cap is None:
        return
    axes.axhline(cap, color=CAP, linewidth=1.5, linestyle=(0, (6, 3)))
    axes.annotate(f"cap {cap:g}", (start, cap), (4, 4), textcoords="offset points", color=CAP)


def _name_ends(axes: Axes, last: Moment, end: float) -> None:
    top = axes.get_ylim()[1]
    spent, committed = min(last.spent, top), min(last.committed, top)
    planned = committed - spent > 1e-9
    apart = 7 if planned and (committed - spent) / top < 0.08 else 0
    _name(axes, f"spent {epsilon(last.spent)}", (end, spent), SPENT, -apart)
    if planned:
        told = f"with planned {epsilon(last.committed)}"
        _name(axes, told, (end, committed), PLANNED_TEXT, apart)


def _name(axes: Axes, text: str, place: tuple[float, float], color: str, up: float) -> None:
    axes.annotate(text, place, (6, up), textcoords="offset points", va="center", color=color)

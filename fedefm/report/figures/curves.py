"""Curves over rounds: score and loss, the shared model or the mean in bold, each site thin."""

from collections.abc import Mapping, Sequence

from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from fedefm.report import in_words
from fedefm.report.figures.canvas import (
    ABOVE_AXES,
    ACCENT,
    BAND,
    MUTED,
    QUIET,
    SITE_COLORS,
    drawn,
    shortened,
    spread,
)
from fedefm.report.intervals import Band
from fedefm.report.measures import Words
from fedefm.report.numbers import decimal, percent
from fedefm.report.record import GLOBAL, POOLED, Series

Line = tuple[str, str, float]  # label, color, last value
BOLD = {GLOBAL: "shared model", POOLED: "own models, all sites"}


def score_figure(
    series: Series,
    references: Sequence[tuple[str, float]],
    words: Words,
    bands: Band | None = None,
) -> Markup:
    """Scores (at most 1) by round; ``references`` are levels with a name, drawn dashed.

    Of ``bands`` those of the bold lines are drawn.
    """

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        for name in BOLD:
            _band(axes, (bands or {}).get(name, ()), BAND)
        labels = _lines(axes, {k: v for k, v in series.items() if k not in BOLD})
        labels += [_bold(axes, series[k], label) for k, label in BOLD.items() if k in series]
        for name, level in references:
            axes.axhline(level, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
            labels.append((name, MUTED, level))
        axes.set_ylim(lowest(series), 1)
        axes.yaxis.set_major_formatter(PercentFormatter(1))
        axes.set_ylabel(words.axis)
        _finish(axes, series, labels)

    named = {BOLD.get(name, name): points for name, points in series.items()}
    told = f"{words.title} by round. {in_words.curves(named, percent)}"
    return drawn("score", told, (9.6, 4.2), paint)


def score_by_site(series: Series, bands: Band, words: Words) -> Markup:
    """One small panel a site: its line with the interval, the shared model's in gray behind it."""
    sites = [name for name in series if name not in BOLD]
    columns = min(4, len(sites))
    rows = -(-len(sites) // columns)
    colors = site_colors(sites)
    numbers = [number for points in series.values() for number, _ in points]
    first, last = min(numbers), max(numbers)

    def paint(figure: Figure) -> None:
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat
        for axes, site in zip(grid, sites, strict=False):
            _band(axes, bands.get(site, ()), colors[site], alpha=0.22)
            if GLOBAL in series:
                axes.plot(*zip(*series[GLOBAL], strict=True), color=QUIET, linewidth=1.1)
            axes.plot(*zip(*series[site], strict=True), color=colors[site], linewidth=1.8)
            axes.set_title(shortened(site, 24), fontsize=9)
            axes.set_ylim(lowest(series), 1)
            axes.set_xlim(first, last)
            axes.grid(axis="y")
            axes.yaxis.set_major_formatter(PercentFormatter(1))
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))
        for axes in grid:  # what the sites have left over
            axes.set_visible(False)
        figure.supxlabel("round", fontsize=9, color=MUTED)
        figure.supylabel(words.axis, fontsize=9, color=MUTED)

    ends = {site: bands[site][-1] for site in sites if bands.get(site)}
    told = " ".join(
        f"{site}: {percent(series[site][-1][1])}, interval {percent(low)} to {percent(high)}."
        for site, (_, low, high) in ends.items()
    )
    said = f"{words.title} of each site's model with its interval, by round. At the end, {told}"
    return drawn("score-sites", said, (9.6, 0.6 + 1.55 * rows), paint)


def lowest(series: Series) -> float:
    """Where the axis of scores begins: at 0, or below where a model is worse than nothing."""
    return min([0.0, *(value for points in series.values() for _, value in points)])


def loss_figure(series: Series) -> Markup:
    """Training loss by round; the mean over sites in bold."""
    by_round: dict[int, list[float]] = {}
    for points in series.values():
        for number, value in points:
            by_round.setdefault(number, []).append(value)
    mean = [(number, sum(values) / len(values)) for number, values in sorted(by_round.items())]

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        labels = _lines(axes, {k: v for k, v in series.items() if k != POOLED})
        if len(series) > 1 or POOLED in series:
            labels.append(_bold(axes, mean, "mean of sites"))
        axes.set_ylabel("training loss (mean over images)")
        axes.set_ylim(bottom=0)
        _finish(axes, series, labels)

    lines: Mapping[str, Sequence[tuple[int, float]]] = {"mean of sites": mean, **series}
    told = f"Training loss by round. {in_words.curves(lines, decimal)}"
    return drawn("loss", told, (9.6, 3.4), paint)


def site_colors(names: Sequence[str]) -> dict[str, str]:
    """A color for each site; one quiet color for all where there are too many to tell apart."""
    if len(names) > len(SITE_COLORS):
        return dict.fromkeys(names, QUIET)
    return dict(zip(names, SITE_COLORS, strict=False))


def _band(
    axes: Axes, points: Sequence[tuple[int, float, float]], color: str, alpha: float = 1
) -> None:
    if points:
        rounds, low, high = zip(*points, strict=True)
        axes.fill_between(rounds, low, high, color=color, alpha=alpha, linewidth=0)


def _lines(axes: Axes, series: Series) -> list[Line]:
    """One thin line each; with many lines only the highest and the lowest at the end are named."""
    colors = site_colors(list(series))
    for name, points in series.items():
        axes.plot(
            *zip(*points, strict=True), color=colors[name], linewidth=1.1, marker=_marker(points)
        )
    ends = [(shortened(name), colors[name], points[-1][1]) for name, points in series.items()]
    if len(ends) > len(SITE_COLORS):
        ends.sort(key=lambda end: end[2])
        low, high = ends[0], ends[-1]
        return [
            (f"lowest: {low[0]}", MUTED, low[2]),
            (f"highest: {high[0]}", MUTED, high[2]),
        ]
    return ends


def _bold(axes: Axes, points: list[tuple[int, float]], label: str) -> Line:
    axes.plot(
        *zip(*points, strict=True), color=ACCENT, linewidth=3, marker=_marker(points), markersize=5
    )
    return label, ACCENT, points[-1][1]


def _marker(points: Sequence[object]) -> str:
    return "o" if len(points) <= 12 else ""


def _finish(axes: Axes, series: Series, labels: list[Line]) -> None:
    numbers = [number for points in series.values() for number, _ in points]
    axes.set_xlim(min(numbers) - 0.01, max(numbers) + 0.01)
    for line in axes.lines:
        line.set_clip_on(False)
        line.set_zorder(ABOVE_AXES)
        line.set_markersize(min(line.get_markersize(), 4))
    round_axis(axes)
    axes.grid(axis="y")
    name_line_ends(axes, labels)


def round_axis(axes: Axes) -> None:
    """Whole rounds on the horizontal axis."""
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=10))
    axes.set_xlabel("round")


def name_line_ends(axes: Axes, labels: Sequence[Line]) -> None:
    """Names at the right edge, next to where each line ends, none on top of another."""
    low, high = axes.get_ylim()
    height = axes.get_window_extent().height / axes.figure.dpi * 72  # points
    wanted = [(value - low) / (high - low) * height for _, _, value in labels]
    for (label, color, value), y in zip(labels, spread(wanted, 12.5), strict=True):
        axes.annotate(
            label,
            xy=(1, value),
            xycoords=("axes fraction", "data"),
            xytext=(16, y - (value - low) / (high - low) * height),
            textcoords="offset points",
            va="center",
            color=color,
            fontweight="bold" if color == ACCENT else "normal",
            arrowprops={
                "arrowstyle": "-",
                "color": color,
                "linewidth": 0.6,
                "shrinkA": 1,
                "shrinkB": 3,
                "relpos": (0, 0.5),
            },
        )

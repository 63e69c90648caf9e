"""How alike a site's model and its returned experts see the site's images, over the run."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from numpy.typing import NDArray

from fedefm.report import in_words
from fedefm.report.figures.canvas import ACCENT, BAND, MUTED, RULE, drawn, shortened
from fedefm.report.figures.curves import name_line_ends, round_axis
from fedefm.report.numbers import decimal

Pair = tuple[str, str]  # whose model was taught, where its expert was trained
Agreement = dict[Pair, list[tuple[int, float]]]  # by round number
Matrix = NDArray[np.float64]  # row: model, column: expert, not a number: no such exchange
_PALEST, _STRONGEST = 0.13, 0.48  # opacity; values written on it stay readable, light and dark


def agreement_curve(agreement: Agreement) -> Markup:
    """Mean similarity over all pairs by round, with the range of the pairs."""
    by_round: dict[int, list[float]] = {}
    for points in agreement.values():
        for number, value in points:
            by_round.setdefault(number, []).append(value)
    rounds = sorted(by_round)
    mean = [float(np.mean(by_round[number])) for number in rounds]
    low, high = ([pick(by_round[number]) for number in rounds] for pick in (min, max))
    name = "mean of sites" if len(agreement) == 1 else "mean of pairs"

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.fill_between(rounds, low, high, color=BAND, linewidth=0)
        marker = "o" if len(rounds) <= 40 else ""
        axes.plot(rounds, mean, color=ACCENT, linewidth=2.5, marker=marker, markersize=4)
        axes.set_ylabel("EMD similarity (1 − EMD)")
        axes.set_xlim(min(rounds) - 0.3, max(rounds) + 0.3)
        round_axis(axes)
        axes.grid(axis="y")
        ends = [(name, ACCENT, mean[-1])]
        if len(agreement) > 1:
            ends += [("highest pair", MUTED, high[-1]), ("lowest pair", MUTED, low[-1])]
        name_line_ends(axes, ends)

    line = {name: list(zip(rounds, mean, strict=True))}
    told = f"EMD similarity by round. {in_words.curves(line, _short)}"
    if len(agreement) > 1:
        told += f" In the last of them, the pairs lie between {_short(low[-1])} and "
        told += f"{_short(high[-1])}."
    return drawn("agreement-curve", told, (9.6, 2.9), paint)


def agreement_maps(agreement: Agreement, sites: Sequence[str]) -> Markup:
    """Site by site matrices of the mean similarity, one for each part of the run (four at most)."""
    return pair_maps("agreement-maps", agreement, sites, "mean similarity")


def teaching_maps(shares: Agreement, sites: Sequence[str]) -> Markup:
    """The same of the share that each expert had among those of its round."""
    return pair_maps("teaching-maps", shares, sites, "mean weight")


def pair_maps(name: str, values: Agreement, sites: Sequence[str], meaning: str) -> Markup:
    """Mean of ``values`` for each pair of sites, one matrix for each part of the run."""
    parts = _parts(sorted({number for points in values.values() for number, _ in points}))
    maps = [_matrix(values, sites, part) for part in parts]
    scale = _scale(maps)
    columns = min(len(maps), 4 if len(sites) <= 8 else 2)
    rows = -(-len(maps) // columns)
    side = 1.5 if len(sites) <= 4 else 1.75 if columns > 2 else 3.2
    names = 0.075 * max(len(shortened(site, 14)) for site in sites)  # inches beside a matrix

    def paint(figure: Figure) -> None:
        above = 0.5 / figure.get_figheight()  # the layout forgets the titles of equal-sided axes
        figure.set_layout_engine("compressed", w_pad=0.09, rect=(0, 0, 1, 1 - above))
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat
        for axes in grid[len(maps) :]:
            axes.remove()
        for axes, matrix, part in zip(grid, maps, parts, strict=False):
            _fill_cells(axes, matrix, scale, written=len(sites) <= 6)
            _name_cells(axes, sites, part)
        figure.supylabel("model of", fontsize=9, color=MUTED)
        figure.supxlabel("expert trained at", fontsize=9, color=MUTED)
        _legend(figure, scale, meaning)

    size = (1.2 + (side + 0.25) * columns + names, 0.9 + (side + 0.25) * rows + names)
    return drawn(name, _told(maps[-1], sites, parts[-1], meaning), size, paint)


@dataclass(frozen=True)
class _Scale:
    low: float
    high: float

    def opacity(self, value: float) -> float:
        """How strongly a cell with this value is colored."""
        share = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        return _PALEST + (_STRONGEST - _PALEST) * share


def _parts(rounds: list[int]) -> list[list[int]]:
    return [part.tolist() for part in np.array_split(rounds, min(4, len(rounds)))]


def _matrix(agreement: Agreement, sites: Sequence[str], part: Sequence[int]) -> Matrix:
    place = {site: index for index, site in enumerate(sites)}
    matrix = np.full((len(sites), len(sites)), np.nan)
    for (student, expert), points in agreement.items():
        values = [value for number, value in points if number in part]
        if values and student in place and expert in place:
            matrix[place[student], place[expert]] = np.mean(values)
    return matrix


def _scale(maps: Sequence[Matrix]) -> _Scale:
    values = np.concatenate([matrix[~np.isnan(matrix)] for matrix in maps])
    return _Scale(float(values.min()), float(values.max()))


def _fill_cells(axes: Axes, matrix: Matrix, scale: _Scale, *, written: bool) -> None:
    axes.add_patch(Rectangle((0, 0), len(matrix), len(matrix), fill=False, edgecolor=RULE))
    for (row, column), value in np.ndenumerate(matrix):
        if np.isnan(value):
            continue
        cell = (column + 0.02, row + 0.02)
        opacity = scale.opacity(value)
        axes.add_patch(Rectangle(cell, 0.96, 0.96, facecolor=ACCENT, alpha=opacity, linewidth=0))
        if written:
            axes.text(column + 0.5, row + 0.5, _short(value), ha="center", va="center", size=7.5)


def _name_cells(axes: Axes, sites: Sequence[str], part: Sequence[int]) -> None:
    names = [shortened(site, 14) for site in sites]
    small = 8 if len(sites) <= 8 else 7
    middles = np.arange(len(sites)) + 0.5
    axes.set_aspect("equal")
    axes.set_xlim(0, len(sites))
    axes.set_xticks(middles, names, rotation=90, fontsize=small)
    axes.set_yticks(middles, names, fontsize=small)
    axes.set_ylim(len(sites), 0)
    axes.tick_params(length=0, pad=2)
    for spine in axes.spines.values():
        spine.set_visible(False)
    first, last = part[0], part[-1]
    axes.set_title(f"round {first}" if first == last else f"rounds {first}–{last}")


def _legend(figure: Figure, scale: _Scale, meaning: str) -> None:
    steps = [scale.low] if scale.high == scale.low else np.linspace(scale.low, scale.high, 4)
    patches = [
        Patch(facecolor=ACCENT, alpha=scale.opacity(step), label=_short(step), linewidth=0)
        for step in steps
    ]
    patches.append(Patch(fill=False, edgecolor=RULE, label="no such exchange"))
    box = figure.legend(
        handles=patches, loc="upper left", ncols=5, fontsize=8.5, columnspacing=1.2, title=meaning
    )
    box.get_title().set_fontsize(8.5)
    box.set_alignment("left")


def _told(matrix: Matrix, sites: Sequence[str], part: Sequence[int], meaning: str) -> str:
    """The last matrix in words, from the largest value to the smallest."""
    cells = [(float(v), sites[i], sites[j]) for (i, j), v in np.ndenumerate(matrix) if v == v]
    cells.sort(reverse=True)
    when = f"round {part[0]}" if part[0] == part[-1] else f"rounds {part[0]} to {part[-1]}"
    values = {f"{student} taught by {expert}": value for value, student, expert in cells}
    words = in_words.bars(values, _short, "pair") if values else "no exchange."
    return f"Heat map of the {meaning} of each pair of sites. In {when}: {words}"


def _short(value: float) -> str:
    return decimal(value, 2)

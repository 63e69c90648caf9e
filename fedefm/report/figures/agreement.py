"""How alike a site's model and its returned experts see the site's images, over the run."""

from collections.abc import Sequence

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from numpy.typing import NDArray

from fedefm.report.figures.canvas import ACCENT, MUTED, drawn, shortened
from fedefm.report.figures.curves import name_line_ends, round_axis

Pair = tuple[str, str]  # whose model was taught, where its expert was trained
Agreement = dict[Pair, list[tuple[int, float]]]  # by round number
_BLUES = LinearSegmentedColormap.from_list("agreement", ["#d6e6f2", "#5f9bc8"], N=32)


def agreement_curve(agreement: Agreement) -> Markup:
    """Mean similarity over all pairs by round, with the range of the pairs."""
    by_round: dict[int, list[float]] = {}
    for points in agreement.values():
        for number, value in points:
            by_round.setdefault(number, []).append(value)
    rounds = sorted(by_round)
    mean = [float(np.mean(by_round[number])) for number in rounds]
    low, high = ([pick(by_round[number]) for number in rounds] for pick in (min, max))

    def paint(figure: Figure) -> None:
        axes = figure.add_subplot()
        axes.fill_between(rounds, low, high, color="#cfe0ee", linewidth=0)
        marker = "o" if len(rounds) <= 40 else ""
        axes.plot(rounds, mean, color=ACCENT, linewidth=2.5, marker=marker, markersize=4)
        axes.set_ylabel("EMD similarity (1 − EMD)")
        axes.set_xlim(min(rounds) - 0.3, max(rounds) + 0.3)
        round_axis(axes)
        axes.grid(axis="y")
        name = "mean of sites" if len(agreement) == 1 else "mean of pairs"
        ends = [(name, ACCENT, mean[-1])]
        if len(agreement) > 1:
            ends += [("highest pair", MUTED, high[-1]), ("lowest pair", MUTED, low[-1])]
        name_line_ends(axes, ends)

    return drawn("agreement-curve", "Agreement between sites by round", (9.6, 2.9), paint)


def agreement_maps(agreement: Agreement, sites: Sequence[str]) -> Markup:
    """Site by site matrices of the mean similarity, one for each part of the run (four at most)."""
    parts = _parts(sorted({number for points in agreement.values() for number, _ in points}))
    maps = [_matrix(agreement, sites, part) for part in parts]
    scale = _scale(maps)
    columns = min(len(maps), 4 if len(sites) <= 8 else 2)
    rows = -(-len(maps) // columns)
    side = 1.5 if len(sites) <= 4 else 1.75 if columns > 2 else 3.2
    names = 0.075 * max(len(shortened(site, 14)) for site in sites)  # inches beside a matrix

    def paint(figure: Figure) -> None:
        above = 0.22 / figure.get_figheight()  # the layout forgets the titles of equal-sided axes
        figure.set_layout_engine("compressed", w_pad=0.09, rect=(0, 0, 1, 1 - above))
        grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).flat
        for axes in grid[len(maps) :]:
            axes.remove()
        for axes, matrix, part in zip(grid, maps, parts, strict=False):
            image = axes.pcolormesh(matrix, cmap=_BLUES, norm=scale)
            _name_cells(axes, sites, part)
            if len(sites) <= 5:
                _write_values(axes, matrix)
        figure.supylabel("model of", fontsize=9, color=MUTED)
        figure.supxlabel("expert trained at", fontsize=9, color=MUTED)
        bar = figure.colorbar(image, ax=list(grid[: len(maps)]), shrink=0.8, aspect=14 * rows)
        bar.set_label("mean similarity")
        bar.outline.set_visible(False)

    size = (1.9 + (side + 0.25) * columns + names, 0.6 + (side + 0.25) * rows + names)
    return drawn("agreement-maps", "Agreement of each pair of sites", size, paint)


def _parts(rounds: list[int]) -> list[list[int]]:
    return [part.tolist() for part in np.array_split(rounds, min(4, len(rounds)))]


def _matrix(agreement: Agreement, sites: Sequence[str], part: Sequence[int]) -> NDArray[np.float64]:
    place = {site: index for index, site in enumerate(sites)}
    matrix = np.full((len(sites), len(sites)), np.nan)
    for (student, expert), points in agreement.items():
        values = [value for number, value in points if number in part]
        if values and student in place and expert in place:
            matrix[place[student], place[expert]] = np.mean(values)
    return matrix


def _scale(maps: Sequence[NDArray[np.float64]]) -> Normalize:
    values = np.concatenate([matrix[~np.isnan(matrix)] for matrix in maps])
    low, high = float(values.min()), float(values.max())
    margin = max(0.005, 0.05 * (high - low))
    return Normalize(low - margin, high + margin)


def _name_cells(axes: Axes, sites: Sequence[str], part: Sequence[int]) -> None:
    names = [shortened(site, 14) for site in sites]
    small = 8 if len(sites) <= 8 else 7
    middles = np.arange(len(sites)) + 0.5
    axes.set_aspect("equal")
    axes.set_xticks(middles, names, rotation=90, fontsize=small)
    axes.set_yticks(middles, names, fontsize=small)
    axes.set_ylim(len(sites), 0)
    axes.tick_params(length=0, pad=2)
    axes.set_facecolor("#f4f6f8")
    for spine in axes.spines.values():
        spine.set_visible(False)
    first, last = part[0], part[-1]
    axes.set_title(f"round {first}" if first == last else f"rounds {first}–{last}")


def _write_values(axes: Axes, matrix: NDArray[np.float64]) -> None:
    for (row, column), value in np.ndenumerate(matrix):
        if not np.isnan(value):
            axes.text(column + 0.5, row + 0.5, f"{value:.2f}", ha="center", va="center", size=7.5)

"""Who sums with whom in which round, as a picture for a file.

Sites that share two cohorts in turn stand as the grid that they are, all others in a circle.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fedefm.report.figures.canvas import ACCENT, FAILED, INK, MUTED, SITE_COLORS, saved, shortened

Position = tuple[float, float]
Pair = tuple[str, str]
_SERVER = "server"
_ACROSS = 3  # panels in a row
_CROWD = 16  # in a circle of more, names must turn to have room


@dataclass(frozen=True)
class Panel:
    """Rounds that look alike: ``cohorts`` with one sum each, other sums as ``links``.

    ``releases`` are pairs that exchange whole models.
    """

    title: str
    cohorts: Sequence[Sequence[str]] = ()
    links: Sequence[Pair] = ()
    releases: Sequence[Pair] = ()

    @property
    def named(self) -> set[str]:
        """Who does something."""
        return {name for group in (*self.cohorts, *self.links, *self.releases) for name in group}


@dataclass(frozen=True)
class Marks:
    """Sites that stand out, and the sentence that says why."""

    colluding: frozenset[str] = frozenset()
    exposed: frozenset[str] = frozenset()
    sentence: str = ""


def save_cohorts(path: Path, sites: Sequence[str], panels: Sequence[Panel], marks: Marks) -> None:
    """Write the picture to ``path``, which ends in .png or .svg."""
    across = min(_ACROSS, len(panels))
    down = math.ceil(len(panels) / across)
    grid = _grid(sites, panels)
    places = _with_server(grid, panels) if grid else _with_server(_circle(sites, panels), panels)
    width, height = (4.2, 3.4) if grid else (4.2, 4.2) if len(sites) <= _CROWD else (5.4, 5.4)

    def paint(figure: Figure) -> None:
        for number, panel in enumerate(panels, start=1):
            axes = figure.add_subplot(down, across, number)
            _draw(axes, places, panel, marks, crowded=not grid and len(sites) > _CROWD)
        figure.supxlabel(marks.sentence, fontsize=10, color=MUTED)

    saved(path, (max(7.0, across * width), down * height), paint)


def _with_server(places: dict[str, Position], panels: Sequence[Panel]) -> dict[str, Position]:
    """Who is in a panel and no site has the middle of the circle, or stands beside the grid."""
    beside = max(x for x, _ in places.values()) + 1.0, min(y for _, y in places.values()) / 2
    in_circle = all(abs(math.hypot(*place) - 1) < 1e-9 for place in places.values())
    others = set().union(*(panel.named for panel in panels)) - places.keys()
    return places | dict.fromkeys(others, (0.0, 0.0) if in_circle else beside)


def _circle(sites: Sequence[str], panels: Sequence[Panel]) -> dict[str, Position]:
    """The first on top, clockwise; the members of the first panel's cohorts side by side."""
    together = [name for panel in panels[:1] for cohort in panel.cohorts for name in cohort]
    order = [*together, *(site for site in sites if site not in together)]
    turn = 2 * math.pi / len(order)
    return {name: (math.sin(turn * k), math.cos(turn * k)) for k, name in enumerate(order)}


def _grid(sites: Sequence[str], panels: Sequence[Panel]) -> dict[str, Position]:
    """By row and column, where exactly two panels divide all sites and any two cohorts meet."""
    dividing = [
        panel.cohorts
        for panel in panels
        if len(panel.cohorts) > 1 and sorted(s for c in panel.cohorts for s in c) == sorted(sites)
    ]
    if len(dividing) != 2:
        return {}
    rows, columns = dividing
    places: dict[str, Position] = {}
    for y, row in enumerate(rows):
        for x, column in enumerate(columns):
            both = sorted(set(row) & set(column))
            for k, site in enumerate(both):  # uneven rows have two in a place
                aside = 0.32 * (k - (len(both) - 1) / 2)
                places[site] = (x + aside, -y - aside)
    return places


def _draw(
    axes: Axes, places: Mapping[str, Position], panel: Panel, marks: Marks, crowded: bool
) -> None:
    for pairs, style, shade in ((panel.links, "-", "#6d9dc1"), (panel.releases, "--", "#b5450b")):
        for a, b in pairs:
            ends = zip(places[a], places[b], strict=True)
            axes.plot(*ends, style, color=shade, linewidth=1.3)
    colors: dict[str, str] = {}
    for number, cohort in enumerate(panel.cohorts):
        shade = SITE_COLORS[number % len(SITE_COLORS)]
        colors |= dict.fromkeys(cohort, shade)
        corners = _around([places[name] for name in cohort])
        axes.plot(*zip(*corners, corners[0], strict=True), color=shade, linewidth=3, alpha=0.55)
    for name in places.keys() & (panel.named | marks.colluding | marks.exposed):
        color = FAILED if name in marks.exposed else colors.get(name, ACCENT)
        _dot(axes, places[name], INK if name in marks.colluding else color, name in marks.colluding)
        _label(axes, name, places[name], FAILED if name in marks.exposed else INK, crowded)
    for name in places.keys() - panel.named - marks.colluding - marks.exposed - {_SERVER}:
        axes.plot(*places[name], "o", color="#c3cbd2", markersize=7, zorder=3)
    axes.set_title(panel.title, loc="center")
    axes.set_aspect("equal")
    axes.margins(0.2 if crowded else 0.14)
    axes.axis("off")


def _dot(axes: Axes, place: Position, color: str, colluding: bool) -> None:
    shape = "s" if colluding else "o"
    axes.plot(*place, shape, color=color, markersize=10, zorder=4, clip_on=False)


def _label(axes: Axes, name: str, place: Position, color: str, crowded: bool) -> None:
    """Above the dot; along the circle's spoke where the names would touch."""
    x, y = place
    turned = crowded and math.hypot(x, y) > 0.5
    angle = math.degrees(math.atan2(y, x))
    left = abs(angle) > 90
    axes.annotate(
        shortened(name, 14),
        place,
        xytext=(9 * x, 9 * y) if turned else (0, 9),
        textcoords="offset points",
        rotation=angle + (180 if left else 0) if turned else 0,
        rotation_mode="anchor",
        ha=("right" if left else "left") if turned else "center",
        va="center" if turned else "baseline",
        fontsize=8,
        color=color,
        zorder=5,
        bbox={"boxstyle": "square,pad=0.05", "fc": "white", "ec": "none", "alpha": 0.7},
    )


def _around(points: Sequence[Position]) -> list[Position]:
    """The points on a walk around their middle, or along the line on which they lie."""
    x, y = (sum(values) / len(points) for values in zip(*points, strict=True))
    spread = max(abs(a - x) * abs(d - y) for a, _ in points for _, d in points)
    if spread < 1e-9:
        return sorted(points)
    return sorted(points, key=lambda point: math.atan2(point[1] - y, point[0] - x))

"""The drawing ground of every figure: one style, and an SVG that can stand inside a page.

Text stays text, so that it can be searched, read aloud and printed sharply. Names from a run are
never read as markup: matplotlib's formula syntax is off and the SVG is built by an XML writer.
Colors become the style sheet's (report.css), so that a figure is dark where its page is.
"""

import io
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib
from markupsafe import Markup
from matplotlib.figure import Figure

INK, MUTED, RULE, GROUND = "#1b2733", "#55636f", "#d5dce2", "#eef2f5"
PAPER, GRID, ACCENT = "#ffffff", "#e7ecf0", "#0b4f8a"
SECOND, BAND, LINK, QUIET = "#6aaed6", "#cfe0ee", "#8fb4d0", "#8896a3"
SITE_COLORS = (  # each at least 4.5:1 against white, and apart for the color-blind
    "#0072a8", "#b5450b", "#15775a", "#8a3f87", "#866000", "#a3123c", "#4b5bbf", "#5d6a00",
)  # fmt: skip
ABOVE_AXES = 3  # order of drawing: axis lines, at 2.5, would cut dots that lie on them in half
OK, LATE, FAILED, ABSENT = "#3a86b8", "#e0a526", "#b3261e", "#98a4ae"
THEMED = {  # color of a drawing -> variable of the style sheet
    INK: "ink", MUTED: "muted", RULE: "rule", GROUND: "ground", PAPER: "paper", GRID: "grid",
    ACCENT: "accent", SECOND: "second", BAND: "band", LINK: "link", QUIET: "quiet",
    OK: "ok", LATE: "late", FAILED: "failed", ABSENT: "absent",
    "#9cc3e3": "planned", "#3c6f97": "planned-text",
    **{color: f"site-{place + 1}" for place, color in enumerate(SITE_COLORS)},
}  # fmt: skip

_STYLE: Any = {
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": "DejaVu Sans",  # wider than what browsers put in its place: nothing collides
    "font.size": 9,
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "axes.facecolor": "none",
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": RULE,
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "legend.frameon": False,
    "hatch.linewidth": 1.2,
    "hatch.color": PAPER,
}
_SVG, _LINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
ElementTree.register_namespace("", _SVG)
ElementTree.register_namespace("xlink", _LINK)


def drawn(
    name: str,
    description: str,
    size: tuple[float, float],
    paint: Callable[[Figure], None],
    *,
    cropped: bool = False,
) -> Markup:
    """The SVG of what ``paint`` puts on a figure of ``size`` (inches).

    ``name`` sets the figure's element ids apart from those of the other figures of the page;
    ``description`` is what a screen reader says: what is shown, in words and figures. ``cropped``
    leaves out the empty ground around the drawing.
    """
    buffer = io.StringIO()
    with _painted(size, paint) as figure:
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        around = "tight" if cropped else None
        figure.savefig(buffer, format="svg", metadata=nothing, bbox_inches=around)
    return _inline(buffer.getvalue(), name, description)


def saved(path: Path, size: tuple[float, float], paint: Callable[[Figure], None]) -> None:
    """Write what ``paint`` puts on a figure of ``size`` (inches) to ``path``, by its ending."""
    with _painted(size, paint) as figure:
        figure.savefig(path, dpi=150, facecolor="white")


@contextmanager
def _painted(size: tuple[float, float], paint: Callable[[Figure], None]) -> Iterator[Figure]:
    with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # the browser has the missing letters
        figure = Figure(figsize=size, layout="constrained")
        paint(figure)
        yield figure


def shortened(name: str, length: int = 22) -> str:
    """``name`` cut in its middle where it is longer than ``length``."""
    half = (length - 1) // 2
    return name if len(name) <= length else f"{name[:half]}…{name[-half:]}"


def spread(wanted: list[float], gap: float) -> list[float]:
    """Positions near the ``wanted`` ones, in the same order and at least ``gap`` apart."""
    order = sorted(range(len(wanted)), key=wanted.__getitem__)
    groups: list[tuple[float, list[int]]] = []  # center of a block of touching labels, its members
    for index in order:
        center, members = wanted[index], [index]
        while groups and center - groups[-1][0] < gap * (len(members) + len(groups[-1][1])) / 2:
            before, earlier = groups.pop()
            members = earlier + members
            center = (before * len(earlier) + center * (len(members) - len(earlier))) / len(members)
        groups.append((center, members))
    placed = [0.0] * len(wanted)
    for center, members in groups:
        for rank, index in enumerate(members):
            placed[index] = center + gap * (rank - (len(members) - 1) / 2)
    return placed


def _inline(svg: str, name: str, description: str) -> Markup:
    root = ElementTree.fromstring(svg)
    for extra in ("metadata", "style"):
        for parent in list(root.iter()):
            for child in parent.findall(f"{{{_SVG}}}{extra}"):
                parent.remove(child)
    for element in root.iter():
        for key, value in list(element.attrib.items()):
            if key in ("fill", "stroke") and value in THEMED:  # only a style knows variables
                del element.attrib[key]
                element.set("style", _themed(f"{key}: {value}"))
            else:
                element.set(key, _themed(_own_id(key, value, name)))
    points = root.attrib.pop("width").removesuffix("pt")
    root.attrib.pop("height")
    root.set("style", f"width: {float(points) * 4 / 3:.0f}px")
    root.set("role", "img")
    root.set("aria-label", description)
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _themed(value: str) -> str:
    """``value`` with each known color as a variable, which has that color where it is not set."""

    def variable(color: re.Match[str]) -> str:
        known = THEMED.get(color[0])
        return f"var(--{known}, {color[0]})" if known else color[0]

    return re.sub(r"(?<=: )#[0-9a-f]{6}", variable, value)


def _own_id(key: str, value: str, name: str) -> str:
    if key == "id":
        return f"{name}-{value}"
    if key.endswith("href") and value.startswith("#"):
        return f"#{name}-{value[1:]}"
    return value.replace("url(#", f"url(#{name}-")

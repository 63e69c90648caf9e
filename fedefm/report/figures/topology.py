"""The graph of who exchanged with whom, laid out so that every name can be read."""

import itertools
import math
from collections.abc import Sequence

import networkx as nx
import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation

from fedefm.report import in_words
from fedefm.report.figures.canvas import ACCENT, INK, LINK, PAPER, drawn, shortened

Positions = dict[str, tuple[float, float]]
_WIDTH = 9.6  # inches


def topology_figure(
    sites: Sequence[str], edges: Sequence[tuple[str, str]], server: str | None = None
) -> Markup:
    """Sites as dots, a server as a square, and a line for each pair that exchanges."""
    graph = nx.Graph()
    graph.add_nodes_from([*sites, *([server] if server else [])])
    graph.add_edges_from(edges)

    def paint(figure: Figure) -> None:
        for positions, length in itertools.product(_layouts(graph), (26, 16, 9)):
            figure.clear()
            figure.set_size_inches(_WIDTH, _height(positions))
            if not _collide(figure, _draw(figure.add_subplot(), graph, positions, server, length)):
                return

    told = f"The graph of exchanges. {in_words.graph(edges)}"
    return drawn("topology", told, (_WIDTH, 4), paint, cropped=True)


def _height(positions: Positions) -> float:
    """Inches that suit the layout's shape and leave room for the names."""
    x, y = np.ptp(np.array(list(positions.values())), axis=0)
    room = min(3.0 + 0.16 * len(positions), 7.5)
    return float(np.clip(7 * y / x + 0.9, 0.9, room))


def _layouts(graph: nx.Graph) -> list[Positions]:
    """The layouts to try; the last one is a circle, where names have the most room."""
    circle: Positions = nx.circular_layout(_around(graph))
    turned = {node: (float(y), float(x)) for node, (x, y) in circle.items()}  # first one on top
    if len(graph) > 2 and (hub := _hub(graph)):
        return [_star(graph, hub)]
    if len(graph) > 2 and nx.is_tree(graph):
        return [_lying(nx.kamada_kawai_layout(graph, pos=circle)), turned]
    if len(graph) == 2:
        return [dict(zip(graph, [(-1.0, 0.0), (1.0, 0.0)], strict=True))]
    return [turned]


def _hub(graph: nx.Graph) -> str | None:
    """The middle of a star, or None."""
    full = [node for node, degree in graph.degree if degree == len(graph) - 1]
    return str(full[0]) if len(full) == 1 and nx.is_tree(graph) else None


def _star(graph: nx.Graph, hub: str) -> Positions:
    """The others around the hub; the right-hand side stays open for the hub's name."""
    others = [node for node in graph if node != hub]
    angles = np.linspace(np.pi / 6, 2 * np.pi - np.pi / 6, len(others))
    around = {node: (math.cos(a), math.sin(a)) for node, a in zip(others, angles, strict=True)}
    return {hub: (0.0, 0.0), **around}


def _lying(positions: Positions) -> Positions:
    """The same layout, turned so that its long side lies across the page."""
    points = np.array(list(positions.values()))
    points = points - points.mean(axis=0)
    turned = points @ np.linalg.svd(points)[2].T
    return {node: (float(x), float(y)) for node, (x, y) in zip(positions, turned, strict=True)}


def _around(graph: nx.Graph) -> list[str]:
    """The nodes in the order of the ring where the graph is one, else as given."""
    if len(graph) > 2 and nx.is_connected(graph) and all(d == 2 for _, d in graph.degree):
        return list(nx.dfs_preorder_nodes(graph))
    return list(graph)


def _draw(
    axes: Axes, graph: nx.Graph, positions: Positions, server: str | None, length: int
) -> list[Annotation]:
    thin = max(0.5, 2.2 - 0.02 * graph.number_of_edges())
    for a, b in graph.edges:
        axes.plot(*zip(positions[a], positions[b], strict=True), color=LINK, linewidth=thin)
    for node in graph:
        shape, color = ("s", INK) if node == server else ("o", ACCENT)
        axes.plot(*positions[node], shape, color=color, markersize=11, zorder=3, clip_on=False)
    axes.set_aspect("equal")
    axes.margins(x=0.12, y=0.16)
    axes.axis("off")
    return [_label(axes, graph, positions, node, length) for node in graph]


def _label(axes: Axes, graph: nx.Graph, positions: Positions, node: str, length: int) -> Annotation:
    angle = _free_direction(graph, positions, node)
    x, y = math.cos(angle), math.sin(angle)
    return axes.annotate(
        shortened(node, length),
        positions[node],
        xytext=(11 * x, 11 * y),
        textcoords="offset points",
        ha="left" if x > 0.05 else "right" if x < -0.05 else "center",
        va="bottom" if y > 0.7 else "top" if y < -0.7 else "center",
        fontsize=10,
        bbox={"boxstyle": "square,pad=0.1", "facecolor": PAPER, "edgecolor": "none"},
    )


def _free_direction(graph: nx.Graph, positions: Positions, node: str) -> float:
    """Where the name of ``node`` has room, in radians.

    Outwards where the nodes lie on a circle, else into the widest gap between the lines that meet
    at the node.
    """
    x, y = positions[node]
    if len(graph) > 2 and _on_circle(positions) and math.hypot(x, y) > 0.5:
        return math.atan2(y, x)
    lines = sorted(
        math.atan2(positions[other][1] - y, positions[other][0] - x) for other in graph[node]
    )
    if not lines:
        return math.pi / 2
    gaps = [
        ((after - before) % (2 * math.pi) or 2 * math.pi, before)
        for before, after in zip(lines, [*lines[1:], lines[0]], strict=True)
    ]
    width, before = max(gaps)
    return before + width / 2


def _on_circle(positions: Positions) -> bool:
    """Whether all nodes, but for one in the middle, are one away from the middle."""
    return all(
        abs(math.hypot(*place) - 1) < 1e-6 or place == (0, 0) for place in positions.values()
    )


def _collide(figure: Figure, labels: Sequence[Annotation]) -> bool:
    figure.draw_without_rendering()
    boxes = [label.get_window_extent() for label in labels]
    return any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[:i])

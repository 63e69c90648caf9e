"""Figures: names can be read, nothing lies on top of each other, nothing is lost."""

import itertools
import re
from collections.abc import Sequence

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure

from fedefm.report.figures import topology
from fedefm.report.figures.canvas import drawn, shortened, spread
from fedefm.report.figures.pair import pair_figure
from fedefm.report.figures.participation import participation_figure
from fedefm.report.figures.ranges import Row, ranges_figure
from fedefm.report.figures.topology import topology_figure
from fedefm.report.measures import ACCURACY

SITES = ["Maastricht University Medical Center", *(f"University of {c}" for c in "ABCDEFGHIJKLMNO")]


@given(st.lists(st.floats(0, 300), min_size=1, max_size=20))
def test_labels_are_moved_apart_and_keep_their_order(wanted: list[float]) -> None:
    placed = spread(wanted, 12.0)
    order = sorted(range(len(wanted)), key=wanted.__getitem__)

    for before, after in itertools.pairwise(order):
        assert placed[after] - placed[before] >= 12.0 - 1e-6


@given(st.lists(st.integers(0, 40), min_size=1, max_size=12, unique=True))
def test_labels_that_are_far_apart_stay_where_they_are(steps: list[int]) -> None:
    wanted = [20.0 * step for step in steps]

    assert spread(wanted, 12.0) == pytest.approx(wanted)


def graphs() -> dict[str, nx.Graph]:
    return {
        "pair": nx.path_graph(2),
        "triangle": nx.cycle_graph(3),
        "ring of 4": nx.cycle_graph(4),
        "ring of 8": nx.cycle_graph(8),
        "ring of 16": nx.cycle_graph(16),
        "star of 16": nx.star_graph(15),
        "complete 16": nx.complete_graph(16),
        "path of 16": nx.path_graph(16),
        "tree of 16": nx.random_labeled_tree(16, seed=5),
        "grid": nx.convert_node_labels_to_integers(nx.grid_2d_graph(4, 4)),
    }


@pytest.mark.parametrize("name", graphs())
def test_no_two_site_names_overlap(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = graphs()[name]
    edges = [(SITES[a], SITES[b]) for a, b in graph.edges]
    drawn: list[tuple[Figure, Sequence[topology.Annotation]]] = []
    collide = topology._collide

    def watched(figure: Figure, labels: Sequence[topology.Annotation]) -> bool:
        drawn.append((figure, labels))
        return collide(figure, labels)

    monkeypatch.setattr(topology, "_collide", watched)
    svg = str(topology_figure(SITES[: len(graph)], edges))

    figure, labels = drawn[-1]
    figure.draw_without_rendering()
    boxes = [label.get_window_extent() for label in labels]
    for one, other in itertools.combinations(boxes, 2):
        apart = one.x1 <= other.x0 or other.x1 <= one.x0 or one.y1 <= other.y0 or other.y1 <= one.y0
        assert apart, "two names overlap"
    assert svg.count("<text") == len(graph)


def test_a_server_is_drawn_next_to_the_sites() -> None:
    sites = SITES[:4]
    svg = str(topology_figure(sites, [("server", site) for site in sites], server="server"))

    assert ">server<" in svg
    assert svg.count("<text") == 5


def test_a_figure_can_be_read_aloud() -> None:
    svg = drawn("one", 'Loss & "more"', (3, 2), lambda figure: None)

    assert 'role="img"' in svg
    assert 'aria-label="Loss &amp; &quot;more&quot;"' in svg


def test_each_status_has_its_own_name_in_the_legend() -> None:
    statuses = {("a", 1): "ok", ("a", 2): "late", ("a", 3): "failed", ("b", 1): "absent"}
    svg = participation_figure(statuses, ["a", "b"], 3)

    for word in ("took part", "late", "failed", "absent", "no record"):
        assert f">{word}<" in svg


def test_long_names_are_cut_in_the_middle() -> None:
    assert shortened("short", 10) == "short"
    assert shortened("University of A", 9) == "Univ…of A"
    assert len(shortened(SITES[0], 9)) == 9


LONG = [(5, 0.2), (10, 0.3), (20, 0.4)]


def test_a_dotted_line_leads_from_a_shorter_run_to_its_name() -> None:
    def dotted(short: list[tuple[int, float]]) -> int:
        lines = {"a": short, "b": LONG}
        return pair_figure("score", "x", lines, {}, ACCURACY).count("stroke-dasharray")

    equal = dotted([(5, 0.1), (20, 0.3)])
    assert dotted([(5, 0.1), (10, 0.2)]) == equal + 1
    assert dotted([(5, 0.1)]) == equal + 1


def test_one_measurement_has_its_interval_too() -> None:
    lines = {"a": [(5, 0.25)], "b": LONG}
    without = pair_figure("score", "x", lines, {}, ACCURACY)
    told = pair_figure("score", "x", lines, {"a": [(5, 0.1, 0.4)]}, ACCURACY)
    assert told.count("<path") > without.count("<path")


def test_dots_lie_on_axes_and_not_behind_them() -> None:
    figure = pair_figure("score", "x", {"a": LONG, "b": LONG}, {}, ACCURACY)
    assert figure.index("--rule") < figure.index("--accent")


def test_dots_at_none_and_at_all_are_whole() -> None:
    figure = str(ranges_figure("ends", "x", [Row("a", 0.0), Row("b", 1.0, (0.9, 1.0))], ACCURACY))
    assert "<use" in figure
    assert not re.search(r"<g clip-path=[^>]*>\s*<use", figure), "the edge cuts dots in half"


def test_names_of_two_levels_lead_away_from_each_other() -> None:
    levels = [("guessing", 0.25), ("knowing", 0.3)]
    lines, names = _dashed_and_named(
        str(ranges_figure("ends", "x", [Row("a", 0.5)], ACCURACY, levels))
    )
    assert names["guessing"] < lines[0] < lines[1] < names["knowing"]


def _dashed_and_named(svg: str) -> tuple[list[float], dict[str, float]]:
    """Where dashed lines stand, and where each name is fastened, from left to right."""
    lines = re.findall(r'd="M ([\d.]+) [^"]*"[^>]*stroke-dasharray', svg)
    texts = re.findall(r'<text[^>]*?(?: x="([\d.]+)"|translate\(([\d.]+))[^>]*>(\w+)<', svg)
    return [float(x) for x in lines], {name: float(x or y) for x, y, name in texts}

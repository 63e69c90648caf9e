"""Graphs over sites: the named ones, files, and everything that can be wrong with them."""

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedefm.errors import ConfigError
from fedefm.topology.cycle_time import latencies_between
from fedefm.topology.graphs import NAMED, build_graph

SITES = ("Köln", "São Paulo", "東京", "Oslo")
site_lists = st.lists(st.text(min_size=1), min_size=1, max_size=12, unique=True)


@given(sites=site_lists, spec=st.sampled_from(NAMED))
def test_named_graphs_are_connected_and_keep_the_sites_in_order(sites, spec):
    graph = build_graph(spec, sites)
    assert list(graph) == sites
    assert nx.is_connected(graph)
    assert nx.number_of_selfloops(graph) == 0


@pytest.mark.parametrize(("spec", "links"), [("ring", 4), ("star", 3), ("complete", 6), ("mst", 3)])
def test_named_graphs_have_their_number_of_links(spec, links):
    assert build_graph(spec, SITES).number_of_edges() == links


def test_a_ring_follows_the_order_of_the_sites():
    ring = build_graph("ring", SITES)
    assert all(ring.has_edge(SITES[i], SITES[(i + 1) % 4]) for i in range(4))


@pytest.mark.parametrize("spec", NAMED)
def test_two_sites_share_one_link_and_one_site_has_none(spec):
    assert set(build_graph(spec, ["a", "b"]).edges) == {("a", "b")}
    assert list(build_graph(spec, ["a"]).edges) == []


def test_the_stars_hub_can_be_chosen():
    assert build_graph("star", SITES).degree["Köln"] == 3
    assert build_graph("star", SITES, hub="Oslo").degree["Oslo"] == 3
    with pytest.raises(ConfigError, match="hub 'Rome'"):
        build_graph("star", SITES, hub="Rome")


def test_the_spanning_tree_takes_the_nearest_hospitals():
    """Along a line of cities the cheapest tree is the line itself."""
    west_to_east = {"Lisbon": (39.0, -9.0), "Madrid": (40.0, -4.0), "Rome": (42.0, 12.0)}
    sites = ["Rome", "Lisbon", "Madrid"]
    tree = build_graph("mst", sites, latencies=latencies_between(west_to_east))
    assert {frozenset(link) for link in tree.edges} == {
        frozenset({"Lisbon", "Madrid"}),
        frozenset({"Madrid", "Rome"}),
    }


def test_the_spanning_tree_without_latencies_loads_no_site_with_many_links():
    tree = build_graph("mst", [f"site-{i}" for i in range(31)])
    assert nx.is_tree(tree)
    assert max(degree for _, degree in tree.degree) == 3
    assert nx.diameter(tree) <= 8


def test_latencies_that_leave_a_site_out_are_an_unconnected_graph():
    with pytest.raises(ConfigError, match=r"2 parts: a, b \| c"):
        build_graph("mst", ["a", "b", "c"], latencies={("b", "a"): 1.0})


def test_gml_and_edge_lists_are_read_back_as_they_were(tmp_path):
    wanted = nx.Graph([("Köln", "São Paulo"), ("São Paulo", "東京"), ("東京", "Oslo")])
    nx.write_gml(wanted, tmp_path / "net.gml")
    (tmp_path / "utf8.gml").write_text(
        'graph [ node [ id 0 label "Köln" ] node [ id 1 label "Oslo" ]\n'
        "edge [ source 0 target 1 ] ]",
        encoding="utf-8",
    )
    nx.write_edgelist(wanted, tmp_path / "net.csv", delimiter=",", data=False)
    (tmp_path / "net.txt").write_text("# two sites\nKöln Oslo 12.5\nOslo Köln\n", encoding="utf-8")
    for name in ("net.gml", "net.csv"):
        graph = build_graph(str(tmp_path / name), SITES)
        assert {frozenset(link) for link in graph.edges} == {frozenset(e) for e in wanted.edges}
        assert list(graph) == list(SITES)
    for name in ("utf8.gml", "net.txt"):
        assert build_graph(str(tmp_path / name), ["Köln", "Oslo"]).number_of_edges() == 1


def test_all_strangers_missing_sites_and_self_links_are_reported_at_once(tmp_path):
    path = tmp_path / "net.txt"
    path.write_text("a b\nb b\nb mars\nvenus a\n")
    with pytest.raises(ConfigError) as caught:
        build_graph(str(path), ["a", "b", "c", "d"])
    for finding in (
        "'mars' is not a site",
        "'venus' is",
        "'c' is not in",
        "'d' is not",
        "'b' is l",
    ):
        assert finding in str(caught.value)


def test_an_unconnected_file_names_its_parts(tmp_path):
    path = tmp_path / "net.csv"
    path.write_text("a,b\nc,d\n")
    with pytest.raises(ConfigError, match=r"2 parts: a, b \| c, d"):
        build_graph(str(path), ["a", "b", "c", "d"])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("binary.gml", b"\xff\xfe\x00\x80"),
        ("cut.gml", b"graph [ node [ id 0 label "),
        ("not.gml", b"hello"),
        ("empty.gml", b""),
        ("unlabelled.gml", b"graph [ node [ id 0 ] node [ id 1 ] edge [ source 0 target 1 ] ]"),
        ("twice.gml", b'graph [ node [ id 0 label "a" ] node [ id 1 label "a" ] ]'),
        ("list.gml", b"graph [ node 3 ]"),
        ("binary.txt", b"\x89PNG\r\n\x1a\n\xff"),
        ("wrong.txt", b"a b\na;b\n"),
    ],
)
def test_a_corrupt_file_is_one_sentence(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="is not a readable graph") as caught:
        build_graph(str(path), ["a", "b"])
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)


def test_a_directed_graph_is_refused(tmp_path):
    nx.write_gml(nx.DiGraph([("a", "b")]), tmp_path / "net.gml")
    with pytest.raises(ConfigError, match="directed"):
        build_graph(str(tmp_path / "net.gml"), ["a", "b"])


def test_an_unknown_name_says_what_was_meant():
    with pytest.raises(ConfigError, match="did you mean 'ring'"):
        build_graph("rign", SITES)


def test_no_sites_and_doubled_names_are_refused():
    with pytest.raises(ConfigError, match="at least one site"):
        build_graph("ring", [])
    with pytest.raises(ConfigError, match="named twice: a"):
        build_graph("ring", ["a", "b", "a"])

"""Mixing matrices: rows sum to 1, the mean survives, everybody agrees in the end."""

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedefm.errors import ConfigError
from fedefm.topology.graphs import build_graph
from fedefm.topology.mixing import metropolis, pair_average, reweighted, ring_half, spectral_gap


@st.composite
def graphs(draw):
    """Connected graphs: a random tree and some more links."""
    count = draw(st.integers(1, 10))
    graph = nx.Graph()
    graph.add_nodes_from(f"s{i}" for i in range(count))
    for i in range(1, count):
        graph.add_edge(f"s{i}", f"s{draw(st.integers(0, i - 1))}")
    if count > 1:
        ends = st.integers(0, count - 1)
        for i, j in draw(st.lists(st.tuples(ends, ends).filter(lambda pair: pair[0] != pair[1]))):
            graph.add_edge(f"s{i}", f"s{j}")
    return graph


def dense(matrix):
    sites = sorted(matrix)
    return np.array([[matrix[i].get(j, 0.0) for j in sites] for i in sites])


@given(graph=graphs())
def test_metropolis_is_symmetric_doubly_stochastic_and_stays_on_the_links(graph):
    matrix = metropolis(graph)
    weights = dense(matrix)
    assert np.allclose(weights, weights.T)
    assert np.allclose(weights.sum(axis=0), 1)
    assert np.allclose(weights.sum(axis=1), 1)
    assert (weights >= 0).all()
    assert all(set(matrix[site]) == {site, *graph[site]} for site in graph)


@given(graph=graphs(), seed=st.integers(0, 999))
def test_connected_sites_agree_on_the_mean(graph, seed):
    matrix = metropolis(graph)
    gap = spectral_gap(matrix)
    assert gap > 0
    values = np.random.default_rng(seed).normal(size=len(graph))
    exchanges = int(np.ceil(np.log(1e-9) / np.log(max(1e-9, 1 - gap))))
    settled = np.linalg.matrix_power(dense(matrix), exchanges) @ values
    assert np.allclose(settled, values.mean(), atol=1e-6)


def test_metropolis_of_a_ring_of_four_is_the_textbook_matrix():
    row = metropolis(build_graph("ring", "abcd"))["a"]
    assert row == pytest.approx({"a": 1 / 3, "b": 1 / 3, "d": 1 / 3})


@pytest.mark.parametrize("count", [1, 2, 3, 4, 8, 11])
def test_ring_half_keeps_half_and_is_doubly_stochastic(count):
    sites = [f"s{i}" for i in range(count)]
    matrix = ring_half(build_graph("ring", sites))
    assert np.allclose(dense(matrix).sum(axis=0), 1)
    assert np.allclose(dense(matrix).sum(axis=1), 1)
    assert all(matrix[site][site] == (0.5 if count > 1 else 1.0) for site in sites)
    assert spectral_gap(matrix) > 0


def test_ring_half_refuses_a_graph_in_which_the_mean_would_drift():
    with pytest.raises(ConfigError, match="1 to 3; use metropolis"):
        ring_half(build_graph("star", "abcd"))


def test_spectral_gap_of_the_ring_is_the_known_cosine():
    """Eigenvalues of (A + I) / 2 over a ring of n are (1 + cos(2 pi k / n)) / 2."""
    gap = spectral_gap(ring_half(build_graph("ring", "abcdefgh")))
    assert gap == pytest.approx((1 - np.cos(2 * np.pi / 8)) / 2)


def test_sites_that_never_exchange_have_no_spectral_gap():
    assert spectral_gap({"a": {"a": 1.0}, "b": {"b": 1.0}}) == pytest.approx(0)


def test_a_pair_averages_and_an_idle_site_keeps_its_own():
    assert pair_average("a", ("b",)) == {"a": 0.5, "b": 0.5}
    assert pair_average("a", ()) == {"a": 1.0}
    with pytest.raises(ValueError, match="site 'a' has 2"):
        pair_average("a", ("b", "c"))


@given(graph=graphs(), data=st.data())
def test_a_reweighted_row_covers_who_answered_and_own_and_sums_to_one(graph, data):
    site = data.draw(st.sampled_from(sorted(graph)))
    present = data.draw(st.sets(st.sampled_from([site, *graph[site]])))
    row = reweighted(metropolis(graph)[site], present, site)
    assert set(row) == present | {site}
    assert sum(row.values()) == pytest.approx(1)
    assert all(weight >= 0 for weight in row.values())


@given(graph=graphs(), data=st.data())
def test_the_mean_survives_links_that_fail_at_both_ends(graph, data):
    lost = data.draw(st.sets(st.sampled_from(sorted(graph.edges)))) if graph.edges else set()
    working = graph.copy()
    working.remove_edges_from(lost)
    full = metropolis(graph)
    matrix = {site: reweighted(full[site], set(working[site]), site) for site in graph}
    assert np.allclose(dense(matrix).sum(axis=0), 1)


def test_nobody_answers_and_the_site_keeps_its_own_weights():
    assert reweighted({"a": 0.5, "b": 0.5}, set(), "a") == {"a": 1.0}


def test_an_answer_from_somebody_without_a_weight_is_a_defect():
    with pytest.raises(ValueError, match="no mixing weight for mars"):
        reweighted({"a": 0.5, "b": 0.5}, {"b", "mars"}, "a")

"""Schedules: symmetric, complete over a period, exact where they promise it, alike at all sites."""

import os
import subprocess
import sys
from typing import get_args

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedefm.errors import ConfigError
from fedefm.topology.graphs import build_graph
from fedefm.topology.mixing import pair_average
from fedefm.topology.schedules import EveryNth, ScheduleKind, build_schedule, matchings

KINDS = get_args(ScheduleKind)
SYMMETRIC = [kind for kind in KINDS if kind != "one_peer_exponential"]


@st.composite
def graphs(draw, most=10):
    """Connected graphs with arbitrary names: a random tree and some more links."""
    sites = draw(st.lists(st.text(min_size=1), min_size=1, max_size=most, unique=True))
    graph = nx.Graph()
    graph.add_nodes_from(sites)
    for i in range(1, len(sites)):
        graph.add_edge(sites[i], sites[draw(st.integers(0, i - 1))])
    for one, other in draw(st.lists(st.tuples(st.sampled_from(sites), st.sampled_from(sites)))):
        if one != other:
            graph.add_edge(one, other)
    return graph


def built(kind, graph, seed=0):
    """The schedule, on the graph's first 2^n sites where it must be a hypercube."""
    if kind == "hypercube":
        count = 1 << (len(graph).bit_length() - 1)
        graph = nx.complete_graph(list(graph)[:count])
    return graph, build_schedule(kind, graph, seed)


def links_of(graph):
    return {frozenset(link) for link in graph.edges}


def used_links(graph, schedule, rounds):
    return {
        frozenset({site, partner})
        for k in rounds
        for site in graph
        for partner in schedule.partners(site, k)
    }


def after_period_of_averages(graph, schedule, values):
    """The oracle: averages in plain numbers, all sites of a round at once."""
    for k in range(schedule.period):
        rows = {site: pair_average(site, schedule.sources(site, k)) for site in graph}
        values = {
            site: sum(weight * values[j] for j, weight in row.items()) for site, row in rows.items()
        }
    return list(values.values())


@given(graph=graphs(), kind=st.sampled_from(SYMMETRIC), k=st.integers(0, 50))
def test_who_i_send_to_sends_to_me(graph, kind, k):
    graph, schedule = built(kind, graph)
    for site in graph:
        assert sorted(schedule.sources(site, k)) == sorted(schedule.partners(site, k))
        for partner in schedule.partners(site, k):
            assert partner != site
            assert site in schedule.partners(partner, k)


@given(graph=graphs(), kind=st.sampled_from(["matchings", "random_matchings"]), k=st.integers(0, 9))
def test_a_matching_gives_one_partner_at_most_and_only_along_links(graph, kind, k):
    schedule = build_schedule(kind, graph, seed=3)
    assert all(len(schedule.partners(site, k)) <= 1 for site in graph)
    assert used_links(graph, schedule, [k]) <= links_of(graph)


@given(graph=graphs(), kind=st.sampled_from(["neighbors", "matchings"]))
def test_every_link_is_used_in_one_period_and_no_other(graph, kind):
    schedule = build_schedule(kind, graph, seed=0)
    assert used_links(graph, schedule, range(schedule.period)) == links_of(graph)


@given(graph=graphs())
def test_matchings_use_each_link_once_and_stay_few(graph):
    found = matchings(graph)
    assert sum(map(len, found)) == graph.number_of_edges()
    most = max(degree for _, degree in graph.degree)
    assert most <= len(found) <= 2 * most + 1
    if nx.is_bipartite(graph):
        assert len(found) == max(1, most)


@pytest.mark.parametrize("count", [2, 3, 4, 5, 6, 7, 8, 9, 16, 64])
def test_rings_and_complete_graphs_need_the_fewest_matchings_possible(count):
    sites = [f"s{i}" for i in range(count)]
    odd = count % 2
    assert len(matchings(build_graph("complete", sites))) == (count if odd else count - 1)
    assert len(matchings(build_graph("ring", sites))) == (1 if count == 2 else 2 + odd)


@given(graph=graphs(), k=st.integers(0, 20), seed=st.integers(0, 2**40))
def test_random_matchings_leave_no_two_idle_neighbors(graph, k, seed):
    schedule = build_schedule("random_matchings", graph, seed)
    idle = {site for site in graph if not schedule.partners(site, k)}
    assert not any({one, other} <= idle for one, other in graph.edges)


def test_random_matchings_reach_every_link_and_differ_by_seed():
    graph = build_graph("complete", "abcdef")
    first, second = (build_schedule("random_matchings", graph, seed) for seed in (1, 2))
    assert used_links(graph, first, range(60)) == links_of(graph)
    assert [first.partners("a", k) for k in range(20)] != [
        second.partners("a", k) for k in range(20)
    ]


def test_random_matchings_do_not_depend_on_the_order_of_questions():
    graph = build_graph("ring", "abcde")
    asked_forth, asked_back = (build_schedule("random_matchings", graph, 7) for _ in range(2))
    forth = {(k, site): asked_forth.partners(site, k) for k in range(9) for site in graph}
    back = {(k, s): asked_back.partners(s, k) for s in graph for k in reversed(range(9))}
    assert forth == back


@pytest.mark.parametrize("kind", ["hypercube", "one_peer_exponential"])
@pytest.mark.parametrize("exponent", [0, 1, 2, 3, 5])
def test_pair_averages_over_the_hypercube_give_the_exact_mean(kind, exponent):
    sites = [f"s{i}" for i in range(2**exponent)]
    graph = build_graph("ring", sites)
    schedule = build_schedule(kind, graph, seed=0)
    assert schedule.period == max(1, exponent)
    values = dict(zip(sites, np.random.default_rng(0).normal(size=len(sites)), strict=True))
    mean = np.mean(list(values.values()))
    assert np.allclose(after_period_of_averages(graph, schedule, values), mean, atol=1e-12)


def test_two_matchings_of_a_ring_of_four_give_the_exact_mean():
    graph = build_graph("ring", "abcd")
    schedule = build_schedule("matchings", graph, seed=0)
    values = {"a": 1.0, "b": 10.0, "c": -4.0, "d": 7.0}
    assert schedule.period == 2
    assert after_period_of_averages(graph, schedule, values) == [3.5] * 4


@given(count=st.integers(1, 40), k=st.integers(0, 20))
def test_one_peer_exponential_sends_and_hears_once_and_knows_from_whom(count, k):
    sites = [f"s{i}" for i in range(count)]
    schedule = build_schedule("one_peer_exponential", build_graph("ring", sites), seed=0)
    for site in sites:
        assert (
            len(schedule.partners(site, k)) == len(schedule.sources(site, k)) == min(1, count - 1)
        )
        assert all(site in schedule.sources(other, k) for other in schedule.partners(site, k))
        assert site not in schedule.partners(site, k)


@pytest.mark.parametrize("count", [3, 6, 12])
def test_a_hypercube_over_another_number_of_sites_names_a_way_out(count):
    with pytest.raises(ConfigError, match=rf"has {count}; use 'matchings'"):
        build_schedule("hypercube", build_graph("ring", [str(i) for i in range(count)]), seed=0)


@given(graph=graphs(), kind=st.sampled_from([k for k in KINDS if k != "random_matchings"]))
def test_partners_repeat_after_one_period(graph, kind):
    graph, schedule = built(kind, graph)
    for site in graph:
        for k in range(schedule.period):
            assert schedule.partners(site, k) == schedule.partners(site, k + schedule.period)


@pytest.mark.parametrize("kind", KINDS)
def test_a_single_site_has_nobody(kind):
    schedule = build_schedule(kind, build_graph("ring", ["alone"]), seed=0)
    assert schedule.partners("alone", 5) == schedule.sources("alone", 5) == ()


@pytest.mark.parametrize("kind", KINDS)
def test_a_site_outside_the_job_is_refused(kind):
    schedule = build_schedule(kind, build_graph("complete", "abcd"), seed=0)
    for question in (schedule.partners, schedule.sources):
        with pytest.raises(ConfigError, match="'mars' is not in this job"):
            question("mars", 0)


def test_an_unknown_schedule_is_refused():
    with pytest.raises(ConfigError, match="'gossip' is not known"):
        build_schedule("gossip", build_graph("ring", "ab"), seed=0)


def test_every_process_computes_the_same_partners():
    """Python hashes text differently in each process; sites must agree all the same."""
    program = (
        "import networkx as nx\n"
        "from fedefm.topology.schedules import build_schedule\n"
        "g = nx.relabel_nodes(nx.petersen_graph(), lambda i: f'Klinik {i} ü')\n"
        "for kind in ('matchings', 'random_matchings', 'neighbors'):\n"
        "    s = build_schedule(kind, g, 5)\n"
        "    print([(i, k, s.partners(i, k)) for k in range(6) for i in g])\n"
    )
    answers = {
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": str(hash_seed), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            check=True,
        ).stdout
        for hash_seed in (1, 2)
    }
    assert len(answers) == 1
    assert answers != {b""}


@pytest.mark.parametrize("every", [1, 2, 5, 15])
@pytest.mark.parametrize("count", [5, 6, 15, 16])
def test_what_happens_every_nth_round_meets_all_partners_whatever_n_is(every, count):
    sites = [f"site-{i}" for i in range(count)]
    pairs = build_schedule("matchings", nx.complete_graph(sites), 1)
    schedule = EveryNth(pairs, every)
    turns = range(every - 1, every * pairs.period, every)
    for site in sites:
        met = {partner for k in turns for partner in schedule.partners(site, k)}
        assert met == set(sites) - {site}
        assert all(schedule.sources(site, k) == schedule.partners(site, k) for k in turns)
    assert schedule.period == every * pairs.period

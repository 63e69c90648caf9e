"""The delay model against the numbers that the paper's code stores."""

import pytest
import torch

from fedefm.topology.cycle_time import (
    SiteSpeed,
    latencies_between,
    latency_ms,
    link_delay,
    model_bits,
    schedule_time,
    star_time,
)
from fedefm.topology.graphs import build_graph
from fedefm.topology.schedules import build_schedule

FEMNIST_BITS = 4_843_243
T_C = 4.6
VIRGINIA_SAO_PAULO_MS = 67.7576


def test_virginia_to_sao_paulo_is_the_stored_value():
    """10 Gbit/s access and a path of 1 Gbit/s; the slowest link of Gaia's spanning tree."""
    site = SiteSpeed(step_ms=T_C, upload=10e9, download=10e9)
    delay = link_delay(
        site,
        site,
        local_steps=1,
        latency=VIRGINIA_SAO_PAULO_MS,
        bits=FEMNIST_BITS,
        receivers=2,
        senders=2,
        path_rate=1e9,
    )
    assert delay == pytest.approx(77.2009, abs=1e-4)


def test_a_spanning_tree_is_as_slow_as_its_slowest_link():
    sites = ["Virginia", "São Paulo", "Dublin"]
    latencies = {
        ("São Paulo", "Virginia"): VIRGINIA_SAO_PAULO_MS,
        ("Virginia", "Dublin"): 50.0,
        ("São Paulo", "Dublin"): 90.0,
    }
    graph = build_graph("mst", sites, latencies=latencies)
    speeds = {site: SiteSpeed(T_C, 10e9, 10e9) for site in sites}
    cycle = schedule_time(
        build_schedule("neighbors", graph, seed=0),
        speeds,
        latencies,
        local_steps=1,
        bits=FEMNIST_BITS,
        path_rate=1e9,
    )
    assert cycle == pytest.approx(77.20, abs=5e-3)


def test_a_shared_line_is_the_slower_the_more_use_it():
    sender, receiver = SiteSpeed(0.0, upload=100.0), SiteSpeed(0.0, download=60.0)
    assert link_delay(sender, receiver, local_steps=0, latency=0, bits=6) == pytest.approx(100)
    shared = link_delay(sender, receiver, local_steps=0, latency=0, bits=6, receivers=4)
    assert shared == pytest.approx(240)


def test_more_local_steps_at_the_sender_delay_the_link():
    slow, fast = SiteSpeed(10.0), SiteSpeed(1.0)
    assert link_delay(slow, fast, local_steps=5, latency=2, bits=1) == pytest.approx(52)
    assert link_delay(fast, slow, local_steps=5, latency=2, bits=1) == pytest.approx(7)


def test_matchings_cost_the_mean_of_their_slowest_links():
    """Ring of four, the two matchings hold a slowest link of 40 and of 20 ms."""
    graph = build_graph("ring", "abcd")
    latencies = {("a", "b"): 40.0, ("c", "d"): 10.0, ("b", "c"): 20.0, ("a", "d"): 15.0}
    speeds = dict.fromkeys("abcd", SiteSpeed(1.0))
    times = {
        kind: schedule_time(
            build_schedule(kind, graph, seed=0), speeds, latencies, local_steps=5, bits=1
        )
        for kind in ("matchings", "neighbors")
    }
    assert times == pytest.approx({"matchings": 35.0, "neighbors": 45.0})


def test_a_single_site_only_trains():
    schedule = build_schedule("neighbors", build_graph("ring", "a"), seed=0)
    speeds = {"a": SiteSpeed(3.0)}
    assert schedule_time(schedule, speeds, {}, local_steps=5, bits=1) == 15.0


def test_a_star_goes_up_and_down_but_trains_once():
    assert star_time(slowest_link=77.2, compute=4.6) == pytest.approx(149.8)


def test_latency_grows_with_the_great_circle():
    assert latency_ms((10.0, 20.0), (10.0, 20.0)) == 4.0
    quarter = 6371.0 * 3.14159265 / 2
    assert latency_ms((0.0, 0.0), (0.0, 90.0)) == pytest.approx(4 + 0.0085 * quarter)
    assert latency_ms((0.0, 179.0), (0.0, -179.0)) < latency_ms((0.0, 0.0), (0.0, 3.0))
    assert set(latencies_between({"a": (0, 0), "b": (1, 1), "c": (2, 2)})) == {
        ("a", "b"),
        ("a", "c"),
        ("b", "c"),
    }


def test_a_models_size_counts_its_tensors_in_bits():
    weights = {"w": torch.zeros(10, 3), "h": torch.zeros(4, dtype=torch.float16)}
    assert model_bits(weights) == 30 * 32 + 4 * 16

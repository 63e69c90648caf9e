"""The mean of a cohort against means written out by hand, with everybody there and without."""

from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedefm.errors import ProtocolError
from fedefm.model.weights import flatten
from fedefm.topology.grid import Grid
from fedefm.train.exchange import plain_sum
from fedefm.train.rounds import algorithm_for
from fedefm.train.rounds.cohort import average_with_cohort
from fedefm.train.rounds.fedefm import swap_round
from fedefm.train.rounds.gossip import gossip_round

GRID = {"algorithm": "gossip", "schedule": "grid", "cohort": 3}


def names_of(count):
    return tuple(f"s{k:02d}" for k in range(count))


def stacked(sites):
    """(sites, numbers): every site's weights as a row."""
    return torch.stack([flatten(site.weights()) for site in sites.values()])


def idle_sites(world, count, **federation):
    run = world.settings(federation={**GRID, **federation})
    sites = world.pulled_sites(run, names_of(count))
    for site in sites.values():
        site.trainer = world.idle()
    return run, sites, world.plan(run, names_of(count)).cohorts


def average(world, grid, sites, round_index, lost=lambda a, b: False):
    steps = {n: average_with_cohort(grid, site, round_index) for n, site in sites.items()}
    return world.exchange_by_hand(steps, lost)


class Weighted:
    """As much of a site as a mean needs: one number for its weights."""

    sum = staticmethod(plain_sum)

    def __init__(self, name, value):
        self.name, self.value = name, value
        self.shapes = {"w": torch.Size([1])}

    def weights(self):
        return {"w": torch.tensor([self.value], dtype=torch.float64)}

    def load(self, weights):
        self.value = float(weights["w"])


@given(
    st.integers(2, 40).flatmap(
        lambda count: st.tuples(
            st.lists(st.floats(-100, 100), min_size=count, max_size=count),
            st.integers(2, min(count, 5)),
            st.integers(0, 7),
        )
    )
)
@settings(max_examples=60, deadline=None)
def test_after_one_sweep_every_site_holds_the_exact_mean(world_class, drawn):
    values, row, sweep = drawn
    names = names_of(len(values))
    sites = {n: Weighted(n, v) for n, v in zip(names, values, strict=True)}
    grid = Grid(names, row)
    for round_index in range(sweep * grid.period, (sweep + 1) * grid.period):
        average(world_class, grid, sites, round_index)
    mean = sum(values) / len(values)
    for site in sites.values():
        assert site.value == pytest.approx(mean, rel=1e-5, abs=1e-4)


@given(st.integers(3, 20), st.integers(0, 5), st.data())
@settings(max_examples=100, deadline=None)
def test_whatever_is_lost_a_site_holds_its_own_or_the_mean_of_some_it_is_among(
    world_class, count, round_index, data
):
    """Means of powers of two tell who is in them."""
    names = names_of(count)
    grid = Grid(names, 3)
    sites = {name: Weighted(name, 2.0**k) for k, name in enumerate(names)}
    links = [(a, b) for c in grid.cohorts(round_index) for a in c for b in c if a != b]
    lost = data.draw(st.sets(st.sampled_from(links)))
    average(world_class, grid, sites, round_index, lambda a, b: (a, b) in lost)

    for cohort in grid.cohorts(round_index):
        collector = grid.collector(cohort[0], round_index)
        reached = [n for n in cohort if n == collector or (n, collector) not in lost]
        shares = {name: grid.weight(name, round_index) for name in reached}
        values = {name: 2.0 ** names.index(name) for name in reached}
        mean = sum(values[n] * shares[n] for n in reached) / sum(shares.values())
        for name in cohort:
            holds = name in reached and (name == collector or (collector, name) not in lost)
            wanted = mean if holds and len(reached) > 1 else 2.0 ** names.index(name)
            assert sites[name].value == pytest.approx(wanted, rel=1e-5), name


@pytest.mark.parametrize("count", [3, 8, 9, 11])
def test_models_are_equal_to_the_last_bit_in_a_cohort(world, count):
    _, sites, grid = idle_sites(world, count)
    mean = stacked(sites).mean(dim=0)
    for round_index in range(grid.period):
        average(world, grid, sites, round_index)
        for cohort in grid.cohorts(round_index):
            rows = stacked({name: sites[name] for name in cohort})
            assert torch.equal(rows, rows[:1].expand_as(rows))
    torch.testing.assert_close(stacked(sites), mean.expand(count, -1), rtol=1e-4, atol=1e-5)


def test_who_is_not_in_the_mean_keeps_its_own_and_the_rest_still_average(world):
    _, sites, grid = idle_sites(world, 9)
    before = {name: flatten(site.weights()) for name, site in sites.items()}
    cohort = grid.cohort("s00", 0)
    collector = grid.collector("s00", 0)
    away, *rest = [name for name in cohort if name != collector]

    average(world, grid, sites, 0, lambda a, b: (a, b) == (away, collector))

    torch.testing.assert_close(flatten(sites[away].weights()), before[away])
    wanted = torch.stack([before[collector], before[rest[0]]]).mean(dim=0)
    for name in (collector, *rest):
        torch.testing.assert_close(flatten(sites[name].weights()), wanted)
    all_before = torch.stack(list(before.values())).mean(dim=0)
    torch.testing.assert_close(stacked(sites).mean(dim=0), all_before)


def test_without_its_collector_a_cohort_stays_as_it_is(world):
    _, sites, grid = idle_sites(world, 9)
    before = stacked(sites)
    collector = grid.collector("s00", 0)

    average(world, grid, sites, 0, lambda a, b: collector in (a, b))

    rows = [k for k, name in enumerate(sites) if name in grid.cohort("s00", 0)]
    torch.testing.assert_close(stacked(sites)[rows], before[rows])


def test_a_mean_that_gets_lost_leaves_the_weights_that_were_there(world):
    _, sites, grid = idle_sites(world, 9)
    collector = grid.collector("s00", 0)
    member = next(name for name in grid.cohort("s00", 0) if name != collector)
    before = flatten(sites[member].weights())

    average(world, grid, sites, 0, lambda a, b: (a, b) == (collector, member))

    torch.testing.assert_close(flatten(sites[member].weights()), before)


def test_unequal_shares_of_a_ragged_grid_are_those_of_the_ones_present(world):
    _, sites, grid = idle_sites(world, 11)
    ragged = next(
        c
        for k in range(grid.period)
        for c in grid.cohorts(k)
        if len({grid.weight(name, k) for name in c}) > 1
    )
    at = next(k for k in range(grid.period) if ragged in grid.cohorts(k))
    values = {name: flatten(sites[name].weights()) for name in ragged}
    collector = grid.collector(ragged[0], at)
    away = next(name for name in ragged if name != collector)

    average(world, grid, sites, at, lambda a, b: away in (a, b))

    here = [name for name in ragged if name != away]
    shares = {name: grid.weight(name, at) for name in here}
    wanted = sum(values[n] * (shares[n] / sum(shares.values())) for n in here)
    torch.testing.assert_close(flatten(sites[collector].weights()), wanted, rtol=1e-4, atol=1e-5)


def two_faced(steps, victim):
    """A collector that hands ``victim`` another mean than the others."""
    inbox = None
    while True:
        try:
            exchange = steps.send(inbox)
        except StopIteration as finished:
            return finished.value
        if exchange.phase == "mean":
            outgoing = dict(exchange.outgoing)
            outgoing[victim] = {
                name: value if name == "cohort" else value + 1
                for name, value in outgoing[victim].items()
            }
            exchange = type(exchange)(**{**vars(exchange), "outgoing": outgoing})
        inbox = yield exchange


def test_a_collector_that_hands_out_different_means_is_refused_by_name(world):
    _, sites, grid = idle_sites(world, 3)
    before = {name: flatten(site.weights()) for name, site in sites.items()}
    collector = grid.collector("s00", 0)
    one, other = (name for name in sites if name != collector)
    steps = {n: average_with_cohort(grid, site, 0) for n, site in sites.items()}
    steps[collector] = two_faced(steps[collector], one)

    refusals = {}
    for name in (one, other):
        steps[name] = noted(steps[name], refusals, name)
    world.exchange_by_hand(steps)

    for name, witness in ((one, other), (other, one)):
        assert f"site {collector!r} handed out different means: {witness} got" in refusals[name]
        torch.testing.assert_close(flatten(sites[name].weights()), before[name])


def noted(steps, refusals, name):
    try:
        yield from steps
    except ProtocolError as error:
        refusals[name] = str(error)


def test_swap_on_a_grid_averages_in_cohorts_and_exchanges_experts_in_pairs(world):
    names = names_of(9)
    federation = {"schedule": "grid", "cohort": 3, "expert_every": 2}
    run = world.settings(federation=federation)
    sites, plan = world.pulled_sites(run, names), world.plan(run, names)
    play = algorithm_for(run, plan).site_round

    phi = {name: flatten(s.trainer.of(s.weights())) for name, s in sites.items()}
    world.exchange_by_hand({name: play(site, 0) for name, site in sites.items()})
    for name, site in sites.items():
        wanted = torch.stack([phi[other] for other in plan.cohorts.cohort(name, 0)]).mean(dim=0)
        torch.testing.assert_close(flatten(site.weights()), wanted)

    paired = world.pulled_sites(run, names)
    for name, site in paired.items():
        site.load(sites[name].weights())
    world.exchange_by_hand({name: play(site, 1) for name, site in sites.items()})
    world.exchange_by_hand({name: swap_round(site, 1) for name, site in paired.items()})
    assert torch.equal(stacked(sites), stacked(paired))


def test_on_a_complete_graph_one_hidden_sum_is_what_all_neighborhoods_would_be(world):
    federation = {"algorithm": "gossip", "schedule": "neighbors", "topology": "complete"}
    plain = world.settings(federation=federation)
    hidden = world.settings(federation=federation, privacy={"secagg": {}})
    assert world.plan(plain).cohorts is None
    grid = world.plan(hidden).cohorts
    assert [len(cohort) for cohort in grid.cohorts(0)] == [len(world.names)]

    one, other = world.pulled_sites(plain), world.pulled_sites(plain)
    world.exchange_by_hand({name: gossip_round(site, 0) for name, site in one.items()})
    mean = partial(average_with_cohort, grid)
    world.exchange_by_hand({name: gossip_round(site, 0, mean) for name, site in other.items()})
    torch.testing.assert_close(stacked(one), stacked(other))


def test_a_ring_has_no_shared_sum_and_mixed_rounds_send_weights_singly(world):
    secret = {"secagg": {}}
    ring = {"algorithm": "gossip", "schedule": "neighbors", "topology": "ring"}
    mixed = {"update": "mixed", "schedule": "neighbors", "topology": "complete"}
    for federation in (ring, mixed):
        run = world.settings(federation=federation, privacy=secret)
        assert world.plan(run).cohorts is None


def test_the_links_of_a_grid_are_those_that_messages_take(world):
    names = names_of(9)
    run = world.settings(federation={**GRID, "topology": "ring"})
    sites, plan = world.pulled_sites(run, names), world.plan(run, names)
    used = set()

    def watched(sender, receiver):
        used.add((min(sender, receiver), max(sender, receiver)))
        return False

    for round_index in range(plan.cohorts.period):
        average(world, plan.cohorts, sites, round_index, watched)
    assert set(plan.links(run)) == used
    assert len(used) == 2 * 9  # two neighbors a row, in rows along two axes

    swap = world.settings(federation={"schedule": "grid", "topology": "ring"})
    ring = {(min(link), max(link)) for link in plan.graph.edges}
    assert set(world.plan(swap, names).links(swap)) == used | ring

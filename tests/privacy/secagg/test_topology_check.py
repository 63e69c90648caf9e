"""Who can solve for whom: the published figures, and sympy's exact algebra as another opinion."""

from fractions import Fraction
from itertools import combinations
from operator import mul

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sympy import QQ
from sympy.polys.matrices import DomainMatrix

from fedefm.errors import ConfigError, PolicyRefused
from privacy.secagg.equations import DRIFTS, Drift
from privacy.secagg.solving import PRIME, Span, residue
from privacy.secagg.sum_plan import (
    PlannedRound,
    PlannedSum,
    Sent,
    SumPlan,
    mean_messages,
    sent,
)
from privacy.secagg.topology_check import Exposure, exposure, refuse_unsafe

ONLY_MIXED = DRIFTS[:1]  # the model of the published figures
NOT_ASKED = "never asked"


def names(count):
    return tuple(f"s{i:02}" for i in range(count))


def gossip(graph, rounds=1):
    """Each site sees the sum of its neighbors', by Metropolis-Hastings weights."""
    sites = names(len(graph))
    degree = dict(graph.degree)
    rows = {
        sites[i]: {sites[j]: Fraction(1, 1 + max(degree[i], degree[j])) for j in graph[i]}
        for i in sorted(graph)
    }
    sums = tuple(PlannedSum(site, row) for site, row in rows.items())
    mixing = {site: {site: 1 - sum(row.values()), **row} for site, row in rows.items()}
    return SumPlan(sites, (PlannedRound(sums, mixing),) * rounds)


def means(*cohorts_of_each_round):
    """Each cohort's mean, received by its first and handed to its others."""
    rounds, everybody = [], sorted({site for cohort in cohorts_of_each_round[0] for site in cohort})
    for cohorts in cohorts_of_each_round:
        weights = [dict.fromkeys(cohort, Fraction(1, len(cohort))) for cohort in cohorts]
        sums = tuple(
            PlannedSum(cohort[0], row, frozenset(cohort[1:]))
            for cohort, row in zip(cohorts, weights, strict=True)
        )
        mixing = {site: row for row in weights for site in row}
        rounds.append(PlannedRound(sums, mixing))
    return SumPlan(tuple(everybody), tuple(rounds))


def to_the_server(count, rounds=1):
    weights = dict.fromkeys(names(count), Fraction(1, count))
    total = PlannedSum("server", weights, frozenset(weights))
    return SumPlan(
        names(count), (PlannedRound((total,), dict.fromkeys(weights, weights)),) * rounds
    )


TORUS = nx.convert_node_labels_to_integers(nx.grid_2d_graph(4, 4, periodic=True))


# The figures of a study of sixteen sites, in which nothing but the mixing changes over the rounds.


@pytest.mark.parametrize(
    ("graph", "rounds", "exposed"),
    [
        (nx.cycle_graph(16), 1, [0, 2, 3]),
        (nx.cycle_graph(16), 6, [0, 12, 13]),
        (TORUS, 1, [0, 0, 0]),
        (TORUS, 6, [1]),
        (nx.random_regular_graph(3, 16, seed=1), 1, [0, 0, 3]),
        (nx.random_regular_graph(3, 16, seed=1), 6, [0, 10, 13]),
        (nx.random_regular_graph(4, 16, seed=0), 1, [0, 0, 1]),
        (nx.random_regular_graph(4, 16, seed=0), 6, [0, 0, 13]),
        (nx.complete_graph(16), 1, [0, 0, 0]),
        (nx.complete_graph(16), 6, [0, 0, 0]),
    ],
    ids=lambda value: f"degree {value.degree(0)}" if isinstance(value, nx.Graph) else None,
)
def test_published_figures_of_graphs_of_sixteen_sites(graph, rounds, exposed):
    plan = gossip(graph, rounds)
    for colluders, most in enumerate(exposed, start=1):
        assert len(exposure(plan, colluders, ONLY_MIXED).exposed) == most


def test_two_in_a_ring_expose_their_outer_neighbors_in_a_single_round():
    found = exposure(gossip(nx.cycle_graph(16)), 2)
    assert found.exposing == 16
    assert found.sets == 120
    assert (found.worst, found.exposed) == (("s00", "s01"), ("s02", "s15"))
    assert found.words == "in a single round"
    assert found.ever == names(16)


def test_what_takes_several_rounds_is_said_so():
    """Two of the twelve fall in the first one, the others do not."""
    ring = exposure(gossip(nx.cycle_graph(16), 6), 2)
    assert len(ring.exposed) == 12
    assert ring.words == "if nothing is trained after the first round"
    found = exposure(gossip(TORUS, 6), 1)
    assert len(found.exposed) == 1
    assert found.words == "if nothing is trained after the first round"


# Cohorts.


ROWS = [("s00", "s01", "s02"), ("s03", "s04", "s05"), ("s06", "s07", "s08")]
COLUMNS = [("s00", "s03", "s06"), ("s01", "s04", "s07"), ("s02", "s05", "s08")]


def test_a_grid_hides_every_site_from_one_and_none_from_two_of_its_row():
    grid = means(ROWS, COLUMNS, ROWS, COLUMNS)
    assert exposure(grid, 1).exposing == 0
    two = exposure(grid, 2)
    assert two.exposing == 18  # pairs in a row, and pairs in a column
    assert len(two.exposed) == 1
    assert exposure(means(ROWS), 2).exposing == 9


def test_cohorts_that_differ_by_one_site_expose_it_to_whoever_knows_the_other():
    """0+1+2+3 and 0+1+2+7 differ by 3 and 7, so that with 3 the sums tell 7."""
    fours = [("s00", "s01", "s02", "s03"), ("s04", "s05", "s06", "s07")]
    shifted = [("s00", "s01", "s02", "s07"), ("s04", "s05", "s06", "s03")]
    assert exposure(means(fours), 2).exposing == 0
    assert exposure(means(fours, shifted), 1).exposing == 0
    assert exposure(means(fours, shifted), 2, ONLY_MIXED).exposing == 0
    found = exposure(means(fours, shifted), 2)
    assert (found.worst, found.exposed) == (("s00", "s03"), ("s07",))
    assert found.words == "if the inputs of all rounds are the same"
    assert found.ever == ("s03", "s07")


def test_a_mean_of_two_hides_neither():
    found = exposure(means([("s00", "s01"), ("s02", "s03")]), 1)
    assert (found.exposing, found.sets) == (4, 4)
    assert found.words == "in a single round"


# The server.


@pytest.mark.parametrize("rounds", [1, 5])
def test_all_but_one_expose_the_last_and_fewer_expose_nobody(rounds):
    plan = to_the_server(5, rounds)
    assert [exposure(plan, c).exposing for c in range(5)] == [0, 0, 0, 0, 5]


def test_all_sites_have_nobody_left_to_expose_so_all_but_one_are_asked():
    assert exposure(to_the_server(5), 5) == exposure(to_the_server(5), 4)
    single = exposure(to_the_server(1), 1)
    assert single == Exposure(0, 1, 1, ("server",), ("s00",), "in a single round", ("s00",))


def test_the_sum_at_the_end_is_of_the_averages_and_counts():
    """Half of the first round's value and half of the last one's, which is somebody else's."""
    swapped = {"s00": {"s01": Fraction(1)}, "s01": {"s00": Fraction(1)}}
    quiet, swap = PlannedRound(), PlannedRound(mixing=swapped)
    of_one = PlannedSum("server", {"s00": Fraction(1)})
    last = SumPlan(names(2), (quiet, swap), of_one)
    assert exposure(last, 0, ONLY_MIXED).exposed == ("s01",)
    first = SumPlan(names(2), (quiet, swap), of_one, decay=Fraction(1))
    assert exposure(first, 0, ONLY_MIXED).exposed == ("s00",)
    both = SumPlan(names(2), (quiet, swap), of_one, decay=Fraction(1, 2))
    assert exposure(both, 0, ONLY_MIXED).exposing == 0
    assert exposure(both, 1, ONLY_MIXED).exposing == 2


def test_what_the_sum_at_the_end_exposes_by_itself_is_said_so():
    both = PlannedSum("server", dict.fromkeys(names(2), Fraction(1, 2)))
    assert exposure(SumPlan(names(2), (), both), 1).words == "in a single round"


def test_a_receiver_that_is_no_site_helps_every_set():
    """What only the server sees must not be safe because the server is no site."""
    kept = PlannedSum("server", {"s00": Fraction(1, 3), "s01": Fraction(2, 3)})
    plan = SumPlan(("s00", "s01", "s02"), (PlannedRound((kept,)),))
    assert plan.parties == ("s00", "s01", "s02", "server")
    found = exposure(plan, 1)
    assert found.sets == 3
    assert (found.exposing, found.ever) == (2, ("s00", "s01"))
    assert exposure(plan, 0).exposing == 0


# Another opinion.


@st.composite
def plans(draw):
    """A few rounds of arbitrary sums and mixing among three to five sites and a server."""
    sites = names(draw(st.integers(3, 5)))
    some = st.sets(st.sampled_from(sites), min_size=1)
    weight = st.fractions(-2, 2, max_denominator=6).filter(bool)

    def row(members):
        return {site: draw(weight) for site in sorted(members)}

    rounds = []
    for _ in range(draw(st.integers(1, 3))):
        sums = [
            PlannedSum(
                draw(st.sampled_from([*sites, "server"])),
                row(draw(some)),
                frozenset(draw(st.sets(st.sampled_from(sites), max_size=2))),
            )
            for _ in range(draw(st.integers(0, 2)))
        ]
        mixing = {site: row(draw(some)) for site in draw(st.sets(st.sampled_from(sites)))}
        rounds.append(PlannedRound(tuple(sums), mixing))
    final = PlannedSum("server", row(draw(some))) if draw(st.booleans()) else None
    return SumPlan(sites, tuple(rounds), final, draw(st.fractions(0, 1, max_denominator=9)))


def solvable(plan, who, drift):
    """sympy's rank over the rationals: whose unit vector adds nothing to what ``who`` see."""
    count = len(plan.sites)
    inputs = {s: [Fraction(i == j) for j in range(count)] for i, s in enumerate(plan.sites)}
    seen = [inputs[site] for site in who]

    def combined(row, values):
        return [sum(w * values[s][j] for s, w in row.items()) for j in range(count)]

    def between(one, other, *weights):
        return {
            s: [sum(map(mul, weights, pair)) for pair in zip(one[s], other[s], strict=True)]
            for s in plan.sites
        }

    def rank(rows):
        exact = [[QQ(x.numerator, x.denominator) for x in row] for row in rows]
        return DomainMatrix(exact, (len(rows), count), QQ).rank()

    values, averages = inputs, None
    for one in plan.rounds:
        seen = seen + [
            combined(total.weights, values)
            for total in one.sums
            if {total.receiver, *total.handed_to} & {*who, "server"}
        ]
        mixed = {s: combined(one.mixing.get(s, {s: 1}), values) for s in plan.sites}
        averages = between(averages or mixed, mixed, plan.decay, 1 - plan.decay)
        values = between(mixed, inputs, drift.keeps, drift.adds)
    if plan.final is not None:
        seen = [*seen, combined(plan.final.weights, averages)]
    others = set(plan.sites) - set(who)
    return {site for site in others if rank([*seen, inputs[site]]) == rank(seen)}


@settings(max_examples=60, deadline=None)
@given(plans(), st.integers(1, 2))
def test_sympy_finds_the_same_sites(plan, colluders):
    by_set = {
        who: set().union(*(solvable(plan, who, drift) for drift in DRIFTS))
        for who in combinations(plan.sites, colluders)
    }
    found = exposure(plan, colluders)
    assert found.sets == len(by_set)
    assert found.exposing == sum(map(bool, by_set.values()))
    assert set(found.ever) == set().union(*by_set.values())
    assert len(found.exposed) == max(map(len, by_set.values()))
    assert not found.exposing or set(found.exposed) == by_set[found.worst]


def test_rationals_that_floats_would_confuse_are_told_apart():
    """A billionth of a part is a part; in float32 these two sums are one."""
    tiny = Fraction(1, 10**12)
    sums = (
        PlannedSum("s00", {"s01": Fraction(1), "s02": Fraction(1)}),
        PlannedSum("s00", {"s01": Fraction(1), "s02": 1 + tiny}),
    )
    found = exposure(SumPlan(names(3), (PlannedRound(sums),)), 1)
    assert found.exposed == ("s01", "s02")


@given(st.fractions(max_denominator=10**6), st.fractions(max_denominator=10**6))
def test_residues_calculate_as_fractions_do(one, other):
    assert residue(one + other) == (residue(one) + residue(other)) % PRIME
    assert residue(one * other) == residue(one) * residue(other) % PRIME
    assert residue(Fraction(3)) == 3


def test_a_span_does_not_change_when_more_is_learned():
    little = Span().with_equations([(1, 1, 0)])
    more = little.with_equations([(0, 1, 0), (1, 2, 0)])
    assert (little.rank, more.rank) == (1, 2)
    assert (little.solved(), more.solved()) == (frozenset(), {0, 1})
    assert more == Span().with_equations([(5, 0, 0), (0, 7, 0)])
    assert more != little


# Refusals.


def test_an_unsafe_plan_is_refused_by_name_with_the_way_out():
    with pytest.raises(PolicyRefused) as refusal:
        refuse_unsafe(gossip(nx.cycle_graph(5)), 2, lambda: "set federation.topology to complete")
    assert "s00 and s01 could solve for what s02 and s04 contributed" in str(refusal.value)
    assert "exposed by 2 sites together: every site;" in str(refusal.value)
    assert str(refusal.value).endswith("set federation.topology to complete")


def test_a_refusal_names_those_whom_any_set_exposes():
    with pytest.raises(PolicyRefused) as refusal:
        refuse_unsafe(means([("s00", "s01", "s02"), ("s03", "s04", "s05", "s06")]), 2, str)
    assert "s00 and s01 could solve for what s02 contributed" in str(refusal.value)
    assert "by 2 sites together: s00, s01 and s02;" in str(refusal.value)


def test_a_safe_plan_passes_and_asks_for_no_way_out():
    def way_out():
        raise AssertionError(NOT_ASKED)

    refuse_unsafe(gossip(nx.complete_graph(5), 3), 3, way_out)


def test_more_sets_than_can_be_gone_through_are_refused_with_their_number():
    with pytest.raises(ConfigError, match=r"5 of 32 sites can collude in 201,376 ways"):
        exposure(gossip(nx.cycle_graph(32)), 5)


@pytest.mark.parametrize(
    "one",
    [
        PlannedRound((PlannedSum("s00", {}),)),
        PlannedRound((PlannedSum("s00", {"zoe": Fraction(1)}),)),
        PlannedRound(mixing={"s00": {}}),
    ],
    ids=["nobody", "zoe", "nothing"],
)
def test_a_plan_with_sums_of_nobody_or_of_strangers_is_a_defect(one):
    with pytest.raises(ValueError, match="no site"):
        SumPlan(names(2), (one,))


@pytest.mark.parametrize("drift", DRIFTS, ids=lambda drift: drift.words)
def test_thirty_two_sites_and_three_colluders_are_gone_through(drift: Drift):
    plan = gossip(nx.complete_graph(32), 10)
    assert exposure(plan, 3, [drift]).exposing == 0
    assert exposure(plan, 3, [drift]).sets == 4960


# Traffic and releases.


def test_what_a_site_sends_is_counted_by_what_it_is():
    weights = dict.fromkeys(names(3), Fraction(1, 3))
    mean = PlannedSum("s01", weights, frozenset({"s00", "s02"}))
    round_of_means = PlannedRound((mean,))
    round_of_experts = PlannedRound(releases=(("s00", "s01"), ("s01", "s00")))
    plan = SumPlan(names(3), (round_of_means, round_of_experts, round_of_experts))
    assert sent(plan, round_of_means) == {"s00": Sent(1), "s01": Sent(0, 2), "s02": Sent(1)}
    assert sent(plan, round_of_experts) == {"s00": Sent(0, 1), "s01": Sent(0, 1), "s02": Sent()}
    assert mean_messages(plan) == pytest.approx((4 + 2 + 2) / 9)
    assert plan.releases == {("s00", "s01"): 2, ("s01", "s00"): 2}

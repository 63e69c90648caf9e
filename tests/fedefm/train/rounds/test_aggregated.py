"""The mean expert against the single ones that it is the mean of."""

import pytest
import torch

from fedefm.train.rounds import algorithm_for
from fedefm.train.rounds.aggregated import NEIGHBORHOOD, aggregated_round
from fedefm.train.rounds.fedefm import mixed_round

MIXED = {"update": "mixed", "schedule": "neighbors"}
GRAPHS = ["complete", "ring", "star"]


def play(world, sites, algorithm, lost=lambda sender, receiver: False):
    steps = {name: algorithm(site, 0) for name, site in sites.items()}
    return world.exchange_by_hand(steps, lost)


def twins(world, topology):
    """The same sites twice: for the mixed update with equal weights, and for the aggregated."""
    federation = {**MIXED, "topology": topology}
    single = world.settings(federation=federation, distill={"weights": "uniform", "beta": 0.2})
    mean = world.settings(federation={**federation, "expert": "aggregated"}, distill={"beta": 0.2})
    return world.pulled_sites(single), world.pulled_sites(mean)


@pytest.mark.parametrize("topology", GRAPHS)
def test_the_one_teacher_is_the_mean_of_the_experts_that_mixed_would_have_received(world, topology):
    single, mean = twins(world, topology)
    play(world, single, mixed_round)
    play(world, mean, aggregated_round)
    for name, site in mean.items():
        (teacher,) = site.experts
        experts = single[name].experts
        assert len(experts) == len(site.partners(0))
        wanted = {n: sum(expert[n] for expert in experts) / len(experts) for n in teacher}
        torch.testing.assert_close(teacher, wanted)


@pytest.mark.parametrize("topology", GRAPHS)
def test_the_new_weights_are_those_of_mixed_with_equal_weights(world, topology):
    single, mean = twins(world, topology)
    play(world, single, mixed_round)
    play(world, mean, aggregated_round)
    for name in mean:
        torch.testing.assert_close(mean[name].weights(), single[name].weights())


@pytest.mark.parametrize("phase", ["weights", "experts"])
def test_with_somebody_missing_the_mean_is_over_those_who_answered(world, phase):
    single, mean = twins(world, "complete")

    def lose(at):
        seen = set()

        def lost(sender, receiver):
            second = (sender, receiver) in seen
            seen.add((sender, receiver))
            return sender == "west" and second == (at == "experts")

        return lost

    play(world, single, mixed_round, lose(phase))
    play(world, mean, aggregated_round, lose(phase))
    for name in mean:
        torch.testing.assert_close(mean[name].weights(), single[name].weights())


def test_who_hears_of_nobody_keeps_what_it_trained_and_has_no_teacher(world):
    _, mean = twins(world, "ring")
    trained = mean["north"].trainer.of(mean["north"].weights())
    stats = play(world, mean, aggregated_round, lambda a, b: "north" in (a, b))
    torch.testing.assert_close(mean["north"].weights(), trained)
    assert mean["north"].experts == []
    assert stats["north"].similarity == {}


def test_agreement_is_measured_with_the_mean_and_told_under_one_name(world):
    _, mean = twins(world, "complete")
    for stats in play(world, mean, aggregated_round).values():
        assert list(stats.similarity) == [NEIGHBORHOOD]
        assert -1 <= stats.similarity[NEIGHBORHOOD] <= 1


def test_experts_travel_into_one_sum_for_their_owner_who_adds_nothing(world):
    run = world.settings(federation={**MIXED, "topology": "ring", "expert": "aggregated"})
    sites = world.pulled_sites(run)
    site = sites["north"]
    cohorts = []

    def watched(occasion, parts, own):
        cohorts.append((occasion.what, set(parts), own))
        return plain(occasion, parts, own)

    plain, site.sum = site.sum, watched
    play(world, sites, algorithm_for(run, world.plan(run)).site_round)

    ((what, given, own),) = cohorts
    assert what == "experts"
    assert (own.receiver, own.members, own.joins) == ("north", site.partners(0), False)
    assert {cohort.receiver for cohort in given} == site.partners(0)
    for cohort in given:
        assert (cohort.members, cohort.joins) == (sites[cohort.receiver].partners(0), False)


def test_a_run_that_asks_for_single_experts_gets_them(world):
    run = world.settings(federation=MIXED)
    assert algorithm_for(run, world.plan(run)).site_round is mixed_round

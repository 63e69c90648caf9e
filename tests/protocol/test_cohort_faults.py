"""A cohort's mean with something broken in each of its phases, and whom that touches."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from fedefm.model.weights import flatten
from fedefm.train.rounds.cohort import average_with_cohort
from fedefm.train.rounds.publish import publish_site
from fedefm.train.simulate import Faults

NAMES = tuple(f"s{k}" for k in range(9))
GRID = {"schedule": "grid", "cohort": 3}


@pytest.fixture
def grid_run(configure):
    return configure("gossip", **GRID)


def cohort_of(observed, name, round_index=0):
    """The collector, and the other members, of a site's cohort."""
    grid = observed.federation.plan.cohorts
    collector = grid.collector(name, round_index)
    return collector, [n for n in grid.cohort(name, round_index) if n != collector]


def rows(observed, names):
    return torch.stack([flatten(observed.sites[name].weights()) for name in names])


def same(weights):
    return torch.equal(weights, weights[:1].expand_as(weights))


@pytest.mark.parametrize("phase", ["sum", "mean", "echo"])
def test_a_lost_message_touches_its_own_cohort_alone_and_fails_nobody(grid_run, observe, phase):
    whole = observe(grid_run, names=NAMES)
    collector, (one, other) = cohort_of(whole, "s4")
    sender = collector if phase == "mean" else one

    def lose(header):
        receiver = one if phase == "mean" else header.receiver
        return (header.phase, header.sender, header.receiver) == (phase, sender, receiver)

    broken = observe(grid_run, Faults(lose=lose), NAMES)
    for observed in (whole, broken):
        observed.federation.play_round(0)

    assert broken.told("round_finished")[0]["missing"] == {}
    elsewhere = [name for name in NAMES if name not in (collector, one, other)]
    assert torch.equal(rows(whole, elsewhere), rows(broken, elsewhere))
    assert same(rows(broken, [collector, other]))
    assert same(rows(broken, [collector, one])) == (phase == "echo")
    unheard = broken.unheard(0)
    assert not any(unheard[name] for name in elsewhere)
    if phase == "sum":  # it was left out, and so was handed no mean
        assert (unheard[collector], unheard[one], unheard[other]) == ([one], [collector], [])


@pytest.mark.parametrize("who", ["collector", "member"])
def test_a_site_that_throws_leaves_its_cohort_together_and_comes_again(grid_run, observe, who):
    collector, members = cohort_of(observe(grid_run, names=NAMES), "s4", 1)
    broken = collector if who == "collector" else members[0]
    observed = observe(grid_run, Faults(crash=lambda site, r: (site, r) == (broken, 1)), NAMES)
    observed.federation.play_round(0)
    observed.federation.play_round(1)

    assert list(observed.told("round_finished")[1]["missing"]) == [broken]
    left = [name for name in (collector, *members) if name != broken]
    assert same(rows(observed, left)) == (who == "member")
    observed.federation.play_round(2)
    assert observed.told("round_finished")[2]["missing"] == {}


def played_with(observed, name, changed):
    """One round in which what ``name`` sends goes through ``changed(exchange)``."""
    honest = observed.federation._parties

    def parties(round_index):
        made = honest(round_index)
        return {**made, name: altered(made[name], changed)}

    observed.federation._parties = parties
    observed.federation.play_round(0)


def altered(steps, changed):
    inbox = None
    while True:
        try:
            exchange = steps.send(inbox)
        except StopIteration as finished:
            return finished.value
        inbox = yield changed(exchange)


def test_a_mean_that_cannot_be_a_model_is_refused_and_leaves_the_members_own(grid_run, observe):
    observed = observe(grid_run, names=NAMES)
    collector, members = cohort_of(observed, "s0")

    def poisoned(exchange):
        outgoing = {
            receiver: {n: v * float("nan") if n != "cohort" else v for n, v in tensors.items()}
            for receiver, tensors in exchange.outgoing.items()
        }
        return replace(exchange, outgoing=outgoing) if exchange.phase == "mean" else exchange

    played_with(observed, collector, poisoned)

    assert {event["site"] for event in observed.told("rejected")} == set(members)
    assert all(repr(collector) in event["reason"] for event in observed.told("rejected"))
    assert not same(rows(observed, members))
    assert torch.isfinite(rows(observed, NAMES)).all()


def test_different_means_fail_the_members_with_the_collectors_name(grid_run, observe):
    observed = observe(grid_run, names=NAMES)
    collector, members = cohort_of(observed, "s0")
    before = rows(observed, members)

    def two_faced(exchange):
        if exchange.phase != "mean":
            return exchange
        other = {n: v + 1 if n != "cohort" else v for n, v in exchange.outgoing[members[0]].items()}
        return replace(exchange, outgoing={**exchange.outgoing, members[0]: other})

    played_with(observed, collector, two_faced)

    failed = observed.told("round", status="failed")
    assert {event["site"] for event in failed} == set(members)
    assert all(f"{collector!r} handed out different means" in event["reason"] for event in failed)
    assert torch.equal(rows(observed, members), before)


@pytest.mark.parametrize("phase", ["mean", "model"])
def test_who_waits_for_a_receiver_outwaits_its_waiting_for_the_silent(grid_run, observe, phase):
    """Else one silent site would keep the mean, or the global model, from everybody."""
    observed = observe(grid_run, names=NAMES)
    _, (member, _) = cohort_of(observed, "s4")
    site = observed.sites[member]
    average = partial(average_with_cohort, observed.federation.plan.cohorts)
    steps = publish_site(site) if phase == "model" else average(site, 0)
    given, awaited = next(steps), steps.send({})
    assert (given.phase, awaited.phase) == ("sum", phase)
    assert awaited.step > given.step

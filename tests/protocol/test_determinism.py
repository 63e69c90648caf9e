"""One seed, one result: bit by bit, whoever else takes part and whatever is measured meanwhile."""

import pytest
import torch

from fedefm.train.simulate import Faults

ALGORITHMS = ["swap", "grid", "mixed", "aggregated", "literal", "gossip", "fedavg", "none"]


def same(a, b):
    torch.testing.assert_close(a, b, rtol=0, atol=0)


def result(observed):
    """What every site holds after the run, and the global model."""
    observed.federation.train()
    published = observed.federation.publish()
    return {name: site.state() for name, site in sorted(observed.sites.items())}, published


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_same_seed_gives_the_same_bits_in_any_order_of_the_sites(configure, observe, algorithm):
    run = configure(algorithm, rounds=2)
    first = result(observe(run))
    again = result(observe(run, order=("west", "north", "south", "east")))
    same(first, again)


def test_another_seed_gives_another_model(configure, observe):
    run = configure("swap", rounds=1)
    one = result(observe(run))[1]
    other = result(observe(run.model_copy(update={"seed": 2})))[1]
    with pytest.raises(AssertionError):
        same(one, other)


def test_measuring_changes_nothing(configure, observe, images_of):
    run = configure("swap", rounds=2, evaluate_every=1)
    validation = {name: images_of(k) for k, name in enumerate(("north", "west"))}
    watched = observe(run, validation=validation)
    same(result(watched), result(observe(run)))
    told = watched.told("evaluated")
    assert [(e["round"], e["site"]) for e in told] == [
        (r, site) for r in range(2) for site in ("north", "west", "global")
    ]


def test_checkpoints_change_nothing(configure, observe, state_folder):
    run = configure("swap", rounds=2)
    same(result(observe(run, state_folder=state_folder)), result(observe(run)))


def test_a_site_draws_the_same_whoever_else_takes_part(configure, observe):
    run = configure("none", rounds=2)
    few, many = observe(run), observe(run, names=("north", "east", "south", "west", "center"))
    few.federation.train()
    many.federation.train()
    for name, site in few.sites.items():
        same(site.weights(), many.sites[name].weights())


def test_a_fault_far_away_does_not_reach_this_round(configure, observe):
    run = configure("swap", rounds=1)
    whole = observe(run)
    (partner,) = whole.sites["north"].partners(0)
    others = [name for name in whole.sites if name not in ("north", partner)]
    hurt = observe(run, Faults(crash=lambda site, round_index: site in others))
    for each in (whole, hurt):
        each.federation.play_round(0)
    same(whole.sites["north"].weights(), hurt.sites["north"].weights())

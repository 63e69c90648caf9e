"""Gossip against the matrix product that it stands for."""

import pytest
import torch

from fedefm.model.weights import flatten
from fedefm.topology.mixing import metropolis
from fedefm.train.rounds.gossip import gossip_round


def stacked(sites):
    """(sites, numbers): every site's weights as a row."""
    return torch.stack([flatten(site.weights()) for site in sites.values()])


def play(world, sites, round_index, without=()):
    """One round of gossip; messages over the links in ``without`` are lost, both ways."""
    steps = {name: gossip_round(site, round_index) for name, site in sites.items()}
    world.exchange_by_hand(steps, lost=lambda a, b: {a, b} in [set(link) for link in without])


@pytest.mark.parametrize("topology", ["ring", "star", "complete", "mst"])
def test_a_round_is_the_product_with_the_mixing_matrix(world, topology):
    run = world.settings(
        federation={"algorithm": "gossip", "topology": topology, "schedule": "neighbors"}
    )
    sites = world.pulled_sites(run)
    trained = torch.stack([flatten(s.trainer.of(s.weights())) for s in sites.values()])
    rows = metropolis(world.plan(run).graph)
    dense = torch.tensor([[rows[i].get(j, 0.0) for j in sites] for i in sites])

    play(world, sites, 0)

    torch.testing.assert_close(stacked(sites), dense @ trained)


@pytest.mark.parametrize(
    ("schedule", "topology", "rounds"), [("hypercube", "ring", 2), ("matchings", "ring", 2)]
)
def test_sites_that_do_not_learn_agree_on_their_mean_after_one_period(
    world, schedule, topology, rounds
):
    run = world.settings(
        federation={"algorithm": "gossip", "topology": topology, "schedule": schedule}
    )
    sites = world.pulled_sites(run)
    for site in sites.values():
        site.trainer = world.idle()
    mean = stacked(sites).mean(dim=0)

    for round_index in range(rounds):
        play(world, sites, round_index)

    torch.testing.assert_close(stacked(sites), mean.expand(4, -1))


def test_who_is_without_partner_keeps_its_own_weights(world):
    run = world.settings(federation={"algorithm": "gossip", "schedule": "matchings"})
    names = ("a", "b", "c")
    sites = world.pulled_sites(run, names)
    alone = next(n for n in names if not sites[n].partners(0))
    trained = sites[alone].trainer.of(sites[alone].weights())

    play(world, sites, 0)

    torch.testing.assert_close(sites[alone].weights(), trained)


@pytest.mark.parametrize("schedule", ["neighbors", "matchings"])
def test_a_lost_link_moves_no_mean(world, schedule):
    run = world.settings(federation={"algorithm": "gossip", "schedule": schedule})
    sites = world.pulled_sites(run)
    trained = torch.stack([flatten(s.trainer.of(s.weights())) for s in sites.values()])
    partner = min(sites["north"].partners(0))

    play(world, sites, 0, without=[("north", partner)])

    torch.testing.assert_close(stacked(sites).mean(dim=0), trained.mean(dim=0))
    if schedule == "matchings":
        torch.testing.assert_close(stacked(sites)[0], trained[0])


def test_one_way_exchange_keeps_the_mean(world):
    run = world.settings(
        federation={"algorithm": "gossip", "schedule": "one_peer_exponential", "rounds": 3}
    )
    sites = world.pulled_sites(run, ("a", "b", "c"))
    for site in sites.values():
        site.trainer = world.idle()
    mean = stacked(sites).mean(dim=0)

    for round_index in range(3):
        play(world, sites, round_index)

    torch.testing.assert_close(stacked(sites).mean(dim=0), mean)

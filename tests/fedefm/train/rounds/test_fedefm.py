"""The three updates of FedEFM against slow references that know nothing of sites and messages."""

import pytest
import torch

from fedefm.distill.loss import expert_weights
from fedefm.topology.mixing import metropolis
from fedefm.train.exchange import Exchange
from fedefm.train.rounds.fedefm import literal_round, mixed_round, swap_round


def combine(*terms):
    """``sum rate * weights`` over ``(rate, weights)``."""
    names = terms[0][1]
    return {name: sum(rate * weights[name] for rate, weights in terms) for name in names}


def minus(a, b):
    return {name: a[name] - b[name] for name in a}


def play(world, sites, algorithm, round_index, lost=lambda sender, receiver: False):
    steps = {name: algorithm(site, round_index) for name, site in sites.items()}
    return world.exchange_by_hand(steps, lost)


@pytest.fixture
def sites(world):
    """Swap: an expert round every second round."""
    run = world.settings(federation={"expert_every": 2, "host_steps": 2})
    return world.pulled_sites(run)


def test_swap_averages_the_pair_in_most_rounds(world, sites):
    phi = {name: site.trainer.of(site.weights()) for name, site in sites.items()}
    partner = {name: next(iter(site.partners(0))) for name, site in sites.items()}

    play(world, sites, swap_round, 0)

    for name, site in sites.items():
        wanted = combine((0.5, phi[name]), (0.5, phi[partner[name]]))
        torch.testing.assert_close(site.weights(), wanted)


def test_after_an_expert_round_both_partners_hold_the_mean_of_both_experts(world, sites):
    phi = {name: site.trainer.of(site.weights()) for name, site in sites.items()}
    partner = {name: next(iter(site.partners(1))) for name, site in sites.items()}

    def hosted(guest, host):
        train = sites[host].trainer.of
        return train(train(phi[guest]))  # host_steps is 2

    wanted = {
        name: combine((0.5, hosted(name, partner[name])), (0.5, hosted(partner[name], name)))
        for name in sites
    }
    play(world, sites, swap_round, 1)

    for name, site in sites.items():
        torch.testing.assert_close(site.weights(), wanted[name])
        torch.testing.assert_close(site.weights(), sites[partner[name]].weights())
        assert site.experts == []  # nobody is taught here


def test_swap_follows_the_reference_through_many_rounds_of_real_training(world):
    """The same run with whole copies of the sites, written as plain assignments."""
    run = world.settings(federation={"expert_every": 2})
    sites, copies = world.sites(run), world.sites(run)

    for round_index in range(4):
        play(world, sites, swap_round, round_index)

        for site in copies.values():
            site.train_locally(round_index)
        phi = {name: site.weights() for name, site in copies.items()}
        for name, site in copies.items():
            (other,) = site.partners(round_index)
            if round_index % 2 == 0:
                new = combine((0.5, phi[name]), (0.5, phi[other]))
            else:
                expert = copies[other].host(phi[name], round_index, name)
                guest = copies[name].host(phi[other], round_index, other)
                new = combine((0.5, expert), (0.5, guest))
            site.average = new
        for site in copies.values():
            site.load(site.average)

    for name, site in sites.items():
        torch.testing.assert_close(site.weights(), copies[name].weights())


def test_an_expert_that_does_not_come_home_leaves_the_plain_average(world, sites):
    phi = {name: site.trainer.of(site.weights()) for name, site in sites.items()}
    (partner,) = sites["north"].partners(1)
    sent = []

    def lost(sender, receiver):
        sent.append((sender, receiver))
        return (sender, receiver) == (partner, "north") and sent.count((sender, receiver)) == 2

    play(world, sites, swap_round, 1, lost)

    wanted = combine((0.5, phi["north"]), (0.5, phi[partner]))
    torch.testing.assert_close(sites["north"].weights(), wanted)


def test_a_site_that_hears_from_nobody_keeps_what_it_trained(world, sites):
    for round_index in range(2):
        trained = sites["north"].trainer.of(sites["north"].weights())
        play(world, sites, swap_round, round_index, lambda sender, receiver: receiver == "north")
        torch.testing.assert_close(sites["north"].weights(), trained)


@pytest.mark.parametrize("weights", ["emd", "uniform"])
def test_mixed_is_its_formula(world, weights):
    run = world.settings(
        federation={"update": "mixed", "topology": "complete", "schedule": "neighbors"},
        distill={"weights": weights},
    )
    sites = world.pulled_sites(run)
    W = metropolis(world.plan(run).graph)
    phi = {name: site.trainer.of(site.weights()) for name, site in sites.items()}
    seen = world.similarities(sites)

    play(world, sites, mixed_round, 0)

    for i, site in sites.items():
        others = [j for j in sites if j != i]
        expert = {j: sites[j].trainer.of(phi[i]) for j in others}
        guest = {j: sites[i].trainer.of(phi[j]) for j in others}
        if weights == "emd":
            shares = expert_weights(torch.stack([seen[i][j] for j in sorted(others)]))
            trust = dict(zip(sorted(others), shares.mean(dim=1).tolist(), strict=True))
            assert len(set(trust.values())) == 3
        else:
            trust = dict.fromkeys(others, 1 / 3)
        wanted = combine(
            *((W[i][j], phi[j]) for j in sites),
            *((0.5 * trust[j], minus(expert[j], phi[i])) for j in others),
            *((0.5 / 3, minus(guest[j], phi[j])) for j in others),
        )
        torch.testing.assert_close(site.weights(), wanted)


def test_mixed_keeps_the_share_of_the_missing_and_weights_only_who_answered(world):
    run = world.settings(
        federation={"update": "mixed", "topology": "complete", "schedule": "neighbors"},
        distill={"weights": "uniform"},
    )
    sites = world.pulled_sites(run)
    W = metropolis(world.plan(run).graph)
    phi = {name: site.trainer.of(site.weights()) for name, site in sites.items()}

    play(world, sites, mixed_round, 0, lambda a, b: "west" in (a, b))

    def pull(host, guest):
        return minus(sites[host].trainer.of(phi[guest]), phi[guest])

    others = ("east", "south")
    wanted = combine(
        (W["north"]["north"] + W["north"]["west"], phi["north"]),
        *((W["north"][j], phi[j]) for j in others),
        *((0.5 / 2, pull(j, "north")) for j in others),
        *((0.5 / 2, pull("north", j)) for j in others),
    )
    torch.testing.assert_close(sites["north"].weights(), wanted)
    torch.testing.assert_close(sites["west"].weights(), phi["west"])


LITERAL = {"update": "literal", "schedule": "neighbors"}


def test_literal_sends_nothing_in_its_first_round(world):
    run = world.settings(federation=LITERAL, distill={"beta": 0.5})
    with pytest.raises(StopIteration):
        next(literal_round(world.sites(run)["north"], 0))


def test_literal_never_mixes_weights_and_replaces_its_teachers_each_round(world):
    run = world.settings(federation=LITERAL, distill={"beta": 0.5})
    sites = world.pulled_sites(run)
    for round_index in range(3):
        before = {name: site.weights() for name, site in sites.items()}
        play(world, sites, literal_round, round_index)
        for site in sites.values():
            torch.testing.assert_close(site.weights(), site.trainer.of(before[site.name]))
            hosts = sorted(site.partners(round_index)) if round_index else []
            taught = [sites[host].trainer.of(before[site.name]) for host in hosts]
            torch.testing.assert_close(site.experts, taught)


def test_what_others_hold_reaches_a_literal_site_only_through_its_teachers(world):
    """The limit of the printed update: without distillation no other site's images matter."""
    run = world.settings(federation=LITERAL, distill={"beta": 1e-12, "weights": "uniform"})
    ends = []
    for seed in (0, 5):
        sites = world.sites(run)
        sites["east"].trainer.dataset = sites["east"].dataset = world.images_of(1, seed=seed)
        for round_index in range(3):
            play(world, sites, literal_round, round_index)
        ends.append({name: site.weights() for name, site in sites.items()})

    torch.testing.assert_close(ends[0]["north"], ends[1]["north"], rtol=1e-4, atol=1e-6)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(ends[0]["east"], ends[1]["east"], rtol=1e-4, atol=1e-6)


def test_similarity_is_told_and_lies_between_minus_one_and_one(world, sites):
    stats = play(world, sites, swap_round, 1)
    for name, told in stats.items():
        (host,) = sites[name].partners(1)
        assert -1 <= told.similarity[host] <= 1
    assert not play(world, sites, swap_round, 2)["north"].similarity


def test_the_phases_and_receivers_of_an_expert_round_are_the_announced_ones(sites):
    site = sites["north"]
    (partner,) = site.partners(1)
    steps = swap_round(site, 1)
    first = next(steps)
    second = steps.send({partner: site.weights()})

    assert isinstance(first, Exchange)
    assert (first.phase, set(first.outgoing), first.expect) == ("weights", {partner}, {partner})
    assert (second.phase, set(second.outgoing), second.expect) == ("expert", {partner}, {partner})

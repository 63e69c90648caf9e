"""FedAvg and the last exchange against means written out by hand."""

import pytest
import torch

from fedefm.errors import ProtocolError, QuorumLost
from fedefm.model.weights import weights_of
from fedefm.train.assemble import build_model, build_server
from fedefm.train.exchange import SERVER
from fedefm.train.rounds.fedavg import fedavg_server_round, fedavg_site_round
from fedefm.train.rounds.publish import hand_out_server, publish_server, publish_site

FEDAVG = {"scenario": "client_server", "algorithm": "fedavg"}


@pytest.fixture
def sites(world):
    return world.pulled_sites(world.settings(federation=FEDAVG))


@pytest.fixture
def server(world):
    run = world.settings(federation=FEDAVG)
    return build_server(run, world.plan(run))


def play(world, sites, server, lost=lambda sender, receiver: False):
    steps = {name: fedavg_site_round(site, 0) for name, site in sites.items()}
    return world.exchange_by_hand({**steps, SERVER: fedavg_server_round(server, 0)}, lost)


def weighted_mean(parts):
    """Of ``(weights, images)`` pairs, in double precision."""
    images = sum(count for _, count in parts)
    return {
        name: (sum(w[name].double() * count for w, count in parts) / images).float()
        for name in parts[0][0]
    }


def test_the_model_becomes_the_mean_weighted_by_training_images(world, sites, server):
    start = dict(server.weights)
    parts = [(s.trainer.of(start), len(s.dataset)) for s in sites.values()]
    assert len({count for _, count in parts}) == 4

    play(world, sites, server)

    torch.testing.assert_close(server.weights, weighted_mean(parts))
    torch.testing.assert_close(server.average, server.weights)


def test_whoever_is_not_heard_is_left_out(world, sites, server):
    start = dict(server.weights)
    play(world, sites, server, lambda a, b: (a, b) == ("east", SERVER))
    others = [site for name, site in sites.items() if name != "east"]
    parts = [(site.trainer.of(start), len(site.dataset)) for site in others]
    torch.testing.assert_close(server.weights, weighted_mean(parts))


def test_a_server_that_hears_nobody_says_that_its_model_is_as_it_was(world, sites, server):
    start = dict(server.weights)
    told = play(world, sites, server, lambda a, b: b == SERVER)[SERVER]
    torch.testing.assert_close(server.weights, start, rtol=0, atol=0)
    assert told.unmoved
    assert not play(world, sites, server)[SERVER].unmoved


def test_who_was_handed_no_model_trains_on_none(world, sites):
    """Else a server that hands out nothing could choose on which models the parts are trained."""
    before = sites["east"].weights()
    steps = fedavg_site_round(sites["east"], 0)
    next(steps)
    with pytest.raises(ProtocolError, match="model did not come"):
        steps.send({})
    torch.testing.assert_close(sites["east"].weights(), before, rtol=0, atol=0)


def test_who_is_not_asked_rests_and_the_model_is_the_mean_of_the_others(world):
    run = world.settings(federation={**FEDAVG, "participation": 0.5})
    sites, server = world.pulled_sites(run), build_server(run, world.plan(run))
    asked = world.plan(run).asked(0)
    assert len(asked) == 2
    start, before = dict(server.weights), {name: s.weights() for name, s in sites.items()}

    play(world, sites, server)

    parts = [(s.trainer.of(start), len(s.dataset)) for n, s in sites.items() if n in asked]
    torch.testing.assert_close(server.weights, weighted_mean(parts))
    for name in sites.keys() - asked:
        torch.testing.assert_close(sites[name].weights(), before[name], rtol=0, atol=0)


def test_a_round_in_which_nobody_answers_changes_nothing(world, sites, server):
    start = {name: value.clone() for name, value in server.weights.items()}
    play(world, sites, server, lambda a, b: b == SERVER)
    torch.testing.assert_close(server.weights, start)


def test_what_the_server_hands_out_at_the_end_is_its_average_over_rounds(server):
    start, decay = server.weights, server.average_decay
    assert 0 < decay < 1
    wanted = None
    for number in (1.0, 4.0, -2.0):
        now = {name: value + number for name, value in start.items()}
        server.load(now)
        server.finish_round()
        wanted = now if wanted is None else {
            name: decay * wanted[name] + (1 - decay) * now[name] for name in now
        }  # fmt: skip
    exchange = next(hand_out_server(server))
    for sent in exchange.outgoing.values():
        torch.testing.assert_close(dict(sent), wanted)


def test_the_global_model_is_the_mean_of_the_sites_averages_over_rounds(world):
    run = world.settings()
    sites, server = world.pulled_sites(run), build_server(run, world.plan(run))
    for site in sites.values():
        site.finish_round()
        site.load({name: value + 9 for name, value in site.weights().items()})
    averages = [(site.average, 1) for site in sites.values()]

    steps = {name: publish_site(site) for name, site in sites.items()}
    results = world.exchange_by_hand({**steps, SERVER: publish_server(server)})

    for published in results.values():
        torch.testing.assert_close(published, weighted_mean(averages))


def test_the_global_model_leaves_out_whoever_did_not_answer(world):
    run = world.settings()
    sites, server = world.pulled_sites(run), build_server(run, world.plan(run))
    kept = [(site.weights(), 1) for name, site in sites.items() if name != "west"]

    steps = {name: publish_site(site) for name, site in sites.items()}
    results = world.exchange_by_hand(
        {**steps, SERVER: publish_server(server)}, lambda a, b: a == "west"
    )

    torch.testing.assert_close(results[SERVER], weighted_mean(kept))


def test_a_global_model_of_nobody_is_refused(world):
    run = world.settings()
    server = build_server(run, world.plan(run))
    with pytest.raises(QuorumLost, match="no site contributed"):
        world.exchange_by_hand({SERVER: publish_server(server)})
    torch.testing.assert_close(server.weights, weights_of(build_model(run)))

"""The server takes the step that every site would have taken, and no site takes any."""

import pytest
import torch

from fedefm.config import RunConfig, parse
from fedefm.errors import PolicyRefused, ProtocolError
from fedefm.train.assemble import build_server, build_site, plan_exchanges
from fedefm.train.exchange import SERVER
from fedefm.train.message import digest
from fedefm.train.protection import Protection, Unprotected, plain_mean
from fedefm.train.rounds import algorithm_for
from fedefm.train.rounds.shared_noise import (
    shared_noise_server_round,
    shared_noise_site_round,
    step_size,
)

FEDAVG = {"scenario": "client_server", "algorithm": "fedavg"}
SHARED = {
    "dp": {"noise_multiplier": 1.0, "patients_per_step": 4},
    "secagg": {"noise_shares": {"honest": 3}},
}


@pytest.fixture
def run(world):
    return world.settings(federation=FEDAVG)


@pytest.fixture
def sites(world, run):
    """Each finds a gradient of its own, k in all numbers, and trains nothing."""
    sites = world.pulled_sites(run)
    for k, site in enumerate(sites.values()):
        site.trainer = world.idle()
        found = {name: torch.full_like(value, float(k)) for name, value in site.weights().items()}
        site.noisy_sum = lambda found=found: found
    return sites


@pytest.fixture
def server(world, run):
    return build_server(run, world.plan(run))


def play(world, sites, server, lost=lambda sender, receiver: False, size=lambda k: 0.5):
    steps = {name: shared_noise_site_round(site, 0) for name, site in sites.items()}
    steps[SERVER] = shared_noise_server_round(server, 0, size)
    return world.exchange_by_hand(steps, lost)


def test_the_model_moves_along_the_mean_of_the_sums(world, sites, server):
    start = dict(server.weights)
    results = play(world, sites, server)
    mean = (0 + 1 + 2 + 3) / 4
    torch.testing.assert_close(server.weights, {n: w - 0.5 * mean for n, w in start.items()})
    torch.testing.assert_close(server.average, server.weights)
    assert all(stats.loss is None for stats in results.values())


def test_who_is_not_in_the_sum_is_not_in_the_mean(world, sites, server):
    start = dict(server.weights)
    play(world, sites, server, lambda a, b: (a, b) == ("west", SERVER))
    mean = (0 + 1 + 2) / 3
    torch.testing.assert_close(server.weights, {n: w - 0.5 * mean for n, w in start.items()})


def test_a_sum_of_nobody_changes_nothing(world, sites, server):
    start = {name: value.clone() for name, value in server.weights.items()}
    play(world, sites, server, lambda a, b: b == SERVER)
    torch.testing.assert_close(server.weights, start)


def test_a_site_holds_the_model_that_was_handed_out_and_no_other(world, sites, server):
    start = {name: value.clone() for name, value in server.weights.items()}
    play(world, sites, server)
    for site in sites.values():
        torch.testing.assert_close(site.weights(), start)


def test_without_the_server_s_model_no_step_is_taken(world, sites, server):
    def fit(*_):
        raise AssertionError("a step was taken")

    sites["east"].trainer.fit = fit
    with pytest.raises(ProtocolError, match="no step was taken on an old one"):
        play(world, {"east": sites["east"]}, server, lambda a, b: a == SERVER)


def test_all_agree_on_the_model_and_say_that_their_parts_are_noisy(world, sites, server):
    seen, cohorts = [], []
    start = dict(server.weights)

    def watch(party):
        inner = party.sum

        def total(occasion, parts, own):
            seen.append(occasion)
            cohorts.extend([*parts, *([own] if own else [])])
            return (yield from inner(occasion, parts, own))

        party.sum = total

    for party in (*sites.values(), server):
        watch(party)
    play(world, sites, server)
    assert len(seen) == 5
    assert len(set(seen)) == 1
    assert seen[0].noisy
    assert cohorts[0].agreed == digest(start)
    assert len({cohort.agreed for cohort in cohorts}) == 1


def test_a_step_is_as_long_as_fedavg_s():
    run = parse(
        {
            "training": {"learning_rate": 0.2, "decay_at": 0.5, "decay_to": 0.1, "momentum": 0},
            "federation": {**FEDAVG, "local_steps": 1, "rounds": 10},
            "privacy": SHARED,
        },
        RunConfig,
        "run file",
    )
    size = step_size(run)
    assert (size(0), size(4), size(5)) == pytest.approx((0.05, 0.05, 0.005))


@pytest.fixture
def shared(world):
    return world.settings(federation=FEDAVG, training={"momentum": 0.0}, privacy=SHARED)


def protection(world, site, noisy_sum):
    class Held(Unprotected):
        pass

    images = world.images_of(0)
    return Protection(world.idle(), plain_mean(len(images)), Held(), False, ("fine",), 5, noisy_sum)


def test_a_run_file_that_shares_noise_gets_these_rounds(world, shared, run):
    plan = plan_exchanges(shared, world.names)
    assert algorithm_for(shared, plan).site_round is shared_noise_site_round
    assert algorithm_for(run, plan).site_round is not shared_noise_site_round


def test_a_site_that_would_not_share_its_noise_is_not_built_for_a_run_that_does(world, shared):
    plan = plan_exchanges(shared, world.names)
    for guard in (protection(world, "east", None), None):
        with pytest.raises(PolicyRefused):
            build_site("east", world.images_of(0), shared, plan, guard)


def test_a_site_whose_noise_is_a_share_is_not_built_for_a_run_in_which_others_add_none(world, run):
    plan = plan_exchanges(run, world.names)
    with pytest.raises(PolicyRefused, match="asks for the opposite"):
        build_site("east", world.images_of(0), run, plan, protection(world, "east", dict))


def test_a_site_that_cannot_share_refuses_the_round(world, sites, server):
    sites["north"].noisy_sum = None
    with pytest.raises(PolicyRefused, match="'north' was not built to share"):
        play(world, sites, server)

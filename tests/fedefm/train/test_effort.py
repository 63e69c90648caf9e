"""What a site is said to do in a round is what it does: no step more, and none less."""

import pytest
import torch

from fedefm.model.weights import load_weights, weights_of
from fedefm.train.assemble import build_server, build_site, unprotected
from fedefm.train.effort import Effort, effort, efforts, steps_of
from fedefm.train.federation import Federation
from fedefm.train.protection import Protection
from fedefm.train.trainer import FitStats

ROUNDS = 6
WAYS = {
    "swap": {"expert_every": 2},
    "swap, random pairs": {"expert_every": 3, "schedule": "random_matchings"},
    "swap, hypercube": {"expert_every": 2, "schedule": "hypercube"},
    "mixed": {"update": "mixed", "schedule": "neighbors", "topology": "complete"},
    "mixed on a star": {"update": "mixed", "schedule": "neighbors", "topology": "star"},
    "mixed in pairs": {"update": "mixed", "schedule": "matchings"},
    "mixed, directed": {"update": "mixed", "schedule": "one_peer_exponential"},
    "aggregated": {
        "update": "mixed",
        "schedule": "neighbors",
        "topology": "complete",
        "expert": "aggregated",
    },
    "swap on a grid": {"expert_every": 2, "schedule": "grid", "cohort": 3},
    "gossip on a grid": {"algorithm": "gossip", "schedule": "grid", "cohort": 3},
    "literal": {"update": "literal", "schedule": "neighbors"},
    "literal in pairs": {"update": "literal", "schedule": "matchings"},
    "gossip": {"algorithm": "gossip"},
    "gossip, directed": {"algorithm": "gossip", "schedule": "one_peer_exponential"},
    "fedavg": {"scenario": "client_server", "algorithm": "fedavg"},
    "local": {"scenario": "local", "algorithm": "none"},
}


class Counting:
    """A trainer that nudges the model and counts the steps; it also stands for the noisy mean."""

    def __init__(self):
        self.own, self.hosted, self.guests, self.means = 0, 0, 0, 0
        self.hosting = False

    def fit(self, model, objective, steps, rate, rng):
        load_weights(model, {n: value * 0.99 for n, value in weights_of(model).items()})
        self.own += 0 if self.hosting else steps
        self.hosted += steps if self.hosting else 0
        self.guests += self.hosting
        return FitStats(None, steps, steps, 0.0)

    def mean(self, per_image, length, rng):
        self.means += 1
        return torch.full((length,), 1 / length)

    def state(self):
        return {}

    def load_state(self, state):
        pass


def counted_sites(world, run):
    plan = world.plan(run)
    sites, counts = {}, {}
    for k, name in enumerate(world.names):
        images = world.images_of(k)
        count = counts[name] = Counting()
        plain = unprotected(images, run)
        guard = Protection(count, count.mean, plain.release, measures=True)
        site = sites[name] = build_site(name, images, run, plan, guard)
        tell_hosting(site, count)
    return sites, counts, plan


def tell_hosting(site, count):
    host = site.host

    def hosted(*arguments):
        count.hosting = True
        try:
            return host(*arguments)
        finally:
            count.hosting = False

    site.host = hosted


@pytest.mark.parametrize("weights", ["emd", "uniform"])
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_the_plan_is_what_a_trainer_sees_round_by_round(world, way, weights):
    run = world.settings(
        federation={"rounds": ROUNDS, "local_steps": 2, "host_steps": 3, **way},
        distill={"weights": weights, "beta": 0.5},
    )
    sites, counts, plan = counted_sites(world, run)
    federation = Federation(run, plan, sites, build_server(run, plan))
    planned = {name: efforts(run, plan.schedule, name) for name in sites}

    for round_index in range(ROUNDS):
        federation.play_round(round_index)
        for name, count in counts.items():
            seen = Effort(count.own, count.hosted, count.guests, count.means)
            assert seen == planned[name][round_index], (name, round_index)
            count.__init__()
    federation.publish()
    assert not any(count.own + count.hosted + count.means for count in counts.values())


def test_hosting_and_the_mean_do_occur_above(world):
    run = world.settings(federation={"update": "mixed", "schedule": "neighbors", "host_steps": 3})
    plan = world.plan(run)
    assert effort(run, plan.schedule, "north", 0) == Effort(1, hosted=6, guests=2, mean=1)


def test_a_resumed_run_plans_what_is_left(world):
    run = world.settings(federation={"rounds": ROUNDS, "expert_every": 2})
    plan = world.plan(run)
    whole = efforts(run, plan.schedule, "east")
    assert efforts(run, plan.schedule, "east", 4) == whole[4:]
    assert steps_of(whole) == ROUNDS + ROUNDS // 2  # one own step a round, one hosted every second

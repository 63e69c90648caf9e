"""A private site tells nothing of its training images, and sends nothing without a promise."""

from dataclasses import replace

import pytest
import torch

from fedefm.errors import PolicyRefused
from fedefm.events import EventLog
from fedefm.train.assemble import build_server, build_site, unprotected
from fedefm.train.federation import Federation
from fedefm.train.protection import Protection, Unprotected
from fedefm.train.rounds import algorithm_for
from fedefm.train.simulate import Network

DP = {"epsilon": 3.0}
WAYS = {
    "swap": {"expert_every": 2},
    "mixed": {"update": "mixed", "schedule": "neighbors", "topology": "complete"},
    "aggregated": {
        "update": "mixed",
        "schedule": "neighbors",
        "topology": "complete",
        "expert": "aggregated",
    },
    "grid": {"schedule": "grid", "cohort": 3, "expert_every": 2},
    "literal": {"update": "literal", "schedule": "neighbors"},
    "gossip": {"algorithm": "gossip"},
    "fedavg": {"scenario": "client_server", "algorithm": "fedavg"},
    "local": {"scenario": "local", "algorithm": "none"},
}


class Promise:
    """A release that knows whether there was a private step."""

    def __init__(self, entry):
        self.entry = entry
        self.left = []

    def mechanism(self):
        return f"dp:{self.entry}"

    def check(self, header):
        if not self.entry:
            raise PolicyRefused("nothing was trained privately")
        self.left.append(header)

    def planned(self):
        return {}

    result = planned

    def finish(self):
        pass

    close = finish


def guarded(world, name, run, label=0, entry="e1", **changes):
    """A site's images and a protection whose trainer is a plain one that tells its loss."""
    images = world.images_of(label)
    plain = unprotected(images, run)
    guard = Protection(plain.trainer, even, Promise(entry), False, tuple(world.classes), 5)
    return images, replace(guard, **changes)


def even(per_image, length, rng):
    """A mean that looks at no image."""
    return torch.full((length,), 1 / length)


def private_federation(world, run, entries=None):
    plan, events = world.plan(run), []
    sites = {}
    for k, name in enumerate(world.names):
        images, guard = guarded(world, name, run, k, (entries or {}).get(name, "e1"))
        sites[name] = build_site(name, images, run, plan, guard)
    log = EventLog(None, (events.append,))
    return Federation(run, plan, sites, build_server(run, plan), log), events


def private_run(world, **federation):
    return world.settings(
        federation={"rounds": 2, **federation}, distill={"beta": 0.5}, privacy={"dp": DP}
    )


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_no_loss_and_no_agreement_is_told_and_none_is_measured(world, way, monkeypatch):
    measured = []
    monkeypatch.setattr("fedefm.train.site.agreement", lambda *a: measured.append(a))
    federation, events = private_federation(world, private_run(world, **way))
    federation.train()
    turns = [event for event in events if event["event"] == "round"]
    assert len(turns) == 8
    assert all(event["status"] == "ok" and event["loss"] is None for event in turns)
    assert not [event for event in events if event["event"] == "similarity"]
    assert not measured


def test_without_a_protection_a_private_run_is_refused_wherever_it_is_built(world):
    run = private_run(world)
    with pytest.raises(PolicyRefused, match="'north' would train without differential privacy"):
        build_site("north", world.images_of(0), run, world.plan(run))
    plain = world.settings(federation={"rounds": 2})
    with pytest.raises(PolicyRefused, match="'north' would train without"):
        Federation(run, world.plan(run), world.sites(plain), build_server(run, world.plan(run)))


@pytest.mark.parametrize(
    "hole", [{"measures": True}, {"release": Unprotected()}, {"labels": None}, {"size": None}]
)
def test_a_protection_with_a_hole_is_none(world, hole):
    run = private_run(world)
    images, guard = guarded(world, "north", run, **hole)
    with pytest.raises(PolicyRefused):
        build_site("north", images, run, world.plan(run), guard)


def test_labels_are_declared_and_not_looked_for(world):
    run = private_run(world)
    images, guard = guarded(world, "north", run, label=0, labels=("fine", "of no model"))
    site = build_site("north", images, run, world.plan(run), guard)
    assert site.present.tolist() == [name == "fine" for name in world.classes]
    assert images.present.tolist() == [True, False, False, False]


def test_the_weight_in_a_mean_over_sites_is_the_public_number(world):
    run = private_run(world, scenario="client_server", algorithm="fedavg")
    images, guard = guarded(world, "north", run, size=7)
    site = build_site("north", images, run, world.plan(run), guard)
    steps = algorithm_for(run, world.plan(run)).site_round(site, 0)
    next(steps)
    sent = steps.send({"server": site.weights()})
    assert sent.outgoing["server"]["vector"][-1] == 7
    assert len(images) != 7


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_a_site_whose_trainer_was_bypassed_sends_nothing_and_the_others_go_on(world, way):
    run = private_run(world, **way, quorum=0.5, rounds=3)  # in one of which east collects
    federation, events = private_federation(world, run, {"east": ""})
    federation.train()
    federation.publish()
    release = federation.sites["east"].release
    if way.get("scenario") == "local":  # it has nothing to send
        assert not release.left
        return
    turns = [event for event in events if event["event"] == "round"]
    assert {e["status"] for e in turns if e["site"] == "north"} == {"ok"}
    refused = [event for event in turns if event["site"] == "east" and event["status"] == "failed"]
    assert refused
    assert "nothing was trained privately" in refused[0]["reason"]
    sent = [h for site in federation.sites.values() for h in site.release.left]
    assert sent
    assert all(header.mechanism == "dp:e1" for header in sent)
    assert "east" not in {header.sender for header in sent}


def test_of_many_messages_none_leaves_where_one_must_not(world):
    run = private_run(world, update="mixed", schedule="neighbors", topology="complete")
    federation, _ = private_federation(world, run)
    site = federation.sites["north"]

    class Picky(Promise):
        def check(self, header):
            if header.receiver == "west":
                raise PolicyRefused("not to the west")

    network = Network("job", "id", 1.0, releases={"north": Picky("e1")})
    delivered = []
    network._deliver = delivered.append
    algorithm = algorithm_for(run, world.plan(run))
    outcome = network.run_round({"north": algorithm.site_round(site, 0)}, 0)
    assert isinstance(outcome["north"].error, PolicyRefused)
    assert not delivered


def test_unprotected_messages_say_so(world):
    federation = world.federation(world.settings(federation={"rounds": 1}))
    seen = []
    deliver = federation._network._deliver
    federation._network._deliver = lambda m: (seen.append(m.header.mechanism), deliver(m))
    federation.train()
    assert set(seen) == {"none"}

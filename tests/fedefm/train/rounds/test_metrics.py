"""What the server is told in sums against the same run in which every site tells its own."""

from types import SimpleNamespace

import pytest

from fedefm.events import EventLog
from fedefm.model.weights import load_weights
from fedefm.train.assemble import build_model, build_server, build_site
from fedefm.train.exchange import plain_sum
from fedefm.train.federation import Federation
from fedefm.train.measure import ACCURACY, measure_on
from fedefm.train.pooled import UNIT
from fedefm.train.secrecy import Secrecy
from fedefm.train.simulate import Faults

GOSSIP = {"algorithm": "gossip", "schedule": "neighbors", "evaluate_every": 2}
GRID = {"schedule": "grid", "cohort": 3, "evaluate_every": 2, "expert_every": 2}
FEDAVG = {"scenario": "client_server", "algorithm": "fedavg", "evaluate_every": 2}
WAYS = {"gossip": GOSSIP, "grid": GRID, "fedavg": FEDAVG}


def play(world, way, in_sums, faults=None, private=()):
    """A run of four sites with 5, 7, 9 and 11 validation images, and what it told."""
    secret = {"secagg": {"largest_site": 16}} if in_sums else {}
    run = world.settings(federation=way, privacy=secret)
    plan, events, sites = world.plan(run), [], {}
    held_out = {}
    for k, name in enumerate(world.names):
        held_out[name] = {
            "validation": world.images_of(k, 5 + 2 * k, seed=7),
            "test": world.images_of(k, 4 + 3 * k, seed=8) if k else None,
        }
        sites[name] = build_site(
            name,
            world.images_of(k, 8 + 2 * k),
            run,
            plan,
            secrecy=Secrecy(plain_sum, SimpleNamespace()) if in_sums else None,
            measure=measure_on(ACCURACY, held_out[name]),
        )
        sites[name].measures = name not in private
    secrecy = Secrecy(plain_sum, SimpleNamespace()) if in_sums else None
    server = build_server(run, plan, secrecy=secrecy)
    validation = {name: held["validation"] for name, held in held_out.items()}
    federation = Federation(
        run, plan, sites, server, EventLog(None, (events.append,)), faults or Faults(), None,
        validation,
    )  # fmt: skip
    federation.train()
    weights = federation.publish()
    return SimpleNamespace(
        run=run, events=events, weights=weights, held_out=held_out, federation=federation
    )


def told(world_run, kind, **wanted):
    return [
        event
        for event in world_run.events
        if event["event"] == kind and all(event.get(k) == v for k, v in wanted.items())
    ]


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_sums_say_what_single_numbers_would_have_said_together(world, way):
    alone, together = play(world, way, in_sums=False), play(world, way, in_sums=True)

    sums = told(together, "metrics", model="own")
    assert [event["round"] for event in sums] == [1, 3]
    for event in sums:
        single = [
            e for e in told(alone, "evaluated", round=event["round"]) if e["site"] != "global"
        ]
        right = sum(e["accuracy"] * e["images"] for e in single)
        assert (event["images"], event["sites"]) == (32, 4)
        assert event["accuracy"] * 32 == pytest.approx(right)
        turns = told(alone, "round", round=event["round"])
        assert event["loss"] == pytest.approx(sum(e["loss"] for e in turns) / 4, abs=UNIT)
        assert event["trained_on"] == 8 + 10 + 12 + 14
        similar = [e["value"] for e in told(alone, "similarity", round=event["round"])]
        agreed = pytest.approx(sum(similar) / 4, abs=UNIT) if similar else None
        assert event["similarity"] == agreed
    assert any(event["similarity"] for event in sums) == (way is GRID)


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_no_number_of_a_single_site_is_told(world, way):
    run = play(world, way, in_sums=True)
    assert not told(run, "evaluated")
    assert not told(run, "similarity")
    assert {event["loss"] for event in told(run, "round")} == {None}


def test_the_global_model_is_judged_on_everybodys_images_without_any_sites_own(world):
    run = play(world, GOSSIP, in_sums=True)
    model = build_model(run.run)
    load_weights(model, run.weights)
    for split, images in (("validation", 32), ("test", 7 + 10 + 13)):
        held = {n: h[split] for n, h in run.held_out.items() if h[split] is not None}
        (event,) = told(run, "metrics", model="global", split=split)
        assert event["accuracy"] == pytest.approx(ACCURACY.over(model, held))
        assert (event["images"], event["sites"]) == (images, 4)
        assert run.federation.server.verdict[split].images == images


def test_measuring_the_global_model_leaves_a_sites_own_as_it_was(world):
    sums, single = play(world, GOSSIP, in_sums=True), play(world, GOSSIP, in_sums=False)
    for name, site in sums.federation.sites.items():
        mine, other = site.weights(), single.federation.sites[name].weights()
        assert all((mine[key] == other[key]).all() for key in mine)


def test_private_sites_tell_neither_loss_nor_agreement_but_count(world):
    run = play(world, GRID, in_sums=True, private=("north", "west"))
    (first, *_) = told(run, "metrics", model="own")
    assert first["loss"] is not None
    assert (first["images"], first["trained_on"]) == (32, 44)

    run = play(world, GRID, in_sums=True, private=world.names)
    (first, *_) = told(run, "metrics", model="own")
    assert (first["loss"], first["similarity"], first["images"]) == (None, None, 32)


def test_a_lost_part_is_left_out_of_the_sum_and_costs_its_site_nothing(world):
    lose = Faults(lose=lambda h: (h.phase, h.sender, h.round) == ("metrics", "north", 1))
    run = play(world, GOSSIP, in_sums=True, faults=lose)
    first, second = told(run, "metrics", model="own")
    assert (first["sites"], first["images"]) == (3, 27)
    assert (second["sites"], second["images"]) == (4, 32)
    assert all(not event["missing"] for event in told(run, "round_finished"))


def test_a_site_that_failed_still_says_how_its_model_does(world):
    crash = Faults(crash=lambda site, round_index: (site, round_index) == ("north", 1))
    run = play(world, GOSSIP, in_sums=True, faults=crash)
    first, second = told(run, "metrics", model="own")
    # an injected crash keeps a site from everything in that round, measuring included
    assert first["sites"] == 3
    assert second["sites"] == 4


def test_the_bytes_of_measuring_are_counted(world):
    run = play(world, GOSSIP, in_sums=True)
    for event in told(run, "metrics", model="own"):
        assert event["sent_bytes"] == 4 * 7 * 4
    every = sum(event.get("sent_bytes") or 0 for event in run.events)
    assert run.federation.sent_bytes == every

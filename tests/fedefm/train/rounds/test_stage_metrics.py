"""What stages tell in sums against the numbers of the single sites."""

from types import SimpleNamespace

import pytest

from fedefm.events import EventLog
from fedefm.train.assemble import build_server, build_site
from fedefm.train.exchange import plain_sum
from fedefm.train.federation import Federation
from fedefm.train.secrecy import Secrecy
from fedefm.train.simulate import Faults
from fedefm.train.site_tasks import SharedEncoder

SITES = ("north", "east", "south", "west", "hill", "lake")
FIRST, SECOND = SITES[:3], SITES[3:]
ONE_THEN_THE_OTHER = ({"sites": FIRST, "rounds": 2}, {"sites": SECOND, "rounds": 1})


def play(world, stages=ONE_THEN_THE_OTHER, lose=lambda header: False):
    """What a run in (plain) sums told, and what each site found by itself, by round."""
    task = {"kind": "classification", "classes": world.classes}
    run = world.settings(
        model={"backbone": "resnet_micro", "image_size": 16, "classes": []},
        stagewise={"stages": stages, "tasks": dict.fromkeys(SITES, task)},
        federation={
            "scenario": "client_server",
            "algorithm": "stagewise",
            "rounds": sum(stage["rounds"] for stage in stages),
            "evaluate_every": 1,
            "quorum": 0.1,
        },
        privacy={"secagg": {"largest_site": 40}},
    )
    plan, events, found, sites = world.plan(run, SITES), [], [], {}
    secrecy = Secrecy(plain_sum, SimpleNamespace())
    for k, name in enumerate(SITES):

        def measure(model, split, name=name, images=5 + k):
            """Right answers that depend on the model, in no way that matters here."""
            weight = next(part for part in model.parameters() if part.numel() > 1)
            points = int(1e4 * float(weight.detach().abs().sum()) * (images + 1)) % (images + 1)
            found.append((name, split, points, images))
            return points, images

        images = world.images_of(k % 4, 8 + 2 * k)
        sites[name] = build_site(name, images, run, plan, secrecy=secrecy, measure=measure)
    server = build_server(run, plan, secrecy=secrecy)
    log = EventLog(None, (events.append,))
    federation = Federation(run, plan, sites, server, log, Faults(lose=lose))
    by_round = []
    for round_index in range(run.federation.rounds):
        federation.play_round(round_index)
        by_round.append({name: (points, images) for name, _, points, images in found})
        found.clear()
    federation.publish()
    return SimpleNamespace(events=events, by_round=by_round, published=found, server=server)


def told(run, kind):
    return [event for event in run.events if event["event"] == kind]


def mean(found, sites):
    points, images = (sum(found[site][k] for site in sites) for k in (0, 1))
    return points * SharedEncoder().scale.point / images


def test_after_each_stage_every_stage_s_sites_tell_their_tasks_as_one_sum(world):
    run = play(world)
    ends = told(run, "stage")
    assert [(e["round"], e["stages"]) for e in ends] == [(1, [1]), (2, [1]), (2, [2])]
    for event in ends:
        sites = (FIRST, SECOND)[event["stages"][0] - 1]
        found = run.by_round[event["round"]]
        assert event["score"] == pytest.approx(mean(found, sites))
        assert (event["sites"], event["images"]) == (3, sum(found[s][1] for s in sites))


def test_those_are_measured_who_train_and_at_a_stage_s_end_those_who_have_trained(world):
    run = play(world)
    assert [set(found) for found in run.by_round] == [set(FIRST), set(FIRST), set(SITES)]


def test_who_trains_again_is_told_once(world):
    run = play(world, (*ONE_THEN_THE_OTHER, {"sites": FIRST[::-1], "rounds": 1}))
    told_after = [(event["round"], event["stages"]) for event in told(run, "stage")]
    assert told_after == [(1, [1, 3]), (2, [1, 3]), (2, [2]), (3, [1, 3]), (3, [2])]


def test_the_sum_of_a_round_is_that_of_its_stage(world):
    run = play(world)
    for event in told(run, "metrics")[:3]:
        asked = FIRST if event["round"] < 2 else SECOND
        found = run.by_round[event["round"]]
        assert event["score"] == pytest.approx(mean(found, asked))
        sizes = {name: 8 + 2 * k for k, name in enumerate(SITES)}
        assert event["trained_on"] == sum(sizes[s] for s in asked)
        assert event["loss"] is not None


def test_what_was_told_by_stage_is_not_told_again_of_all_sites(world):
    """A server that missed a site the first time could take one sum from the other."""
    run = play(world)
    assert {split for _, split, _, _ in run.published} == {"test"}
    assert set(run.server.verdict) == {"test"}


def test_a_site_that_is_not_heard_is_missing_in_its_stage_s_sum_alone(world):
    def lose(header):
        return (header.phase, header.sender, header.round) == ("metrics", "lake", 2)

    _, first, second = told(play(world, lose=lose), "stage")
    assert (first["sites"], second["sites"]) == (3, 2)
    assert second["images"] == 8 + 9


def test_sites_without_the_encoder_of_the_stage_tell_nothing_of_it(world):
    def lose(header):
        return (header.phase, header.receiver, header.round) == ("encoder", "east", 2)

    _, first, second = told(play(world, lose=lose), "stage")
    assert (first["sites"], second["sites"]) == (2, 3)

"""Stages against means written out by hand, and what becomes of them when messages are lost."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedefm.events import EventLog
from fedefm.model.encoder import build_encoder
from fedefm.train.assemble import build_server, build_site
from fedefm.train.curation import IMAGES, Curator
from fedefm.train.exchange import SERVER
from fedefm.train.federation import Federation
from fedefm.train.message import digest
from fedefm.train.rounds.stagewise import part_of_the_way, stagewise_site_round
from fedefm.train.simulate import Faults

PAIRS = [{"sites": ["north", "east"], "rounds": 2}, {"sites": ["south", "west"], "rounds": 1}]
CURATION = {"dataset": "public", "images": 6, "steps": 2}


def staged(world, eta=0.25, curation=None, stages=PAIRS):
    kinds = {"kind": "classification", "classes": world.classes}
    rounds = sum(stage["rounds"] for stage in stages)
    told = {"stages": stages, "tasks": dict.fromkeys(world.names, kinds), "eta": eta}
    return world.settings(
        model={"backbone": "resnet_micro", "image_size": 16, "classes": []},
        stagewise=told | ({} if curation is None else {"curation": curation}),
        federation={
            "scenario": "client_server",
            "algorithm": "stagewise",
            "rounds": rounds,
            "quorum": 0.4,
        },
    )


def federation(world, run, faults=Faults(), log=None):  # noqa: B008 - frozen
    plan, pulled = world.plan(run), world.pulled_sites(run)
    curator = None
    if run.stagewise.curation is not None:
        encoder = build_encoder("resnet_micro", 16, run.seed)
        curator = Curator(world.images_of(0, 6, seed=5), encoder, run.stagewise.curation, run.seed)
    server = build_server(run, plan, curator=curator)
    return Federation(run, plan, pulled, server, log, faults)


def expected(site, start):
    """What a pulled site makes of the encoder, in its one local step."""
    return site.trainer.of(start)


def mean(many):
    images = sum(count for _, count in many)
    return {n: sum(w[n] * c for w, c in many) / images for n in many[0][0]}


def test_the_encoder_goes_a_part_of_the_way_to_the_mean_of_the_stage_s_sites(world):
    played = federation(world, staged(world, eta=0.25))
    start = dict(played.server.weights)
    parts = [
        (expected(played.sites[name], start), len(played.sites[name].dataset))
        for name in ("north", "east")
    ]
    played.play_round(0)
    wanted = {n: 0.75 * start[n] + 0.25 * value for n, value in mean(parts).items()}
    torch.testing.assert_close(dict(played.server.weights), wanted)


def test_what_a_site_knows_besides_the_encoder_stays_its_own(world):
    played = federation(world, staged(world))
    heads = {
        n: {k: w for k, w in s.weights().items() if "head" in k} for n, s in played.sites.items()
    }
    played.play_round(0)
    for name in ("south", "west"):  # which rested
        own = played.sites[name].weights()
        assert all(torch.equal(own[k], value) for k, value in heads[name].items())
    for name in ("north", "east"):
        own, wanted = played.sites[name].weights(), expected(played.sites[name], heads[name])
        for k, value in wanted.items():
            torch.testing.assert_close(own[k], value)


def test_at_a_stage_s_end_all_sites_hold_the_same_encoder(world):
    played = federation(world, staged(world))
    played.play_round(0)
    held = [site.shared_weights() for site in played.sites.values()]
    assert not all(torch.equal(held[0][n], held[2][n]) for n in held[0])
    played.play_round(1)
    for site in played.sites.values():
        torch.testing.assert_close(site.shared_weights(), played.server.weights, rtol=0, atol=0)


@given(st.floats(0.01, 1.0))
def test_eta_is_the_share_of_the_way(eta):
    before, after = {"w": torch.tensor([1.0, -3.0])}, {"w": torch.tensor([5.0, 1.0])}
    went = part_of_the_way(before, after, eta)["w"] - before["w"]
    torch.testing.assert_close(went, eta * torch.tensor([4.0, 4.0]))


def test_curation_brings_features_nearer_to_the_mean_of_the_sites(world):
    """The sites of the stage all give the features that their trained encoders give."""
    plain, curated = (
        federation(world, staged(world, eta=1.0, curation=c, stages=PAIRS[::-1]))
        for c in (None, {**CURATION, "steps": 60, "learning_rate": 0.05})
    )
    images = curated.server.curator.images
    start = dict(curated.server.weights)
    features = []
    for name in ("south", "west"):
        site = curated.sites[name]
        before = site.weights()
        site.load_shared(expected(site, start))
        features.append(site.features(images) * len(site.dataset))
        site.load(before)
    wanted = torch.nn.functional.normalize(sum(features), dim=1)
    likeness = []
    for one in (plain, curated):
        one.play_round(0)
        site = one.sites["south"]
        likeness.append(float((site.features(images) * wanted).sum(dim=1).mean()))
    assert likeness[1] > likeness[0]


@pytest.mark.parametrize("phase", ["images", "model", "sum", "encoder"])
@pytest.mark.parametrize("site", ["north", "south"])
def test_a_lost_message_costs_one_site_one_round_and_nobody_else_anything(world, phase, site):
    """``north`` trains in round 1, the last of its stage; ``south`` waits for the encoder."""

    def lose(header):
        return header.phase == phase and site in (header.sender, header.receiver)

    told = []
    run = staged(world, curation=CURATION)
    whole = federation(world, run)
    broken = federation(world, run, Faults(lose=lose), EventLog(None, (told.append,)))
    for played in (whole, broken):
        played.play_round(0) if phase not in ("model", "sum") else None
    for played in (whole, broken):
        played.play_round(1)
    others = [n for n in world.names if n != site]
    encoder = broken.server.weights
    for name in others:
        torch.testing.assert_close(broken.sites[name].shared_weights(), encoder, rtol=0, atol=0)
    turns = {e["site"]: e["status"] for e in told if e["event"] == "round" and e["round"] == 1}
    assert turns["west"] == "resting"
    assert turns["east"] == "ok"
    concerned = site == "north" or phase == "encoder"  # south has no part in the rest
    assert (turns[site] == "failed") == concerned
    (closed,) = (e for e in told if e["event"] == "round_finished" and e["round"] == 1)
    assert ("north" in closed["missing"]) == (site == "north")


def test_a_sum_opens_only_over_sites_that_saw_the_same_images_and_the_same_model(world):
    """Else a server could show one site other images, and read what only it makes of them."""
    agreed = {}
    for shown in (torch.zeros(6, 1, 16, 16), torch.ones(6, 1, 16, 16)):
        played = federation(world, staged(world, curation=CURATION))
        site = played.sites["north"]
        steps = stagewise_site_round(played.run.stagewise, site, 1)
        assert next(steps).phase == "images"
        assert steps.send({SERVER: {IMAGES: shown}}).phase == "model"
        steps.send({SERVER: dict(played.server.weights)})
        agreed[site.handed] = shown
    assert len(agreed) == 2


def test_after_a_stage_its_encoder_is_what_measurements_agree_on(world):
    played = federation(world, staged(world))
    played.play_round(0), played.play_round(1)
    wanted = digest(played.server.weights)
    assert played.server.handed == wanted
    assert {site.handed for site in played.sites.values()} == {wanted}


def test_the_rate_begins_anew_in_each_stage(world):
    long = [{**stage, "rounds": 5} for stage in PAIRS]
    site = federation(world, staged(world, stages=long)).sites["north"]
    rates = [site.learning_rate(k) / 0.05 for k in range(10)]
    assert rates == pytest.approx([1, 1, 1, 0.3, 0.3] * 2)  # it drops after 0.6 of the rounds


def test_a_site_with_one_class_of_images_is_built_for_all_its_task_s(world):
    run = staged(world)
    site = build_site("north", world.images_of(0), run, world.plan(run))
    assert site.model(torch.zeros(1, 1, 16, 16)).shape == (1, len(world.classes))

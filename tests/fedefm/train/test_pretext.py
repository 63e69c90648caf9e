"""What a run trains for does not matter to who exchanges what: autoencoders in every algorithm."""

from typing import Any

import pytest
import torch

from fedefm.config import RunConfig
from fedefm.config.names import PATCHES, UNLABELED
from fedefm.errors import ConfigError
from fedefm.events import EventLog
from fedefm.train.assemble import build_model, build_server, build_site, transform_of
from fedefm.train.federation import Federation
from fedefm.train.pretext import EXPLAINED, PaintingPatches

VIT = {"backbone": "vit_micro", "image_size": 16, "classes": []}
WAYS: dict[str, dict[str, Any]] = {
    "fedavg": {"scenario": "client_server", "algorithm": "fedavg"},
    "some asked": {"scenario": "client_server", "algorithm": "fedavg", "participation": 0.5},
    "gossip": {"algorithm": "gossip"},
    "local": {"scenario": "local", "algorithm": "none"},
}


def masked(world: Any, **sections: Any) -> RunConfig:
    run: RunConfig = world.settings(**{"model": VIT, "masking": {}, **sections})
    return run


def federation(world: Any, run: RunConfig, log: EventLog | None = None) -> Federation:
    assert run.masking is not None
    plan, frames = world.plan(run), PaintingPatches(run.masking, PATCHES["vit_micro"]).frames
    sites = {
        name: build_site(name, frames(world.images_of(k, 12)), run, plan)
        for k, name in enumerate(world.names)
    }
    held = {name: frames(world.images_of(k, 6, seed=9)) for k, name in enumerate(world.names)}
    return Federation(run, plan, sites, build_server(run, plan), log, validation=held)


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_sites_learn_to_paint_hidden_patches(world, way):
    rounds = {**way, "rounds": 12, "local_steps": 6, "evaluate_every": 12}
    run = masked(world, federation=rounds, training={"learning_rate": 0.1})
    told: list[dict[str, Any]] = []
    played = federation(world, run, EventLog(None, (told.append,)))
    held = played._validation
    fresh = EXPLAINED.over(build_model(run), held)
    played.train()
    scores = [e["explained"] for e in told if e["event"] == "evaluated" and e["site"] != "global"]
    assert len(scores) == len(world.names)
    assert min(scores) > fresh + 0.2, "training made no site's model paint better"
    assert not any("accuracy" in event for event in told)


def test_what_is_to_be_painted_gets_no_noise(world):
    gray, rng = torch.full((3, 1, 16, 16), 0.5), torch.Generator().manual_seed(0)
    painter = masked(world, federation=WAYS["fedavg"])
    for run, deviates in ((painter, False), (world.settings(), True)):
        vary = transform_of(run)
        assert vary is not None
        assert (float(vary(gray, None, rng)[0].std()) > 0.01) is deviates
    still = masked(world, federation=WAYS["fedavg"], training={"augment": "none"})
    assert transform_of(still) is None


def test_positions_stay_fixed_and_are_not_sent(world):
    run = masked(world, federation=WAYS["fedavg"])
    played = federation(world, run)
    before = build_model(run).backbone.tokens.pos_embed.clone()
    played.train()
    assert "backbone.tokens.pos_embed" not in (played.publish() or {})
    for site in played.sites.values():
        assert torch.equal(site.model.backbone.tokens.pos_embed, before)


def test_labels_of_images_are_neither_needed_nor_looked_at(world):
    run = masked(world, federation=WAYS["fedavg"])
    assert run.labels == (UNLABELED,)
    one, other = federation(world, run), federation(world, run)
    for site in other.sites.values():
        site.dataset.labels[:] = 0
    one.train(), other.train()
    first, second = one.publish(), other.publish()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    ("sections", "told"),
    [
        (
            {"model": {**VIT, "backbone": "resnet_micro"}},
            "'resnet_micro' has none; use one of vit_",
        ),
        (
            {"model": {**VIT, "image_size": 16, "backbone": "vit_tiny"}},
            "set model.image_size to 32",
        ),
        ({"federation": {"algorithm": "fedefm"}}, "use 'fedavg' (UltraFedFM), 'gossip', or 'none'"),
        ({"model": {**VIT, "classes": ["a"]}}, "has no use for model.classes; leave it out"),
        ({"model": {**VIT, "train_last": 1}}, "has no use for model.train_last; leave it out"),
        ({"masking": {"mask_ratio": 1.0}}, "mask_ratio"),
        (
            {
                "masking": {"convert": 0.5},
                "federation": {"scenario": "centralized", "algorithm": "none"},
            },
            "'centralized' mixes the images of all sites; leave it out",
        ),
    ],
)
def test_what_cannot_be_masked_is_refused_in_the_run_file(world, sections, told):
    with pytest.raises(ConfigError, match="run") as caught:
        masked(world, **{"federation": WAYS["fedavg"], **sections})
    assert told in str(caught.value)

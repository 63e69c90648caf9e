"""A run that starts from public weights and trains only the end of the model."""

import json
import shutil

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from fedefm.errors import ConfigError, ModelError
from fedefm.model.checkpoint import save_checkpoint
from fedefm.model.foundation import build_foundation
from fedefm.train.assemble import build_site
from fedefm.train.run import run_in_process
from fedefm.train.start import find_start
from fedefm.train.workshop import find_sites

WAYS = {
    "swap": {"expert_every": 2},
    "fedavg": {"scenario": "client_server", "algorithm": "fedavg"},
    "local": {"scenario": "local", "algorithm": "none"},
}


@pytest.fixture
def public(tmp_path):
    """A foundation model of other labels."""
    model = build_foundation("resnet_micro", ("x", "y", "z"), 16, "trainable", seed=7)
    save_checkpoint(tmp_path / "public.safetensors", model, model.info)
    return tmp_path / "public.safetensors"


@pytest.fixture
def sites(tmp_path, written_sites, public):
    folder = tmp_path / "sites"
    shutil.copytree(written_sites, folder)
    for site_file in find_sites(folder).values():
        know(site_file, public)
    return folder


def know(site_file, path):
    settings = yaml.safe_load(site_file.read_text())
    site_file.write_text(yaml.safe_dump({**settings, "starts": {"public": str(path)}}))


def run_of(world, last=1, **federation):
    return world.settings(
        model={"start": "public", "train_last": last},
        federation={"rounds": 2, **federation},
        distill={"beta": 0.5},
    )


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
def test_what_is_not_trained_is_the_start_and_what_is_has_moved(
    world, sites, public, tmp_path, way
):
    out = run_in_process(run_of(world, **way), sites, tmp_path / "run")
    if way.get("scenario") == "local":
        return
    began, ended = load_file(public), load_file(out / "model.safetensors")
    for name, tensor in ended.items():
        if name.startswith("backbone.") and "4" not in name:
            assert torch.equal(tensor, began[name]), name
    assert not torch.equal(ended["backbone.conv4.weight"], began["backbone.conv4.weight"])
    assert "public" in (out / "model_card.md").read_text()


def test_only_what_is_trained_travels(world, sites, tmp_path):
    traffic = {}
    for last in (1, 4):
        out = run_in_process(run_of(world, last), sites, tmp_path / f"run{last}")
        traffic[last] = json.loads((out / "result.json").read_text())["traffic_bytes"]["total"]
    assert traffic[1] < 0.75 * traffic[4]


def test_weights_of_elsewhere_under_the_names_of_the_backbone_are_taken(world, sites, tmp_path):
    model = build_foundation("resnet_micro", ("x",), 16, "frozen", seed=9)
    plain = {n: t.clone() for n, t in model.backbone.state_dict().items()}
    save_file(plain, tmp_path / "plain.safetensors")
    for site_file in find_sites(sites).values():
        know(site_file, tmp_path / "plain.safetensors")
    start = find_start(run_of(world), find_sites(sites))
    plan = world.plan(run_of(world))
    site = build_site("north", world.images_of(0), run_of(world), plan, start=start)
    assert torch.equal(site.model.backbone.conv1.weight, plain["conv1.weight"])


def test_a_start_that_differs_between_sites_is_refused(world, sites, public, tmp_path):
    other = build_foundation("resnet_micro", ("x", "y", "z"), 16, "trainable", seed=8)
    save_checkpoint(tmp_path / "other.safetensors", other, other.info)
    know(sites / "south" / "fedefm_site.yaml", tmp_path / "other.safetensors")
    with pytest.raises(ConfigError, match=r"not the same file at all sites .*south"):
        run_in_process(run_of(world), sites, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_start_that_a_site_does_not_know_is_refused_with_the_way_out(
    world, written_sites, tmp_path
):
    with pytest.raises(ConfigError, match=r"'public' is not in the site file of 'east'.*starts:"):
        run_in_process(run_of(world), written_sites, tmp_path / "run")


def test_a_start_of_another_backbone_is_refused(world, sites, tmp_path):
    run = world.settings(model={"start": "public", "backbone": "resnet10"}, distill={"pool": 1})
    with pytest.raises(ModelError, match="of backbone 'resnet_micro'"):
        run_in_process(run, sites, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_nobody_starts_from_nothing_where_a_start_is_named(world):
    run = run_of(world)
    with pytest.raises(ConfigError, match="nothing was loaded for it"):
        build_site("north", world.images_of(0), run, world.plan(run))


def test_a_resumed_run_needs_the_same_file(world, sites, tmp_path):
    run, out = run_of(world), tmp_path / "run"

    def stop(event):
        if event["event"] == "round_started" and event["round"] == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_in_process(run, sites, out, listeners=(stop,))
    other = build_foundation("resnet_micro", ("x",), 16, "trainable", seed=8)
    save_checkpoint(tmp_path / "other.safetensors", other, other.info)
    before = {name: path.read_text() for name, path in find_sites(sites).items()}
    for site_file in find_sites(sites).values():
        know(site_file, tmp_path / "other.safetensors")
    with pytest.raises(ConfigError, match="another file than when the run"):
        run_in_process(run, sites, out, resume=True)
    for name, path in find_sites(sites).items():
        path.write_text(before[name])
    run_in_process(run, sites, out, resume=True)
    assert (out / "result.json").exists()

import hashlib

import pytest
import torch

from fedefm.errors import ConfigError, ModelError
from fedefm.finetune.card import ModelCard
from fedefm.finetune.checkpoint import (
    TrainedSegmenter,
    read_foundation,
    read_trained_segmenter,
    save_trained_segmenter,
    sha256_of,
)
from fedefm.finetune.start import Start
from fedefm.model.checkpoint import read_checkpoint_info, save_checkpoint
from fedefm.model.foundation import build_foundation
from fedefm.model.mae import build_masked_autoencoder
from fedefm.model.segmenter import build_segmenter

CLASSES = ("background", "catheter", "guidewire")


@pytest.fixture
def foundation_path(tmp_path):
    model = build_foundation("resnet_micro", ("a", "b"), 32, "frozen", seed=4)
    save_checkpoint(tmp_path / "foundation.safetensors", model, model.info)
    return tmp_path / "foundation.safetensors"


@pytest.fixture
def segmenter_path(tmp_path):
    card = ModelCard(
        task="t", backbone="resnet_micro", image_size=32, classes=CLASSES, trained_from="scratch"
    )
    trained = TrainedSegmenter(build_segmenter("resnet_micro", 3, 32, seed=7), CLASSES, card)
    save_trained_segmenter(tmp_path / "segmenter.safetensors", trained)
    return tmp_path / "segmenter.safetensors"


def test_a_segmenter_comes_back_whole_from_its_file_alone(segmenter_path):
    trained = read_trained_segmenter(segmenter_path)
    images = torch.randn(2, 1, 32, 32)
    original = build_segmenter("resnet_micro", 3, 32, seed=7)
    torch.testing.assert_close(trained.model(images), original(images))
    assert trained.classes == CLASSES
    assert trained.image_size == 32
    assert trained.card.trained_from == "scratch"


def test_a_foundation_model_comes_back_whole_with_its_frozen_head(foundation_path):
    images = torch.randn(2, 1, 32, 32)
    original = build_foundation("resnet_micro", ("a", "b"), 32, "frozen", seed=4)
    torch.testing.assert_close(read_foundation(foundation_path)(images), original(images))


def test_each_reader_names_the_other_kind(foundation_path, segmenter_path):
    with pytest.raises(ModelError, match=r"no segmenter .*foundation model on resnet_micro"):
        read_trained_segmenter(foundation_path)
    with pytest.raises(ModelError, match=r"no foundation model .*segmenter on resnet_micro"):
        read_foundation(segmenter_path)
    with pytest.raises(ModelError, match="no foundation model"):
        Start(segmenter_path).segmenter(3, seed=0)


def test_a_masked_autoencoder_is_named_where_another_model_is_wanted(tmp_path):
    model, path = build_masked_autoencoder("vit_micro", 32, 1), tmp_path / "mae.safetensors"
    save_checkpoint(path, model, model.info)
    for reader in (read_foundation, read_trained_segmenter):
        with pytest.raises(ModelError, match="holds a masked autoencoder on vit_micro"):
            reader(path)


def test_a_file_of_unknown_kind_or_with_broken_facts_is_one_sentence(tmp_path):
    path = tmp_path / "x.safetensors"
    save_checkpoint(path, torch.nn.Linear(2, 2), {})
    with pytest.raises(ModelError, match="does not say what it holds"):
        read_trained_segmenter(path)
    save_checkpoint(path, torch.nn.Linear(2, 2), {"kind": "segmenter", "classes": "["})
    with pytest.raises(ModelError, match="does not describe its model"):
        read_trained_segmenter(path)
    path.write_bytes(b"no model")
    with pytest.raises(ModelError, match="damaged"):
        read_trained_segmenter(path)
    with pytest.raises(ModelError, match="does not exist"):
        read_trained_segmenter(tmp_path / "absent")


def test_a_start_takes_backbone_size_and_weights_from_the_foundation(foundation_path):
    segmenter = Start(foundation_path).segmenter(3, seed=9)
    body = read_foundation(foundation_path).backbone.state_dict()
    assert segmenter.info["image_size"] == "32"
    assert all(torch.equal(body[name], t) for name, t in segmenter.backbone.state_dict().items())
    digest = hashlib.sha256(foundation_path.read_bytes()).hexdigest()
    assert str(Start(foundation_path)) == f"foundation checkpoint sha256:{digest}"


def test_a_segmenter_names_the_foundation_that_it_came_from(foundation_path, tmp_path):
    model = read_foundation(foundation_path)
    save_checkpoint(foundation_path, model, {**model.info, "run": "ring"})
    start, digest = Start(foundation_path), sha256_of(foundation_path)
    assert str(start) == f"foundation checkpoint sha256:{digest} of run 'ring'"
    out = tmp_path / "segmenter.safetensors"
    trained = TrainedSegmenter(start.segmenter(3, seed=1), CLASSES)
    for _ in range(2):  # and goes on naming it when it is read and written again
        save_trained_segmenter(out, trained)
        trained = read_trained_segmenter(out)
        facts = read_checkpoint_info(out)
        assert facts["foundation_sha256"] == digest
        assert facts["foundation_run"] == "ring"
    scratch = Start(None, "resnet_micro", 32).segmenter(3, seed=1)
    save_trained_segmenter(out, TrainedSegmenter(scratch, CLASSES))
    assert "foundation_sha256" not in read_checkpoint_info(out)


def test_a_start_from_scratch_takes_nothing_and_says_so(foundation_path):
    scratch = Start(None, "resnet_micro", 32)
    body = read_foundation(foundation_path).backbone.state_dict()
    built = scratch.segmenter(3, seed=9).backbone.state_dict()
    assert any(not torch.equal(body[name], built[name]) for name in body)
    assert str(scratch) == "scratch"


def test_a_foundation_of_another_backbone_is_one_sentence(foundation_path):
    with pytest.raises(ModelError, match="of backbone 'resnet_micro'"):
        Start(foundation_path, backbone="vit_micro", image_size=32).segmenter(3, seed=0)


def test_a_start_without_anything_is_one_sentence():
    with pytest.raises(ConfigError, match="backbone and an image size"):
        Start().segmenter(3, seed=0)


def test_the_hash_of_a_missing_file_is_one_sentence(tmp_path):
    with pytest.raises(ModelError, match="cannot be read"):
        sha256_of(tmp_path / "absent")

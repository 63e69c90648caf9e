"""The foundation model: the same at every site, and honest about what does not fit."""

import pytest
import torch

from fedefm.errors import ModelError
from fedefm.model.checkpoint import save_checkpoint
from fedefm.model.foundation import BACKBONES, FROZEN_SCALE, build_foundation, read_foundation
from fedefm.model.weights import weights_of

CLASSES = ("phantom", "animal", "cardiac")


@pytest.mark.parametrize("head", ["trainable", "frozen"])
def test_one_seed_gives_one_model_whatever_was_drawn_before(head):
    first = build_foundation("resnet_micro", CLASSES, 32, head, seed=7).state_dict()
    torch.randn(100)
    again = build_foundation("resnet_micro", CLASSES, 32, head, seed=7).state_dict()
    other = build_foundation("resnet_micro", CLASSES, 32, head, seed=8).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["backbone.conv1.weight"], other["backbone.conv1.weight"])
    assert not torch.equal(first["head.weight"], other["head.weight"])


def test_building_leaves_the_global_random_stream_alone():
    torch.manual_seed(3)
    expected = torch.randn(4)
    torch.manual_seed(3)
    build_foundation("resnet_micro", CLASSES, 32, "frozen", seed=1)
    assert torch.equal(torch.randn(4), expected)


def test_a_frozen_head_is_orthonormal_rows_times_three_and_never_travels():
    model = build_foundation("resnet_micro", CLASSES, 32, "frozen", seed=1)
    rows = model.head.weight / FROZEN_SCALE
    torch.testing.assert_close(rows @ rows.T, torch.eye(3), rtol=0, atol=1e-5)
    assert not any(name.startswith("head") for name in weights_of(model))
    assert "head.weight" in model.state_dict()


def test_training_leaves_a_frozen_head_alone():
    model = build_foundation("resnet_micro", CLASSES, 32, "frozen", seed=1)
    before = model.head.weight.clone()
    model(torch.randn(2, 1, 32, 32)).sum().backward()
    torch.optim.SGD(model.parameters(), lr=1.0).step()
    assert torch.equal(model.head.weight, before)


@pytest.mark.parametrize("name", ["resnet_micro", "vit_micro", "resnet10"])
def test_features_and_logits_are_those_of_the_separate_calls(name):
    model = build_foundation(name, CLASSES, 32, "trainable", seed=1)
    images = torch.randn(2, 1, 32, 32)
    features, logits = model.features_and_logits(images)
    torch.testing.assert_close(features, model.dense_features(images))
    torch.testing.assert_close(logits, model(images))
    assert features.shape[-1] == model.backbone.feature_dim
    assert logits.shape == (2, len(CLASSES))


@pytest.mark.parametrize("name", ["resnet_micro", "vit_micro", "resnet10"])
def test_no_sample_sees_another(name):
    model = build_foundation(name, CLASSES, 32, "trainable", seed=1).train()
    images = torch.randn(3, 1, 32, 32)
    changed = images.clone()
    changed[1] = torch.randn(1, 32, 32)
    torch.testing.assert_close(model(changed)[[0, 2]], model(images)[[0, 2]])


def test_a_checkpoint_tells_how_to_build_its_model(tmp_path):
    model = build_foundation("resnet_micro", CLASSES, 32, "frozen", seed=5)
    torch.nn.init.normal_(model.backbone.conv1.weight)
    save_checkpoint(tmp_path / "m.safetensors", model, model.info)
    again = read_foundation(tmp_path / "m.safetensors")
    images = torch.randn(1, 1, 32, 32)
    assert again.classes == CLASSES
    torch.testing.assert_close(again(images), model(images))


@pytest.mark.parametrize("wrong", [{"seed": "five"}, {"classes": "[a"}])
def test_a_checkpoint_with_damaged_facts_is_refused(tmp_path, wrong):
    model = build_foundation("resnet_micro", CLASSES, 32, "frozen", seed=5)
    save_checkpoint(tmp_path / "m.safetensors", model, model.info | wrong)
    with pytest.raises(ModelError, match="does not say how its foundation model is built"):
        read_foundation(tmp_path / "m.safetensors")


def test_a_checkpoint_without_its_facts_is_refused(tmp_path):
    model = build_foundation("resnet_micro", CLASSES, 32, "frozen", seed=5)
    save_checkpoint(tmp_path / "m.safetensors", model, {"backbone": "resnet_micro"})
    with pytest.raises(ModelError, match=r"is built \('classes'\)"):
        read_foundation(tmp_path / "m.safetensors")


def test_an_unknown_backbone_is_refused_with_the_choices():
    with pytest.raises(ModelError) as caught:
        build_foundation("alexnet", CLASSES, 32, "frozen", seed=1)
    assert all(name in str(caught.value) for name in ("alexnet", *BACKBONES))


@pytest.mark.parametrize(
    ("classes", "sentence"),
    [((), "list of classes is empty"), (("a", "b", "a"), "named twice: a;")],
)
def test_missing_and_repeated_classes_are_refused(classes, sentence):
    with pytest.raises(ModelError, match=sentence):
        build_foundation("resnet_micro", classes, 32, "frozen", seed=1)


def test_more_classes_than_features_cannot_be_frozen():
    classes = [str(number) for number in range(65)]
    with pytest.raises(ModelError, match="use a trainable head or a wider backbone"):
        build_foundation("resnet_micro", classes, 32, "frozen", seed=1)
    assert build_foundation("resnet_micro", classes, 32, "trainable", seed=1).classes[-1] == "64"

"""Segmenters: full resolution, a start from foundation checkpoints, and refusals."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from fedefm.errors import ModelError
from fedefm.model.checkpoint import save_checkpoint
from fedefm.model.foundation import build_foundation
from fedefm.model.segmenter import build_segmenter, load_foundation, read_segmenter

CLASSES = ("phantom", "animal", "cardiac")


@pytest.fixture
def checkpoint(tmp_path):
    """Writes a foundation model of the named backbone and gives its path."""

    def write(backbone: str, image_size: int):
        model = build_foundation(backbone, CLASSES, image_size, "frozen", seed=3)
        path = tmp_path / f"{backbone}.safetensors"
        save_checkpoint(path, model, model.info)
        return path

    return write


@pytest.mark.parametrize(
    ("backbone", "size"),
    [("resnet_micro", 32), ("resnet_micro", 45), ("resnet10", 64), ("vit_micro", 64)],
)
def test_logits_have_the_size_of_the_image(backbone, size):
    segmenter = build_segmenter(backbone, 4, size, seed=1)
    assert segmenter(torch.randn(2, 1, size, size)).shape == (2, 4, size, size)


@pytest.mark.parametrize("backbone", ["resnet_micro", "vit_micro"])
def test_a_line_one_pixel_wide_can_be_learned(backbone):
    """Devices are one to three pixels wide; a decoder to half resolution cannot draw them."""
    torch.manual_seed(0)
    masks = torch.stack([torch.eye(32).roll(shift, dims=0) for shift in (0, 9, 20)]).long()
    images = 0.5 * torch.randn(3, 1, 32, 32) + 2 * masks[:, None]
    segmenter = build_segmenter(backbone, 2, 32, seed=1)
    optimizer = torch.optim.SGD(segmenter.parameters(), lr=0.05, momentum=0.9)
    for _ in range(60):
        optimizer.zero_grad()
        functional.cross_entropy(segmenter(images), masks).backward()
        optimizer.step()
    found = segmenter(images).argmax(dim=1)
    dice = 2 * (found * masks).sum() / (found.sum() + masks.sum())
    assert dice > 0.8


@pytest.mark.parametrize("backbone", ["resnet_micro", "resnet10", "vit_micro"])
def test_nothing_in_it_couples_samples_or_works_in_place(backbone):
    segmenter = build_segmenter(backbone, 2, 32, seed=1)
    for module in segmenter.modules():
        assert not isinstance(module, nn.modules.batchnorm._BatchNorm)
        assert not getattr(module, "inplace", False)


def test_one_seed_gives_one_segmenter():
    first = build_segmenter("resnet_micro", 2, 32, seed=1).state_dict()
    torch.randn(10)
    again = build_segmenter("resnet_micro", 2, 32, seed=1).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_the_backbone_starts_from_the_foundation_model(checkpoint):
    path = checkpoint("resnet_micro", 32)
    segmenter = build_segmenter("resnet_micro", 2, 64, seed=1)
    report = load_foundation(segmenter, path)
    expected = build_foundation("resnet_micro", CLASSES, 32, "frozen", seed=3).backbone
    assert report.share == 1
    assert torch.equal(segmenter.backbone.conv3.weight, expected.conv3.weight)


def test_positions_are_interpolated_to_the_segmenters_image_size(checkpoint):
    segmenter = build_segmenter("vit_micro", 2, 64, seed=1)
    fresh = segmenter.backbone.tokens.pos_embed.detach().clone()
    report = load_foundation(segmenter, checkpoint("vit_micro", 32))
    assert report.share == 1
    assert segmenter.backbone.tokens.pos_embed.shape == fresh.shape
    assert not torch.equal(segmenter.backbone.tokens.pos_embed, fresh)


def test_a_checkpoint_of_another_backbone_is_refused(checkpoint):
    segmenter = build_segmenter("vit_micro", 2, 32, seed=1)
    with pytest.raises(
        ModelError, match="is of backbone 'resnet_micro', the model is built on 'vit_micro'"
    ):
        load_foundation(segmenter, checkpoint("resnet_micro", 32))


def test_a_segmenter_comes_back_from_its_checkpoint(tmp_path):
    segmenter = build_segmenter("resnet_micro", 3, 32, seed=1)
    nn.init.normal_(segmenter.head[0].weight)
    save_checkpoint(tmp_path / "s.safetensors", segmenter, segmenter.info)
    image = torch.randn(1, 1, 32, 32)
    torch.testing.assert_close(read_segmenter(tmp_path / "s.safetensors")(image), segmenter(image))


def test_a_foundation_checkpoint_is_no_segmenter(checkpoint):
    with pytest.raises(ModelError, match="holds no segmenter; fine-tune one from it first"):
        read_segmenter(checkpoint("resnet_micro", 32))


def test_one_class_leaves_nothing_to_tell_apart():
    with pytest.raises(ModelError, match="use at least 2"):
        build_segmenter("resnet_micro", 1, 32, seed=1)


def test_a_vit_needs_a_size_that_can_be_halved():
    with pytest.raises(ModelError, match="40 is not a multiple of 32"):
        build_segmenter("vit_micro", 2, 40, seed=1)

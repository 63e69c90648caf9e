"""Vision transformers against timm's, as the oracle."""

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.layers import resample_abs_pos_embed

import fedefm.model.vit as vit
from fedefm.errors import ModelError
from fedefm.model.foundation import build_backbone
from fedefm.model.pretrained import load_public_weights


def timm_vit(image_size: int, channels: int) -> timm.models.VisionTransformer:
    """timm's ViT-Tiny with random weights everywhere, also where timm starts from zero."""
    torch.manual_seed(0)
    theirs = timm.create_model(
        "vit_tiny_patch16_224", img_size=image_size, in_chans=channels, depth=2, num_classes=5
    )
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return theirs.eval()


@pytest.fixture
def two_blocks(monkeypatch):
    """vit_tiny with two blocks instead of twelve: the same code, a sixth of the time."""
    monkeypatch.setitem(vit.VIT_SIZES, "vit_tiny", vit.VitSize(patch=16, dim=192, depth=2, heads=3))


@pytest.mark.usefixtures("two_blocks")
def test_color_weights_of_timm_give_timms_features_on_gray_images(tmp_path):
    theirs, ours = timm_vit(64, channels=3), build_backbone("vit_tiny", 64)
    save_file(theirs.state_dict(), tmp_path / "timm.safetensors")
    report = load_public_weights(ours, tmp_path / "timm.safetensors")
    images = torch.randn(2, 1, 64, 64)
    expected = theirs.forward_features(images.expand(-1, 3, -1, -1))[:, 1:]
    assert not report.missing
    assert not report.unexpected
    torch.testing.assert_close(
        ours.dense_features(images).flatten(1, 2), expected, rtol=1e-4, atol=1e-4
    )


@pytest.mark.usefixtures("two_blocks")
def test_positions_are_interpolated_to_another_image_size(tmp_path):
    theirs, ours = timm_vit(64, channels=1), build_backbone("vit_tiny", 96)
    save_file(theirs.state_dict(), tmp_path / "timm.safetensors")
    load_public_weights(ours, tmp_path / "timm.safetensors")
    at_96 = timm_vit(96, channels=1)
    state = theirs.state_dict()
    state["pos_embed"] = resample_abs_pos_embed(state["pos_embed"], [6, 6])
    at_96.load_state_dict(state)
    images = torch.randn(1, 1, 96, 96)
    torch.testing.assert_close(
        ours.dense_features(images).flatten(1, 2),
        at_96.forward_features(images)[:, 1:],
        rtol=1e-4,
        atol=1e-4,
    )


def test_every_size_has_timms_parameter_count():
    names = {
        "vit_tiny": "vit_tiny_patch16_224",
        "vit_small": "vit_small_patch16_224",
        "vit_base": "vit_base_patch16_224",
        "vit_large": "vit_large_patch16_224",
    }
    with torch.device("meta"):
        for ours, theirs in names.items():
            expected = timm.create_model(theirs, in_chans=1, num_classes=0)
            assert count(build_backbone(ours, 224)) == count(expected)


def test_a_size_that_is_no_multiple_of_the_patch_is_refused_with_one_that_is():
    with pytest.raises(ModelError, match="60 is not a multiple of the patch of 8 pixels; use 64"):
        build_backbone("vit_micro", 60)


def test_images_of_another_size_are_refused():
    with pytest.raises(ModelError, match="32 x 32 pixels do not fit a ViT built for 64 x 64"):
        build_backbone("vit_micro", 64)(torch.zeros(1, 1, 32, 32))


def test_the_last_pyramid_map_is_the_dense_features():
    backbone = build_backbone("vit_micro", 32)
    images = torch.randn(2, 1, 32, 32)
    pyramid = backbone.pyramid(images)
    assert [tuple(part.shape) for part in pyramid] == [(2, 96, 4, 4)] * 4
    torch.testing.assert_close(pyramid[-1].permute(0, 2, 3, 1), backbone.dense_features(images))


def count(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())

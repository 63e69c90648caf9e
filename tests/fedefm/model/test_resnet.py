"""GroupNorm ResNets against timm's, as the oracle."""

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.layers import GroupNorm

from fedefm.errors import ModelError
from fedefm.model.foundation import build_backbone
from fedefm.model.pretrained import load_public_weights


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_group_norm_weights_of_timm_give_timms_features(name, tmp_path):
    torch.manual_seed(0)
    theirs = timm.create_model(name, norm_layer=GroupNorm, zero_init_last=False).eval()
    for module in theirs.modules():
        if isinstance(module, torch.nn.GroupNorm):
            torch.nn.init.normal_(module.weight, mean=0.5, std=0.1)
            torch.nn.init.normal_(module.bias, std=0.1)
    save_file(theirs.state_dict(), tmp_path / "timm.safetensors")
    ours = build_backbone(name, 64)
    report = load_public_weights(ours, tmp_path / "timm.safetensors")
    images = torch.randn(2, 1, 64, 64)
    expected = theirs.forward_features(images.expand(-1, 3, -1, -1)).permute(0, 2, 3, 1)
    assert report.share == 1
    torch.testing.assert_close(ours.dense_features(images), expected, rtol=1e-4, atol=1e-4)


def test_batch_norm_weights_load_without_running_statistics(tmp_path):
    theirs = timm.create_model("resnet18", num_classes=7)
    save_file(theirs.state_dict(), tmp_path / "timm.safetensors")
    ours = build_backbone("resnet18", 64)
    report = load_public_weights(ours, tmp_path / "timm.safetensors")
    assert report.share == 1
    assert not report.unexpected
    torch.testing.assert_close(ours.layer4[1].conv2.weight, theirs.layer4[1].conv2.weight)


def test_weights_of_another_network_are_refused(tmp_path):
    save_file(timm.create_model("resnet18").state_dict(), tmp_path / "timm.safetensors")
    with pytest.raises(ModelError, match=r"timm\.safetensors does not fit .* tensors matched"):
        load_public_weights(build_backbone("resnet34", 64), tmp_path / "timm.safetensors")


@pytest.mark.parametrize("name", ["resnet_micro", "resnet10"])
@pytest.mark.parametrize("size", [32, 50])
def test_the_pyramid_has_the_announced_channels_and_strides(name, size):
    backbone = build_backbone(name, size)
    maps = backbone.pyramid(torch.randn(1, 1, size, size))
    assert tuple(part.shape[1] for part in maps) == backbone.channels
    assert [part.shape[-1] for part in maps] == [-(-size // stride) for stride in backbone.strides]


def test_the_micro_network_is_small_and_gives_16_nodes_at_32_pixels():
    backbone = build_backbone("resnet_micro", 32)
    assert sum(parameter.numel() for parameter in backbone.parameters()) == 60_400
    assert backbone.dense_features(torch.randn(3, 1, 32, 32)).shape == (3, 4, 4, 64)


@pytest.mark.parametrize("shape", [(2, 3, 32, 32), (2, 32, 32)])
def test_images_that_are_not_gray_are_refused(shape):
    with pytest.raises(ModelError, match="a backbone takes gray images"):
        build_backbone("resnet_micro", 32)(torch.zeros(shape))

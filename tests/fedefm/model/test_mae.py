"""The masked autoencoder: sees what it is shown, paints all, and starts any fine-tuning."""

import pytest
import torch
from torch import Tensor, nn

from fedefm.data.masking import hidden_patches, keep_any
from fedefm.data.patches import cut, put_together
from fedefm.errors import ModelError
from fedefm.model.checkpoint import save_checkpoint
from fedefm.model.foundation import build_foundation
from fedefm.model.mae import KIND, build_masked_autoencoder, read_masked_autoencoder
from fedefm.model.mae_decoder import DECODER_SIZES, in_their_places
from fedefm.model.positions import sine_positions
from fedefm.model.segmenter import load_foundation
from fedefm.model.vit import VIT_SIZES
from fedefm.model.weights import weights_of

SIZE, GRID = 32, 4


def model(seed: int = 1, size: int = SIZE):
    return build_masked_autoencoder("vit_micro", size, seed)


def kept_of(images: int, ratio: float = 0.75, seed: int = 0) -> Tensor:
    return keep_any(images, GRID**2, ratio, torch.Generator().manual_seed(seed))


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_all_patches_are_painted_from_some():
    painted = model()(torch.randn(3, 1, SIZE, SIZE), kept_of(3))
    assert painted.shape == (3, GRID**2, 8 * 8)
    assert put_together(painted).shape == (3, 1, SIZE, SIZE)


def test_pixels_of_hidden_patches_change_nothing_and_those_of_kept_ones_do():
    images, kept = torch.randn(2, 1, SIZE, SIZE), kept_of(2)
    network = model()
    patches = cut(images, 8)
    for places, same in ((hidden_patches(kept, GRID**2), True), (kept, False)):
        changed = patches.clone()
        changed.scatter_(1, places[..., None].expand(-1, -1, 64), torch.randn(2, GRID**2, 64))
        painted = network(put_together(changed), kept)
        assert torch.allclose(painted, network(images, kept), atol=1e-5) == same


def test_no_image_sees_another_nor_its_mask():
    network, images, kept = model().train(), torch.randn(3, 1, SIZE, SIZE), kept_of(3)
    before = network(images, kept)
    images[1], kept[1] = torch.randn(1, SIZE, SIZE), kept_of(1, seed=9)[0]
    after = network(images, kept)
    torch.testing.assert_close(after[[0, 2]], before[[0, 2]])
    assert not torch.allclose(after[1], before[1], atol=1e-3)


def test_where_all_is_kept_the_encoder_is_the_whole_vit():
    network, images = model(), torch.randn(2, 1, SIZE, SIZE)
    every = torch.arange(GRID**2).expand(2, -1)
    features = network.encode(images, every)[:, 1:]
    torch.testing.assert_close(features, network.dense_features(images).flatten(1, 2))


def test_the_order_in_which_patches_are_kept_does_not_matter():
    network, images, kept = model(), torch.randn(2, 1, SIZE, SIZE), kept_of(2, 0.5)
    torch.testing.assert_close(network(images, kept.flip(1)), network(images, kept))


def test_patches_go_back_to_where_they_were():
    tokens = torch.randn(5, 1 + GRID**2, 3)  # that of the class before those of patches
    kept = kept_of(5, 0.6)
    order = torch.cat([kept, hidden_patches(kept, GRID**2)], dim=1)
    shuffled = torch.stack(
        [torch.cat([one[:1], one[1:][places]]) for one, places in zip(tokens, order, strict=True)]
    )
    assert torch.equal(in_their_places(shuffled, kept), tokens)


def test_the_blocks_see_only_the_class_token_and_kept_patches():
    network, seen = model(), []
    for block in network.backbone.blocks:
        block.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape))
    network(torch.randn(2, 1, SIZE, SIZE), kept_of(2))
    assert seen == [(2, 1 + 4, 96)] * 4


def test_one_seed_gives_one_model_whatever_was_drawn_before():
    first = model(7).state_dict()
    torch.randn(100)
    again, other = model(7).state_dict(), model(8).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    for name in ("backbone.patch_embed.proj.weight", "decoder.mask_token.token"):
        assert not torch.equal(first[name], other[name])


def test_building_leaves_the_global_random_stream_alone():
    torch.manual_seed(3)
    expected = torch.randn(4)
    torch.manual_seed(3)
    model()
    assert torch.equal(torch.randn(4), expected)


def test_positions_are_sines_that_are_neither_trained_nor_sent():
    network = model()
    positions = network.backbone.tokens.pos_embed
    assert torch.equal(positions, sine_positions(GRID, 96))
    network(torch.randn(2, 1, SIZE, SIZE), kept_of(2)).sum().backward()
    assert positions.grad is None
    assert "backbone.tokens.pos_embed" not in weights_of(network)
    assert "backbone.tokens.pos_embed" in network.state_dict()
    untouched = [n for n, p in network.named_parameters() if p.requires_grad and p.grad is None]
    assert not untouched


def test_parameters_lie_in_leaf_modules():
    for name, module in model().named_modules():
        if next(module.children(), None) is not None:
            assert not list(module.parameters(recurse=False)), name


def test_a_checkpoint_tells_how_to_build_its_model(tmp_path):
    network = model(5)
    nn.init.normal_(network.decoder.head.weight)
    save_checkpoint(tmp_path / "m.safetensors", network, network.info)
    again = read_masked_autoencoder(tmp_path / "m.safetensors")
    images, kept = torch.randn(1, 1, SIZE, SIZE), kept_of(1)
    torch.testing.assert_close(again(images, kept), network(images, kept))
    assert not again.backbone.tokens.pos_embed.requires_grad


@pytest.mark.parametrize(
    ("info", "words"),
    [
        ({"kind": KIND, "backbone": "vit_micro"}, "does not say how its masked autoencoder"),
        ({"kind": "segmenter"}, "holds no masked autoencoder"),
        ({}, "holds no masked autoencoder"),
    ],
)
def test_another_checkpoint_is_refused(tmp_path, info, words):
    save_checkpoint(tmp_path / "m.safetensors", nn.Linear(2, 2), info)
    with pytest.raises(ModelError, match=words):
        read_masked_autoencoder(tmp_path / "m.safetensors")


@pytest.mark.parametrize("size", [SIZE, 64])
def test_fine_tuning_starts_from_the_encoder_at_any_size(tmp_path, size):
    network = model()
    save_checkpoint(tmp_path / "m.safetensors", network, network.info)
    tuned = build_foundation("vit_micro", ["a", "b"], size, "trainable", seed=2)
    report = load_foundation(tuned, tmp_path / "m.safetensors", minimum=1.0)
    assert not report.unexpected
    block = "blocks.3.mlp.fc2.weight"
    assert torch.equal(tuned.backbone.state_dict()[block], network.backbone.state_dict()[block])
    assert tuned.backbone.tokens.pos_embed.requires_grad  # learned from here on
    assert tuned.backbone.tokens.pos_embed.shape == (1, 1 + (size // 8) ** 2, 96)
    if size == SIZE:
        images = torch.randn(2, 1, SIZE, SIZE)
        torch.testing.assert_close(tuned.dense_features(images), network.dense_features(images))


@pytest.mark.parametrize("backbone", ["resnet10", "resnet_micro", "alexnet"])
def test_a_backbone_without_patches_is_refused_with_those_that_have(backbone):
    with pytest.raises(ModelError, match=f"{backbone}.*vit_micro.*vit_large"):
        build_masked_autoencoder(backbone, 32, 1)


@pytest.mark.parametrize(("size", "words"), [(60, "use 64"), (8, "one patch .* use 16")])
def test_a_size_that_cannot_be_masked_is_refused_with_one_that_can(size, words):
    with pytest.raises(ModelError, match=words):
        model(size=size)


@pytest.mark.parametrize(
    "kept",
    [
        torch.zeros(2, 4),
        torch.zeros(3, 4).long(),
        torch.zeros(2, 0).long(),
        torch.zeros(2, 17).long(),
        torch.zeros(2).long(),
    ],
)
def test_kept_patches_that_do_not_fit_are_refused(kept):
    with pytest.raises(ModelError, match=r"kept patches of shape .* 2 images of 16 patches"):
        model()(torch.zeros(2, 1, SIZE, SIZE), kept)


PUBLISHED = {"vit_base": 111_907_840, "vit_large": 329_541_888}  # numbers of the paper's models


@pytest.mark.parametrize("backbone", PUBLISHED)
def test_the_sizes_are_the_papers_but_for_colors_and_kept_positions(backbone):
    with torch.device("meta"):
        network = build_masked_autoencoder(backbone, 224, 1)
    colors = 2 * 16**2 * network.backbone.feature_dim + 2 * 16**2 * (512 + 1)
    positions = (1 + 14**2) * 512  # the decoder's: a buffer here
    assert count(network) == PUBLISHED[backbone] - colors - positions


def test_every_vit_has_a_decoder():
    assert DECODER_SIZES.keys() == VIT_SIZES.keys()

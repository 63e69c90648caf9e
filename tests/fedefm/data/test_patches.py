"""Patches against loops, and against the order in which a ViT embeds them."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedefm.data.patches import cut, normalized, put_together
from fedefm.errors import DataError
from fedefm.model.vit import PatchEmbedding

SIZES = st.tuples(st.integers(0, 3), st.integers(1, 5), st.integers(1, 6))


def images_of(count: int, grid: int, patch: int) -> torch.Tensor:
    return torch.arange(count * (grid * patch) ** 2.0).view(count, 1, grid * patch, grid * patch)


@given(SIZES)
def test_cutting_is_undone_exactly(sizes):
    count, grid, patch = sizes
    images = images_of(*sizes)
    patches = cut(images, patch)
    assert patches.shape == (count, grid**2, patch**2)
    assert torch.equal(put_together(patches), images)


def test_patches_lie_row_by_row_and_so_do_their_pixels():
    images = images_of(2, 3, 4)
    patches = cut(images, 4)
    for b in range(2):
        for place in range(9):
            down, right = 4 * (place // 3), 4 * (place % 3)
            tile = images[b, 0, down : down + 4, right : right + 4]
            assert torch.equal(patches[b, place].view(4, 4), tile)


def test_patches_have_the_order_of_the_embedding():
    embedding, images = PatchEmbedding(4, 5), torch.rand(2, 1, 12, 12)
    weight = embedding.proj.weight.view(5, 16)
    expected = cut(images, 4) @ weight.T + embedding.proj.bias
    torch.testing.assert_close(embedding(images), expected)


def test_a_patch_that_does_not_divide_the_images_is_refused_with_a_size_that_does():
    with pytest.raises(DataError, match="60 pixels cannot be cut into patches of 8; use 64"):
        cut(torch.zeros(1, 1, 60, 60), 8)


@given(seed=st.integers(0, 2**20), spread=st.floats(0.01, 10), offset=st.floats(-5, 5))
def test_targets_have_no_mean_and_unit_variance_patch_by_patch(seed, spread, offset):
    rng = torch.Generator().manual_seed(seed)
    patches = offset + spread * torch.randn(3, 4, 64, generator=rng)
    targets = normalized(patches)
    assert float(targets.mean(2).abs().max()) < 1e-3
    assert float((targets.square().mean(2) - 1).abs().max()) < 2e-2  # 1e-6 beside 1e-4
    line = patches[0, 0]
    expected = (line - line.mean()) / (line.var(correction=0) + 1e-6).sqrt()
    torch.testing.assert_close(targets[0, 0], expected, rtol=1e-3, atol=1e-3)


@given(st.floats(0, 1))
def test_a_constant_patch_is_to_be_painted_gray(value):
    targets = normalized(torch.full((1, 2, 256), value))
    assert float(targets.abs().max()) < 1e-3

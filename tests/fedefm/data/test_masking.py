"""Which patches are kept: plain ones, drawn without replacement, by each image for itself."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from fedefm.data.masking import (
    at_places,
    hidden_patches,
    keep_any,
    keep_plain,
    kept_count,
    plainness,
    texture,
)

COUNTS = st.tuples(st.integers(0, 5), st.integers(2, 60), st.floats(0.01, 0.99))


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def half_textured(images: int = 2000, patches: int = 196) -> torch.Tensor:
    """Scores of images in which every second patch has high texture."""
    high = torch.arange(patches) % 2 == 0
    scores = 0.13 * torch.rand(images, patches, generator=rng(7))
    return torch.where(high, 1 - scores, scores)


def share_of_textured(kept: torch.Tensor) -> float:
    return float((kept % 2 == 0).float().mean())


@given(COUNTS, st.integers(0, 2**20), st.floats(0, 100))
def test_as_many_patches_are_kept_as_the_ratio_says_and_none_twice(counts, seed, spread):
    images, patches, ratio = counts
    scores = spread * torch.rand(images, patches, generator=rng(seed))
    for kept in (keep_plain(scores, ratio, rng(seed)), keep_any(images, patches, ratio, rng(seed))):
        assert kept.dtype == torch.int64
        assert kept.shape == (images, kept_count(patches, ratio))
        assert ((kept >= 0) & (kept < patches)).all()
        assert (kept.diff(dim=1) > 0).all()  # ascending, so none comes twice


@given(st.integers(2, 1000), st.floats(0.001, 0.999))
def test_something_is_seen_and_something_is_hidden(patches, ratio):
    assert 1 <= kept_count(patches, ratio) <= patches - 1
    assert abs(kept_count(patches, ratio) - patches * (1 - ratio)) < 1


def test_a_count_does_not_fall_by_one_through_rounding():
    assert kept_count(196, 0.75) == 49
    assert kept_count(100, 0.9) == 10  # 100 * (1 - 0.9) is a little less than 10


@given(COUNTS, st.integers(0, 2**20))
def test_hidden_and_kept_patches_are_all_there_are(counts, seed):
    images, patches, ratio = counts
    kept = keep_any(images, patches, ratio, rng(seed))
    hidden = hidden_patches(kept, patches)
    together = torch.cat([kept, hidden], dim=1).sort(dim=1).values
    assert torch.equal(together, torch.arange(patches).expand(images, -1))
    assert (hidden.diff(dim=1) > 0).all()
    turned = hidden_patches(kept.flip(1), patches)  # in whatever order the kept ones come
    assert torch.equal(hidden, turned)


@given(st.integers(0, 4), st.integers(1, 9), st.integers(0, 9), st.integers(0, 2**20))
def test_tokens_at_places_are_those_that_pytorch_takes_along_the_dimension(images, n, k, seed):
    tokens = torch.randn(images, n, 3, generator=rng(seed), requires_grad=True)
    places = torch.randint(n, (images, k), generator=rng(seed))
    ours, theirs = at_places(tokens, places), tokens.take_along_dim(places[..., None], dim=1)
    assert torch.equal(ours, theirs)
    upstream = torch.randn(ours.shape, generator=rng(seed + 1))
    one, other = (torch.autograd.grad(found, tokens, upstream)[0] for found in (ours, theirs))
    torch.testing.assert_close(one, other)


def test_kept_patches_are_plain():
    kept = keep_plain(half_textured(), 0.75, rng())
    assert share_of_textured(kept) == pytest.approx(0.08, abs=0.01)


def test_sorting_the_order_once_more_would_keep_any_patch():
    # the paper's own code: half of the patches are textured, and so are half of those it keeps
    weights = plainness(half_textured())
    order = torch.multinomial(weights, weights.shape[1], generator=rng())
    assert share_of_textured(order[:, :49]) == pytest.approx(0.08, abs=0.01)
    assert share_of_textured(order.argsort(dim=1)[:, :49]) == pytest.approx(0.5, abs=0.02)


def test_plain_patches_are_kept_as_often_as_by_torchs_own_draw():
    scores = torch.tensor([0.0, 0.2, 0.5, 1.0, 1.4, 2.0]).expand(40_000, -1)
    ours = keep_plain(scores, 0.5, rng(1))
    theirs = torch.multinomial(plainness(scores), 3, generator=rng(2))
    often = [torch.bincount(kept.flatten(), minlength=6) / 40_000 for kept in (ours, theirs)]
    torch.testing.assert_close(often[0], often[1], rtol=0, atol=0.015)  # 4 deviations: 0.014


def test_the_weights_are_the_papers():
    scores = torch.rand(20, 30, generator=rng(3))
    largest = scores.amax(1, keepdim=True)
    away = largest - scores
    paper = away + (largest - away.amax(1, keepdim=True)).abs()
    torch.testing.assert_close(plainness(scores), paper)


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_in_a_constant_image_every_patch_is_as_likely(value):
    kept = keep_plain(torch.full((20_000, 8), value), 0.5, rng())
    often = torch.bincount(kept.flatten(), minlength=8) / 20_000
    assert float((often - 0.5).abs().max()) < 0.02  # 5 deviations


def test_patches_without_weight_are_kept_where_there_are_too_few_others():
    scores = torch.tensor([[0.0, 5.0, 5.0, 5.0]]).expand(3000, -1)  # the weights 5, 0, 0, 0
    kept = keep_plain(scores, 0.5, rng())
    assert (kept[:, 0] == 0).all()
    often = torch.bincount(kept[:, 1], minlength=4) / 3000
    assert float((often[1:] - 1 / 3).abs().max()) < 0.05


def test_each_image_has_a_draw_of_its_own():
    same = half_textured(1).expand(20, -1)
    assert len(keep_plain(same, 0.75, rng()).unique(dim=0)) == 20
    assert len(keep_any(20, 196, 0.75, rng()).unique(dim=0)) == 20
    scores = half_textured(20)
    changed = scores.clone()
    changed[3] = changed[3].flip(0)
    before, after = keep_plain(scores, 0.75, rng()), keep_plain(changed, 0.75, rng())
    assert torch.equal(before[[0, 1, 2, 4, 19]], after[[0, 1, 2, 4, 19]])
    assert not torch.equal(before[3], after[3])


def test_the_generator_decides_and_nothing_else():
    scores = half_textured(4)
    torch.manual_seed(1)
    first = keep_plain(scores, 0.75, rng(5)), keep_any(4, 196, 0.75, rng(5))
    torch.manual_seed(2)
    second = keep_plain(scores, 0.75, rng(5)), keep_any(4, 196, 0.75, rng(5))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])


@given(st.integers(1, 4), st.integers(1, 8), st.integers(0, 2**20))
def test_texture_is_scipys_laplacian(grid, patch, seed):
    image = torch.rand(grid * patch, grid * patch, generator=rng(seed), dtype=torch.float64)
    edges = torch.from_numpy(ndimage.laplace(image.numpy(), mode="nearest")).abs()
    expected = torch.stack(
        [
            edges[i : i + patch, j : j + patch].mean()
            for i in range(0, grid * patch, patch)
            for j in range(0, grid * patch, patch)
        ]
    )
    torch.testing.assert_close(texture(image[None, None], patch)[0], expected)


def test_a_constant_image_has_no_texture():
    assert not texture(torch.full((2, 1, 16, 16), 0.25), 8).any()

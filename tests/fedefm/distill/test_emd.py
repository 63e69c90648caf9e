import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedefm.distill.emd import emd, pool_tokens, similarity, tokens
from fedefm.errors import ConfigError, ModelError


def pair(seed=0, batch=3, n=5, m=6, channels=7):
    rng = torch.Generator().manual_seed(seed)
    u = torch.randn(batch, n, channels, generator=rng, dtype=torch.float64) + 0.3
    v = torch.randn(batch, m, channels, generator=rng, dtype=torch.float64) + 0.3
    return u, v


seeds = st.integers(0, 2**31)
weightings = st.sampled_from(["cross", "uniform"])


@settings(max_examples=25, deadline=None)
@given(seed=seeds, n=st.integers(1, 9), m=st.integers(1, 9), weights=weightings)
def test_distance_lies_between_0_and_2_and_is_symmetric(seed, n, m, weights):
    u, v = pair(seed, n=n, m=m)
    there, back = emd(u, v, weights), emd(v, u, weights)
    assert ((there >= 0) & (there <= 2)).all()
    torch.testing.assert_close(there, back, rtol=0, atol=1e-10)
    torch.testing.assert_close(similarity(u, v, weights), 1 - there)


@settings(max_examples=25, deadline=None)
@given(seed=seeds, weights=weightings)
def test_the_order_of_nodes_does_not_matter_and_gradients_move_with_them(seed, weights):
    u, v = (part.requires_grad_() for part in pair(seed))
    rng = torch.Generator().manual_seed(seed)
    p, q = torch.randperm(5, generator=rng), torch.randperm(6, generator=rng)
    moved = [u.detach()[:, p].requires_grad_(), v.detach()[:, q].requires_grad_()]
    torch.testing.assert_close(emd(u, v, weights), emd(*moved, weights), rtol=0, atol=1e-10)
    if weights == "cross":  # otherwise several plans may be optimal
        plain = torch.autograd.grad(emd(u, v).sum(), (u, v))
        other = torch.autograd.grad(emd(*moved).sum(), moved)
        torch.testing.assert_close(plain[0][:, p], other[0], rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(plain[1][:, q], other[1], rtol=1e-6, atol=1e-9)


@settings(max_examples=15, deadline=None)
@given(seed=seeds, weights=weightings, spoiled=st.integers(0, 2))
def test_no_sample_of_a_batch_touches_another(seed, weights, spoiled):
    u, v = pair(seed)
    alone = torch.cat([emd(u[i : i + 1], v[i : i + 1], weights) for i in range(3)])
    torch.testing.assert_close(emd(u, v, weights), alone, rtol=0, atol=1e-12)
    v[spoiled] = -5 * v[spoiled]
    others = torch.arange(3) != spoiled
    torch.testing.assert_close(emd(u, v, weights)[others], alone[others], rtol=0, atol=1e-12)


def test_the_gradient_of_one_sample_does_not_reach_another():
    u, v = pair()
    u.requires_grad_()
    emd(u, v)[1].backward()
    assert u.grad[1].abs().max() > 0
    assert u.grad[[0, 2]].abs().max() == 0


@settings(max_examples=15, deadline=None)
@given(seed=seeds, scale=st.floats(0.01, 100))
def test_uniform_weights_see_directions_only(seed, scale):
    u, v = pair(seed)
    torch.testing.assert_close(emd(u * scale, v, "uniform"), emd(u, v, "uniform"))


def test_opposite_features_are_as_far_apart_as_possible():
    u = torch.ones(2, 4, 3)
    torch.testing.assert_close(emd(u, -u), torch.full((2,), 2.0))
    torch.testing.assert_close(similarity(u, -u), torch.full((2,), -1.0))


def test_cross_weights_ignore_a_patch_that_the_other_image_does_not_know():
    """Half of v is background that no u resembles: uniform mass must go there, cross mass not."""
    u = torch.tensor([[[1.0, 0.0], [1.0, 0.0]]])
    v = torch.tensor([[[1.0, 0.0], [-0.2, 1.0]]])
    assert emd(u, v, "cross") < 0.05
    assert emd(u, v, "uniform") > 0.5


def test_detach_gives_the_same_values_without_a_graph():
    u, v = pair()
    u.requires_grad_()
    detached = emd(u, v, gradient="detach")
    assert not detached.requires_grad
    assert not similarity(u, v, gradient="detach").requires_grad
    torch.testing.assert_close(detached, emd(u, v).detach())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_low_precision_features_are_compared_in_float32(dtype):
    u, v = (part.to(dtype).requires_grad_() for part in pair())
    value = emd(u, v)
    value.sum().backward()
    assert value.dtype == torch.float32
    assert u.grad.dtype == dtype
    torch.testing.assert_close(value, emd(u.float(), v.float()))


def test_autocast_does_not_lower_the_precision():
    u, v = (part.float() for part in pair())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = emd(u, v)
    torch.testing.assert_close(value, emd(u, v), rtol=0, atol=0)


def test_an_empty_batch_has_no_distances():
    u = torch.zeros(0, 4, 3, requires_grad=True)
    value = emd(u, torch.zeros(0, 5, 3))
    value.sum().backward()
    assert value.shape == (0,)
    assert u.grad.shape == (0, 4, 3)
    assert emd(u, torch.zeros(0, 4, 3), "uniform").shape == (0,)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf"), 3e38])
@pytest.mark.parametrize("weights", ["cross", "uniform"])
@pytest.mark.parametrize("name", ["u", "v"])
def test_features_that_are_not_finite_are_refused_by_name_and_number(bad, weights, name):
    u, v = (part.float() for part in pair(n=6))
    (u if name == "u" else v)[[0, 2], 1, 3] = bad
    with pytest.raises(ModelError, match=f"features {name} hold NaN, Inf .* in 2 of 3 samples"):
        emd(u, v, weights)


@pytest.mark.parametrize(
    ("u", "v"),
    [
        ((3, 4, 5), (2, 4, 5)),
        ((3, 4, 5), (3, 4, 6)),
        ((3, 20), (3, 20)),
        ((3, 2, 2, 5), (3, 2, 2, 5)),
    ],
)
def test_features_that_do_not_fit_are_refused(u, v):
    with pytest.raises(ModelError, match="both models must see the same images"):
        emd(torch.ones(u), torch.ones(v))


@pytest.mark.parametrize("shape", [(2, 0, 3), (2, 4, 0)])
def test_features_without_nodes_or_channels_are_refused(shape):
    with pytest.raises(ModelError, match="at least one node and one channel"):
        emd(torch.ones(shape), torch.ones(shape))


def test_unknown_options_are_refused():
    u, v = pair()
    with pytest.raises(ConfigError, match="'crossed' are unknown; use 'cross' or 'uniform'"):
        emd(u, v, "crossed")
    with pytest.raises(ConfigError, match="'stop' is unknown; use 'through' or 'detach'"):
        emd(u, v, gradient="stop")


def test_tokens_keep_every_feature_in_row_order():
    features = torch.arange(2 * 3 * 4 * 5.0).view(2, 3, 4, 5)
    assert torch.equal(tokens(features)[:, 7], features[:, 1, 3])
    assert tokens(features).shape == (2, 12, 5)


def test_pooling_averages_blocks_of_the_grid():
    features = torch.randn(2, 8, 8, 5, dtype=torch.float64)
    blocks = features.view(2, 4, 2, 4, 2, 5).mean((2, 4))
    torch.testing.assert_close(pool_tokens(features, 4), tokens(blocks))
    torch.testing.assert_close(pool_tokens(features, 8), tokens(features))
    torch.testing.assert_close(pool_tokens(features, 1)[:, 0], features.mean((1, 2)))
    assert pool_tokens(torch.randn(2, 7, 5, 3), 2).shape == (2, 4, 3)


@pytest.mark.parametrize("size", [0, 3, 4])
def test_a_grid_cannot_be_pooled_to_a_larger_one(size):
    with pytest.raises(ModelError, match=r"2 x 5 cannot be pooled .* at most 2"):
        pool_tokens(torch.ones(1, 2, 5, 3), size)

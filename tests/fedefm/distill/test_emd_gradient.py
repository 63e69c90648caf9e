"""The gradient against finite differences, autograd through POT, and what theory says."""

import ot
import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck

from fedefm.distill import emd_gradient
from fedefm.distill.emd import emd


def pair(seed=0, batch=2, n=5, m=6, channels=7, dtype=torch.float64):
    rng = torch.Generator().manual_seed(seed)
    mean = torch.randn(channels, generator=rng, dtype=dtype)
    u = torch.randn(batch, n, channels, generator=rng, dtype=dtype) + mean
    v = torch.randn(batch, m, channels, generator=rng, dtype=dtype) + mean
    return u.requires_grad_(), v.requires_grad_()


def through_pot(u, v, weights):
    """Plain autograd up to cost and weights, then POT's own differentiable value."""
    cost = 1 - F.normalize(u, dim=2) @ F.normalize(v, dim=2).transpose(1, 2)
    a = (u * v.mean(1, keepdim=True)).sum(2).relu() + 1e-3
    b = (v * u.mean(1, keepdim=True)).sum(2).relu() + 1e-3
    if weights == "uniform":
        a, b = torch.ones_like(a), torch.ones_like(b)
    a, b = a / a.sum(1, keepdim=True), b / b.sum(1, keepdim=True)
    return torch.stack([ot.emd2(a[i], b[i], cost[i]) for i in range(len(cost))])


@pytest.mark.parametrize("weights", ["cross", "uniform"])
@pytest.mark.parametrize("nodes", [(5, 6), (5, 5), (1, 4), (4, 1), (1, 1)])
def test_gradient_equals_finite_differences_through_weights_and_cost(weights, nodes):
    inputs = pair(n=nodes[0], m=nodes[1])
    assert gradcheck(lambda u, v: emd(u, v, weights), inputs, eps=1e-7, atol=1e-6)


def test_gradient_equals_finite_differences_where_some_weights_are_at_the_floor():
    u, v = pair(3, n=6, m=6)
    pull = (u * v.mean(1, keepdim=True)).sum(2)
    assert (pull < 0).any()
    assert (pull > 0).any()
    assert gradcheck(emd, (u, v), eps=1e-7, atol=1e-6)


@pytest.mark.parametrize("weights", ["cross", "uniform"])
@pytest.mark.parametrize(("n", "m"), [(16, 16), (49, 30)])
def test_value_and_gradient_equal_those_through_pot(weights, n, m):
    u, v = pair(1, 3, n, m, 24)
    value, expected = emd(u, v, weights), through_pot(u, v, weights)
    torch.testing.assert_close(value, expected, rtol=0, atol=1e-12)
    upstream = torch.tensor([0.5, -1.0, 2.0], dtype=torch.float64)
    ours = torch.autograd.grad(value, (u, v), upstream)
    theirs = torch.autograd.grad(expected, (u, v), upstream)
    if weights == "uniform" and n == m:
        return  # degenerate: several plans may be optimal; finite differences stand in above
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-7, atol=1e-10)


def test_large_problems_have_the_gradient_of_pot_too():
    u, v = pair(2, 2, 196, 196, 32)
    ours = torch.autograd.grad(emd(u, v).sum(), (u, v))
    theirs = torch.autograd.grad(through_pot(u, v, "cross").sum(), (u, v))
    for mine, other in zip(ours, theirs, strict=True):
        assert F.cosine_similarity(mine.flatten(), other.flatten(), dim=0) > 0.99999


def test_float32_is_precise_enough():
    u, v = pair(4, 4, 49, 49, 64)
    single = [part.detach().float().requires_grad_() for part in (u, v)]
    value = emd(*single)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value.double(), emd(u, v), rtol=0, atol=1e-6)
    ours = torch.autograd.grad(value.sum(), single[0])[0].double()
    exact = torch.autograd.grad(emd(u, v).sum(), u)[0]
    assert F.cosine_similarity(ours.flatten(), exact.flatten(), dim=0) > 0.9999


def test_only_inputs_that_ask_get_a_gradient():
    u, v = pair()
    both = torch.autograd.grad(emd(u, v).sum(), (u, v))
    emd(u, v.detach()).sum().backward()
    assert v.grad is None
    torch.testing.assert_close(u.grad, both[0])
    u.grad = None
    emd(u.detach(), v).sum().backward()
    assert u.grad is None
    torch.testing.assert_close(v.grad, both[1])


def test_nothing_is_kept_for_a_backward_pass_that_cannot_come(monkeypatch):
    monkeypatch.setattr(emd_gradient, "_slopes", lambda *_: pytest.fail("not needed"))
    u, v = pair()
    emd(u.detach(), v.detach())
    emd(u, v, gradient="detach")
    with torch.no_grad():
        emd(u, v)


def test_backward_may_run_twice():
    u, v = pair()
    value = emd(u, v).sum()
    first = torch.autograd.grad(value, u, retain_graph=True)[0]
    torch.testing.assert_close(torch.autograd.grad(value, u)[0], first)


def test_a_second_derivative_is_refused():
    u, v = pair()
    slope = torch.autograd.grad(emd(u, v).square().sum(), u, create_graph=True)[0]
    with pytest.raises(RuntimeError, match="once_differentiable"):
        slope.sum().backward()


def test_features_that_are_not_contiguous_are_welcome():
    u, v = pair()
    turned = u.detach().transpose(1, 2).contiguous().transpose(1, 2).requires_grad_()
    torch.testing.assert_close(
        torch.autograd.grad(emd(turned, v).sum(), turned)[0],
        torch.autograd.grad(emd(u, v).sum(), u)[0],
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("nodes", [1, 9, 170])
def test_equal_features_have_distance_and_gradient_zero(dtype, nodes):
    u = pair(5, 2, nodes, nodes, 16, dtype)[0]
    value = emd(u, u.detach().clone())
    value.sum().backward()
    assert value.abs().max() < 1e-6
    assert u.grad.abs().max() < 1e-6


def test_equal_features_in_another_order_have_distance_zero_too():
    u = pair(6, 2, 12, 12, 16, torch.float32)[0]
    value = emd(u, u.detach().flip(1))
    value.sum().backward()
    assert value.abs().max() < 1e-6
    assert u.grad.abs().max() < 1e-6


def test_zero_vectors_have_cosine_zero_and_no_gradient_through_the_cost():
    u, v = pair(7)
    with torch.no_grad():
        u[0, 0] = 0
    alone = torch.zeros(1, 1, 7, dtype=torch.float64, requires_grad=True)
    assert emd(alone, v[:1].detach()).item() == pytest.approx(1.0)
    value = emd(u, v)
    value.sum().backward()
    assert torch.isfinite(value).all()
    assert torch.isfinite(u.grad).all()
    assert torch.isfinite(v.grad).all()
    everything = torch.zeros(2, 4, 7, requires_grad=True)
    value = emd(everything, everything.detach())
    value.sum().backward()
    torch.testing.assert_close(value, torch.ones(2))
    assert everything.grad.abs().max() == 0


def test_features_of_any_usual_size_have_finite_gradients():
    for scale in (1e-30, 1e-13, 1e-6, 1e6, 1e15):
        u, v = (part.detach().float() * scale for part in pair(8))
        u.requires_grad_()
        value = emd(u, v)
        value.sum().backward()
        assert torch.isfinite(value).all()
        assert torch.isfinite(u.grad).all()


def test_weights_all_at_the_floor_are_uniform():
    u, v = pair(9, n=5, m=5)
    against = -v.detach().abs() - 0.1
    student = u.detach().abs().requires_grad_()
    torch.testing.assert_close(emd(student, against), emd(student, against, "uniform"))
    torch.testing.assert_close(
        torch.autograd.grad(emd(student, against).sum(), student)[0],
        torch.autograd.grad(emd(student, against, "uniform").sum(), student)[0],
    )


def test_the_weight_part_of_the_gradient_is_really_there():
    u, v = pair(10, 2, 16, 16, 12)
    ours = torch.autograd.grad(emd(u, v).sum(), u)[0]
    cost = 1 - F.normalize(u, dim=2) @ F.normalize(v, dim=2).transpose(1, 2)
    weights = [
        ((x * y.mean(1, keepdim=True)).sum(2).relu() + 1e-3).detach() for x, y in ((u, v), (v, u))
    ]
    a, b = (w / w.sum(1, keepdim=True) for w in weights)
    plan = torch.stack([ot.emd(a[i], b[i], cost[i].detach()) for i in range(2)])
    cost_part = torch.autograd.grad((plan * cost).sum(), u)[0]
    assert (ours - cost_part).norm() > 0.01 * ours.norm()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_the_numbers_are_those_of_the_cpu():
    u, v = pair(11, 3, 25, 36, 32)
    there = [part.detach().cuda().requires_grad_() for part in (u, v)]
    value = emd(*there)
    assert value.is_cuda
    torch.testing.assert_close(value.cpu(), emd(u, v), rtol=0, atol=1e-9)
    gpu = torch.autograd.grad(value.sum(), there)
    cpu = torch.autograd.grad(emd(u, v).sum(), (u, v))
    for mine, other in zip(gpu, cpu, strict=True):
        torch.testing.assert_close(mine.cpu(), other, rtol=1e-6, atol=1e-9)


def test_rounding_never_leaves_the_range_of_the_distance():
    u = pair(12, 200, 3, 3, 5, torch.float32)[0].detach()
    assert (emd(u, u) >= 0).all()
    opposite = emd(u[:, :1], -u[:, :1])
    assert (opposite <= 2).all()
    torch.testing.assert_close(opposite, torch.full((200,), 2.0))

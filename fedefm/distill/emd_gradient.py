"""The Earth Mover's Distance between two sets of features as one differentiable function.

One Gram product of the raw features gives everything: the cosine cost after division by the norms,
and the cross-reference node weights (as in DeepEMD) as its row and column means.

The value W(cost, a, b) of the linear program has an exact gradient without any linear solve:
dW/dcost is the optimal plan, dW/da and dW/db are the dual potentials. Potentials are defined up to
a constant, and through a = w / sum(w) that constant drops out: dW/dw_i = (p_i - <p, a>) / sum(w).
A plan has at most n + m - 1 nonzeros, so the backward pass gathers that many features and adds two
rank-1 terms for the weights; it needs no dense product.
"""

from typing import Any, Literal, NamedTuple, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from fedefm.distill.emd_solver import Transport, solve, solve_assignment
from fedefm.errors import ModelError

NodeWeights: TypeAlias = Literal["cross", "uniform"]

WEIGHT_FLOOR = 1e-3  # DeepEMD's, on raw dot products: no node ever leaves the problem
SMALLEST_NORM = 1e-12  # a shorter feature has no direction: its cosines and gradients are 0


class Side(NamedTuple):
    """What one feature set brings into the problem."""

    inverse_norm: Tensor  # (B, n)
    moves: Tensor  # (B, n) bool, the weight follows the features: not constant, not at its floor
    weight: Tensor  # (B, n) float64, sum 1
    total: Tensor  # (B, 1) float64, what the weights were divided by


class Flow(NamedTuple):
    """The nonzeros of a batch of plans from set x to set y, sorted by x."""

    x: Tensor  # node of x, counted over the batch
    y: Tensor  # node of y, counted over the batch
    mass: Tensor
    cosine: Tensor

    def reverse(self) -> "Flow":
        """The same flow from y to x."""
        order = self.y.argsort()
        return Flow(self.y[order], self.x[order], self.mass[order], self.cosine[order])


class Slope(NamedTuple):
    """dW/dx without the features: ``sum_j edge_ij y_j + own_i x_i + pull_i mean(y) + push @ y``."""

    y: Tensor  # node of y of each edge, sorted by x
    starts: Tensor  # (B * n,) where the edges of each x begin
    edge: Tensor
    own: Tensor  # (B, n)
    pull: Tensor  # (B, n)
    push: Tensor  # (B, m)


class ExactEmd(torch.autograd.Function):
    """(B, n, C), (B, m, C) -> (B,); ``fedefm.distill.emd.emd`` checks and explains."""

    @staticmethod
    def forward(
        ctx: Any, u: Tensor, v: Tensor, weights: NodeWeights, threads: int | None
    ) -> Tensor:
        gram = torch.bmm(u, v.transpose(1, 2))
        left = _side("u", u, gram.mean(2), weights)
        right = _side("v", v, gram.mean(1), weights)
        cosine = gram.mul_(left.inverse_norm[:, :, None]).mul_(right.inverse_norm[:, None, :])
        plan = _solve(cosine, left, right, weights, threads)
        if any(ctx.needs_input_grad):
            _save_slopes(ctx, u, v, cosine, left, right, plan)
        return torch.from_numpy(plan.value).to(u)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        u, v, *saved = ctx.saved_tensors
        size = len(Slope._fields)
        of_u, of_v = saved[:size], saved[-size:]
        gradient_u = _apply(Slope(*of_u), u, v, upstream) if ctx.needs_input_grad[0] else None
        gradient_v = _apply(Slope(*of_v), v, u, upstream) if ctx.needs_input_grad[1] else None
        return gradient_u, gradient_v, None, None


def _side(name: str, features: Tensor, pull: Tensor, weights: NodeWeights) -> Side:
    norm = torch.linalg.vector_norm(features, dim=2)
    bad = int((~norm.isfinite().all(1)).sum())
    if bad:
        raise ModelError(
            f"features {name} hold NaN, Inf or values too large for {features.dtype} in {bad} of "
            f"{len(features)} samples; the model that made them has diverged"
        )
    inverse = norm.reciprocal_()
    inverse.masked_fill_(inverse > 1.0 / SMALLEST_NORM, 0.0)
    if weights == "cross":
        raw, moves = pull.double().relu_() + WEIGHT_FLOOR, pull > 0
    else:
        raw, moves = torch.ones_like(pull).double(), torch.zeros_like(pull, dtype=torch.bool)
    total = raw.sum(1, keepdim=True)
    return Side(inverse, moves, raw / total, total)


def _solve(
    cosine: Tensor, left: Side, right: Side, weights: NodeWeights, threads: int | None
) -> Transport:
    cost = (1.0 - cosine.double()).clamp_(0.0, 2.0).cpu().numpy()
    if weights == "uniform" and cost.shape[1] == cost.shape[2]:
        return solve_assignment(cost, threads)
    return solve(cost, left.weight.cpu().numpy(), right.weight.cpu().numpy(), threads)


def _save_slopes(
    ctx: Any, u: Tensor, v: Tensor, cosine: Tensor, left: Side, right: Side, plan: Transport
) -> None:
    flow = _flow(cosine, plan)
    pull_u = _pull(left, plan.source_potentials, plan)
    pull_v = _pull(right, plan.target_potentials, plan)
    slopes: list[Tensor] = []
    if ctx.needs_input_grad[0]:
        slopes += _slope(flow, left, right, pull_u, pull_v)
    if ctx.needs_input_grad[1]:
        slopes += _slope(flow.reverse(), right, left, pull_v, pull_u)
    ctx.save_for_backward(u, v, *slopes)


def _flow(cosine: Tensor, plan: Transport) -> Flow:
    m = cosine.shape[2]
    x = torch.from_numpy(plan.sources).to(cosine.device)
    y = torch.from_numpy(plan.targets).to(cosine.device)
    return Flow(x, y, torch.from_numpy(plan.mass).to(cosine), cosine.view(-1)[x * m + y % m])


def _pull(side: Side, potentials: Any, plan: Transport) -> Tensor:
    """dW/d<x_i, mean(y)> through the node weights, whatever the gauge of the potentials."""
    if potentials is None:
        return torch.zeros_like(side.inverse_norm)
    dual = torch.from_numpy(potentials).to(side.weight.device)
    slope = (dual - (dual * side.weight).sum(1, keepdim=True)) / side.total
    # Equal feature sets: the solver's potentials are one of many; zeros are as optimal, and are the
    # only ones that do not push a student away from an expert with which it fully agrees.
    resolution = 8 * torch.finfo(side.inverse_norm.dtype).eps
    apart = torch.from_numpy(plan.value > resolution).to(slope.device)
    return (slope * apart[:, None] * side.moves).to(side.inverse_norm.dtype)


def _slope(flow: Flow, x: Side, y: Side, pull_x: Tensor, pull_y: Tensor) -> Slope:
    inverse_x, inverse_y = x.inverse_norm.flatten(), y.inverse_norm.flatten()
    edge = -flow.mass * inverse_x[flow.x] * inverse_y[flow.y]
    own = torch.zeros_like(inverse_x).index_add_(0, flow.x, flow.mass * flow.cosine)
    own *= inverse_x.square()
    starts = torch.searchsorted(flow.x, torch.arange(len(inverse_x), device=flow.x.device))
    n = pull_x.shape[1]
    return Slope(flow.y, starts, edge, own.view_as(pull_x), pull_x, pull_y / n)


def _apply(slope: Slope, x: Tensor, y: Tensor, upstream: Tensor) -> Tensor:
    _, m, channels = y.shape
    gradient = F.embedding_bag(
        slope.y,
        y.reshape(-1, channels),
        slope.starts,
        mode="sum",
        per_sample_weights=slope.edge * upstream[slope.y // m],
    ).view_as(x)
    gradient.addcmul_((slope.own * upstream[:, None])[:, :, None], x)
    # Both rank-1 terms in one pass over y and one over the gradient.
    pair = torch.bmm(torch.stack([torch.full_like(slope.push, 1.0 / m), slope.push], 1), y)
    factors = torch.stack([slope.pull, torch.ones_like(slope.pull)], 2) * upstream[:, None, None]
    return gradient.baddbmm_(factors, pair)

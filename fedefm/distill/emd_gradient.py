"""The Earth Mover's Distance between two sets of features as one differentiable function.

One Gram product of the raw features gives everything: the cosine cost after division by the norms,
and the cross-reference node weights (as in DeepEMD) as its row and column means.

The value W(cost, a, b) of the linear program has an exact gradient without any linear solve:
dW/dcost is the optimal plan, dW/da and dW/db are the dual potentials. Potentials are defined up to
a constant, and through a = w / sum(w) that constant drops out: dW/dw_i = (p_i - <p, a>) / sum(w).
A plan has at most n + m - 1 nonzeros, so the backward pass gathers that many features and adds two
rank-1 terms for the weights; it needs no dense product.

Features stay where they are; the small arrays of the transport problem are NumPy on the CPU, where
the solver is, and where an operation on a few hundred numbers costs a fifth of one in torch.
"""

from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from fedefm.distill.emd_simplex import Floats, Indices
from fedefm.distill.emd_solver import Transport, solve, solve_assignment
from fedefm.errors import ModelError

NodeWeights: TypeAlias = Literal["cross", "uniform"]
Array: TypeAlias = npt.NDArray[Any]

WEIGHT_FLOOR = 1e-3  # DeepEMD's, on raw dot products: no node ever leaves the problem
SMALLEST_NORM = 1e-12  # a shorter feature has no direction: its cosines and gradients are 0
RESOLUTION = 8  # a distance below so many units of rounding is no distance


class Side(NamedTuple):
    """What one feature set brings into the problem."""

    inverse_norm: Array  # (B, n) in the features' precision
    weight: Floats  # (B, n), sum 1
    total: Floats  # (B, 1), what the weights were divided by
    moves: Array  # (B, n) bool, the weight follows the features: neither constant nor at its floor


class Flow(NamedTuple):
    """The nonzeros of a batch of plans from set x to set y, sorted by x."""

    x: Indices  # node of x, counted over the batch
    y: Indices  # node of y, counted over the batch
    mass: Floats
    cosine: Floats

    def reverse(self) -> "Flow":
        """The same flow from y to x."""
        order = np.argsort(self.y, kind="stable")
        return Flow(self.y[order], self.x[order], self.mass[order], self.cosine[order])


class Slope(NamedTuple):
    """dW/dx without the features: ``sum_j edge_ij y_j + own_i x_i + left_i @ (right @ y)``.

    The last term, of rank 2, is ``pull_i mean(y) + sum_j push_j y_j``: through x's own weights, and
    through y's, which depend on the mean of x.
    """

    y: Tensor  # node of y of each edge, sorted by x
    starts: Tensor  # (B * n,) where the edges of each x begin
    edge: Tensor
    own: Tensor  # (B, n)
    left: Tensor  # (B, n, 2)
    right: Tensor  # (B, 2, m)


class ExactEmd(torch.autograd.Function):
    """(B, n, C), (B, m, C) -> (B,); ``fedefm.distill.emd.emd`` checks and explains."""

    @staticmethod
    def forward(
        ctx: Any, u: Tensor, v: Tensor, weights: NodeWeights, threads: int | None
    ) -> Tensor:
        norm_u, norm_v = _norm("u", u), _norm("v", v)
        gram = torch.bmm(u, v.transpose(1, 2))
        of_u = _side(norm_u, gram.mean(2), weights)
        of_v = _side(norm_v, gram.mean(1), weights)
        cost = _cost(gram, of_u, of_v)
        if weights == "uniform" and u.shape[1] == v.shape[1]:
            plan = solve_assignment(cost, threads)
        else:
            plan = solve(cost, of_u.weight, of_v.weight, threads)
        if any(ctx.needs_input_grad):
            ctx.save_for_backward(u, v, *_slopes(u, cost, of_u, of_v, plan, ctx.needs_input_grad))
        return torch.from_numpy(plan.value.clip(0.0, 2.0)).to(u)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        u, v, *saved = ctx.saved_tensors
        size = len(Slope._fields)
        first, last = saved[:size], saved[-size:]
        gradient_u = _apply(Slope(*first), u, v, upstream) if ctx.needs_input_grad[0] else None
        gradient_v = _apply(Slope(*last), v, u, upstream) if ctx.needs_input_grad[1] else None
        return gradient_u, gradient_v, None, None


def _norm(name: str, features: Tensor) -> Array:
    norm: Array = torch.linalg.vector_norm(features, dim=2).cpu().numpy()
    finite = np.isfinite(norm)
    if not finite.all():
        bad = int((~finite.all(axis=1)).sum())
        raise ModelError(
            f"features {name} hold NaN, Inf or values too large for {norm.dtype} in {bad} of "
            f"{len(norm)} samples; the model that made them has diverged"
        )
    return norm


def _side(norm: Array, pull: Tensor, weights: NodeWeights) -> Side:
    short = norm < SMALLEST_NORM
    inverse_norm = np.where(short, 0.0, 1.0 / np.where(short, 1.0, norm)).astype(norm.dtype)
    pulls = pull.cpu().numpy()
    if weights == "cross":
        raw, moves = np.maximum(pulls, 0.0, dtype=np.float64) + WEIGHT_FLOOR, pulls > 0
    else:
        raw, moves = np.ones(pulls.shape), np.zeros(pulls.shape, dtype=bool)
    total = raw.sum(axis=1, keepdims=True)
    return Side(inverse_norm, raw / total, total, moves)


def _cost(gram: Tensor, of_u: Side, of_v: Side) -> Floats:
    """``1 - cosine`` on the CPU; overwrites ``gram``."""
    scale_u = torch.from_numpy(of_u.inverse_norm).to(gram.device)
    scale_v = torch.from_numpy(of_v.inverse_norm).to(gram.device)
    cosine = gram.mul_(scale_u[:, :, None]).mul_(scale_v[:, None, :])
    cost: Floats = np.subtract(1.0, cosine.cpu().numpy(), dtype=np.float64)
    return cost


def _slopes(
    u: Tensor, cost: Floats, of_u: Side, of_v: Side, plan: Transport, needed: tuple[bool, ...]
) -> list[Tensor]:
    flow = Flow(plan.sources, plan.targets, plan.mass, 1.0 - cost.ravel()[plan.entries])
    # Equal feature sets: the solver's potentials are one choice of many. Zeros are as optimal, and
    # do not push a student away from an expert with which it fully agrees.
    apart = plan.value > RESOLUTION * np.finfo(of_u.inverse_norm.dtype).eps
    pull_u = _pull(of_u, plan.source_potentials, apart)
    pull_v = _pull(of_v, plan.target_potentials, apart)
    slopes: list[Array] = []
    if needed[0]:
        slopes += _slope(flow, of_u, of_v, pull_u, pull_v)
    if needed[1]:
        slopes += _slope(flow.reverse(), of_v, of_u, pull_v, pull_u)
    dtypes = [torch.int64, torch.int64] + [u.dtype] * (len(Slope._fields) - 2)
    return [
        torch.from_numpy(part).to(u.device, dtypes[i % len(dtypes)])
        for i, part in enumerate(slopes)
    ]


def _pull(side: Side, potentials: Floats | None, apart: Array) -> Floats:
    """dW/d<x_i, mean(y)> through the node weights, whatever the gauge of the potentials."""
    if potentials is None:
        return np.zeros(side.weight.shape)
    level = (potentials * side.weight).sum(axis=1, keepdims=True)
    pull: Floats = (potentials - level) / side.total * (side.moves & apart[:, None])
    return pull


def _slope(flow: Flow, x: Side, y: Side, pull_x: Floats, pull_y: Floats) -> list[Array]:
    """The fields of a Slope."""
    nodes, (n, m) = pull_x.size, (pull_x.shape[1], pull_y.shape[1])
    inverse_x = x.inverse_norm.ravel().astype(np.float64)
    edge = -flow.mass * inverse_x[flow.x] * y.inverse_norm.ravel()[flow.y]
    own = np.bincount(flow.x, flow.mass * flow.cosine, nodes) * inverse_x**2
    counts = np.bincount(flow.x, minlength=nodes)
    left = np.stack([pull_x, np.ones_like(pull_x)], axis=2)
    right = np.stack([np.full_like(pull_y, 1.0 / m), pull_y / n], axis=1)
    return [flow.y, counts.cumsum() - counts, edge, own.reshape(-1, n), left, right]


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
    return gradient.baddbmm_(slope.left * upstream[:, None, None], torch.bmm(slope.right, y))

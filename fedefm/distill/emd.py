"""How far apart two models see the same images: the Earth Mover's Distance of dense features.

FedEFM (eq. 3) compares a student with an expert that was trained abroad, on the student's images.
Every image is a transport problem of its own: nodes are the local features of both models, the cost
is one minus their cosine, the mass is 1. Nothing couples two images of a batch, so a loss that is
weighted with these values keeps one gradient per image.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from fedefm.distill.emd_gradient import ExactEmd, NodeWeights
from fedefm.errors import ConfigError, ModelError

Gradient = Literal["through", "detach"]


def emd(
    u: Tensor,
    v: Tensor,
    weights: NodeWeights = "cross",
    gradient: Gradient = "through",
    threads: int | None = None,
) -> Tensor:
    """Exact Earth Mover's Distance with cosine cost and total mass 1, per sample.

    Args:
        u: ``(B, n, C)`` features, for example of the student; need not be normalized.
        v: ``(B, m, C)`` features of the other model on the same images; m may differ from n.
        weights: of the nodes. ``cross``: ``relu(<u_i, mean(v)>) + 1e-3``, normalized, and likewise
            for v (a patch counts as much as the other image as a whole agrees with it).
            ``uniform``: all equal.
        gradient: ``through``: exact gradient to each input that requires one, through cost and
            weights; ``detach``: the values only.
        threads: for the solver; default ``torch.get_num_threads()``.
    Returns:
        ``(B,)`` in [0, 2], float64 for float64 inputs, else float32. 0 for equal feature sets. A
        zero vector has cosine 0 to everything and no gradient.
    Raises:
        ModelError: shapes that do not fit, or NaN or Inf in the features.
        ConfigError: an unknown option.
    """
    _check(u, v, weights, gradient)
    if gradient == "detach" or not torch.is_grad_enabled():
        u, v = u.detach(), v.detach()
    precision = torch.promote_types(torch.promote_types(u.dtype, v.dtype), torch.float32)
    with torch.autocast(u.device.type, enabled=False):
        value: Tensor = ExactEmd.apply(u.to(precision), v.to(precision), weights, threads)  # type: ignore[no-untyped-call]
    return value


def similarity(
    u: Tensor,
    v: Tensor,
    weights: NodeWeights = "cross",
    gradient: Gradient = "through",
    threads: int | None = None,
) -> Tensor:
    """``1 - emd(...)``, ``(B,)`` in [-1, 1]: the paper's score at total mass 1 (eq. 3)."""
    return 1.0 - emd(u, v, weights, gradient, threads)


def tokens(features: Tensor) -> Tensor:
    """``(B, h, w, C)`` dense features as ``(B, h * w, C)`` nodes."""
    return features.flatten(1, 2)


def pool_tokens(features: Tensor, size: int) -> Tensor:
    """``(B, h, w, C)`` dense features averaged to ``(B, size * size, C)`` nodes.

    Fewer nodes are cheaper, but averaging removes detail in which the models differ: the distance
    of pooled features is another number, not an approximation of the full one.

    Raises:
        ModelError: a grid smaller than ``size``.
    """
    height, width = features.shape[1:3]
    if not 1 <= size <= min(height, width):
        raise ModelError(
            f"a token grid of {height} x {width} cannot be pooled to {size} x {size}; "
            f"set distill.pool to at most {min(height, width)}, or to null for all tokens"
        )
    if height == width == size:
        return tokens(features)
    return tokens(F.adaptive_avg_pool2d(features.permute(0, 3, 1, 2), size).permute(0, 2, 3, 1))


def _check(u: Tensor, v: Tensor, weights: str, gradient: str) -> None:
    if weights not in ("cross", "uniform"):
        raise ConfigError(f"EMD node weights {weights!r} are unknown; use 'cross' or 'uniform'")
    if gradient not in ("through", "detach"):
        raise ConfigError(f"EMD gradient {gradient!r} is unknown; use 'through' or 'detach'")
    if u.dim() != 3 or v.dim() != 3 or u.shape[0] != v.shape[0] or u.shape[2] != v.shape[2]:
        raise ModelError(
            f"EMD needs features (B, n, C) and (B, m, C), got {tuple(u.shape)} and "
            f"{tuple(v.shape)}; both models must see the same images with the same feature size"
        )
    if 0 in u.shape[1:] or 0 in v.shape[1:]:
        raise ModelError(
            f"EMD needs at least one node and one channel, got {tuple(u.shape)} and "
            f"{tuple(v.shape)}"
        )

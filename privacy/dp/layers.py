"""Gradients by unit of the layers that our models are made of, from what a layer saw and got.

A rule takes a layer's inputs and the gradient of its output, both ``(B, ...)`` over the frames, and
gives a ``Part`` for each trainable parameter. Of a matrix product with inputs ``a`` (T, p) and
output gradients ``g`` (T, d), the T positions of a unit's frames taken together, the gradient is
``g' a`` with squared norm ``<a a', g g'>``. This "ghost norm" (Li et al., arXiv 2110.05679) needs
no (d, p) matrix; the sum then comes from one product over all units, as in ordinary training.
Where T is large, keeping the matrices is cheaper.
"""

from collections.abc import Callable
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from privacy.dp.gradients import UnitBatch
from privacy.dp.parts import Deferred, Kept, Part
from privacy.dp.watch import Call

Parts = dict[str, Part]  # by the parameter's name in its layer
Convolution = nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d
Pair = tuple[int, int]

# Of T (p + d) / (p d). On one CPU core both ways took the same time between 0.6 and 0.8 for layers
# of a ViT, and sooner for small ones, where it does not matter.
GHOST_BELOW = 0.6
# A ghost norm sums products that may cancel. Its error in float32 was measured to stay below 3e-7
# of the sum without cancellation, so above this share of it the norm is exact to 1e-4, within the
# clipping margin; below, the matrices are built.
TRUSTED = 2e-3


def linear(call: Call, grads: Tensor, step: UnitBatch) -> Parts:
    """``nn.Linear`` on ``(B, ..., p)``."""
    layer, inputs = cast(nn.Linear, call.layer), call.args[0]
    a = inputs.reshape(len(inputs), -1, layer.in_features)
    g = grads.reshape(len(grads), -1, layer.out_features)
    parts: Parts = {}
    if _trains(layer, "bias"):
        parts["bias"] = Kept(step.per_unit(g.sum(dim=1)))
    if _trains(layer, "weight"):
        squares = _ghost_squares(a, g, step)
        if squares is None:
            parts["weight"] = Kept(_matrices(g, a, step))
        else:
            parts["weight"] = Deferred(
                squares, lambda f: _scaled(g, f, step).flatten(0, 1).T @ a.flatten(0, 1)
            )
    return parts


def convolution(call: Call, grads: Tensor, step: UnitBatch) -> Parts:
    """Any convolution with zero padding: the ordinary gradient, of each unit's frames by itself.

    Convolutions keep their speed down to batches of one. Only where a map is small and a kernel
    large (the last stages of a ResNet) a ghost norm over unfolded inputs costs less.
    """
    layer, inputs = cast(Convolution, call.layer), call.args[0]
    parts: Parts = {}
    if _trains(layer, "bias"):
        parts["bias"] = Kept(step.per_unit(grads.flatten(2).sum(dim=2)))
    if _trains(layer, "weight"):
        squares = _unfolded_squares(layer, inputs, grads, step)
        if squares is None:
            each = [_kernel_gradient(layer, inputs[r], grads[r]) for r in step.rows]
            parts["weight"] = Kept(torch.stack(each))
        else:
            parts["weight"] = Deferred(
                squares, lambda f: _kernel_gradient(layer, inputs, _scaled(grads, f, step))
            )
    return parts


def layer_norm(call: Call, grads: Tensor, step: UnitBatch) -> Parts:
    """``nn.LayerNorm`` over the last dimensions."""
    layer, inputs = cast(nn.LayerNorm, call.layer), call.args[0]
    shape = layer.normalized_shape
    places = tuple(range(1, inputs.dim() - len(shape)))
    parts: Parts = {}
    if _trains(layer, "weight"):
        moved = grads * F.layer_norm(inputs, shape, eps=layer.eps)
        parts["weight"] = Kept(step.per_unit(moved.sum(dim=places) if places else moved))
    if _trains(layer, "bias"):
        parts["bias"] = Kept(step.per_unit(grads.sum(dim=places) if places else grads))
    return parts


def group_norm(call: Call, grads: Tensor, step: UnitBatch) -> Parts:
    """``nn.GroupNorm`` on ``(B, C, ...)``."""
    layer, inputs = cast(nn.GroupNorm, call.layer), call.args[0]
    parts: Parts = {}
    if _trains(layer, "weight"):
        moved = grads * F.group_norm(inputs, layer.num_groups, eps=layer.eps)
        parts["weight"] = Kept(step.per_unit(moved.flatten(2).sum(dim=2)))
    if _trains(layer, "bias"):
        parts["bias"] = Kept(step.per_unit(grads.flatten(2).sum(dim=2)))
    return parts


Rule = Callable[[Call, Tensor, UnitBatch], Parts]
RULES: dict[type[nn.Module], Rule] = {
    nn.Linear: linear,
    nn.Conv1d: convolution,
    nn.Conv2d: convolution,
    nn.Conv3d: convolution,
    nn.ConvTranspose2d: convolution,
    nn.LayerNorm: layer_norm,
    nn.GroupNorm: group_norm,
}


def _trains(layer: nn.Module, name: str) -> bool:
    parameter = getattr(layer, name)
    return parameter is not None and parameter.requires_grad


def _ghost_squares(a: Tensor, g: Tensor, step: UnitBatch) -> Tensor | None:
    """``(U,)`` squared norms of ``g' a``, None where the matrices are cheaper or more exact."""
    if not _ghost_is_cheaper(max(step.frames) * a.shape[1], a.shape[2], g.shape[2]):
        return None
    squares = []
    for inputs, grads in zip(_joined(a, step), _joined(g, step), strict=True):
        grams = torch.bmm(inputs, inputs.mT).mul_(torch.bmm(grads, grads.mT))
        square = grams.sum(dim=(1, 2), dtype=torch.float64)
        trace = grams.diagonal(dim1=1, dim2=2).sum(dim=1)
        if bool((square < TRUSTED * trace).any()):
            return None
        squares.append(square)
    return torch.cat(squares)


def _ghost_is_cheaper(positions: int, p: int, d: int) -> bool:
    return positions * (p + d) < GHOST_BELOW * p * d


def _joined(x: Tensor, step: UnitBatch) -> list[Tensor]:
    """``(B, T, p)`` by unit: ``(U, frames * T, p)`` in one piece, or a piece for each unit."""
    if len(set(step.frames)) == 1:
        return [x.reshape(step.count, -1, x.shape[2])]
    return [x[rows].reshape(1, -1, x.shape[2]) for rows in step.rows]


def _matrices(g: Tensor, a: Tensor, step: UnitBatch) -> Tensor:
    """``g' a`` of each unit, ``(U, d, p)``."""
    pairs = zip(_joined(g, step), _joined(a, step), strict=True)
    return torch.cat([torch.bmm(grads.mT, inputs) for grads, inputs in pairs])


def _scaled(grads: Tensor, factors: Tensor, step: UnitBatch) -> Tensor:
    """Frames' gradients times the factor of their unit; never in place, as layers may share one."""
    return grads * factors.to(grads)[step.units].view(-1, *[1] * (grads.dim() - 1))


def _unfolded_squares(
    layer: nn.Module, inputs: Tensor, grads: Tensor, step: UnitBatch
) -> Tensor | None:
    if type(layer) is not nn.Conv2d or layer.groups > 1:
        return None
    weight = layer.weight
    if not _ghost_is_cheaper(
        max(step.frames) * grads[0, 0].numel(), weight[0].numel(), len(weight)
    ):
        return None
    patches = F.unfold(
        inputs, layer.kernel_size, layer.dilation, cast(Pair, layer.padding), layer.stride
    )
    return _ghost_squares(patches.mT, grads.flatten(2).mT, step)


def _kernel_gradient(layer: Convolution, inputs: Tensor, grads: Tensor) -> Tensor:
    gradient: Tensor = torch.ops.aten.convolution_backward(
        grads,
        inputs,
        layer.weight,
        None,
        layer.stride,
        layer.padding,
        layer.dilation,
        layer.transposed,
        layer.output_padding,
        layer.groups,
        [False, True, False],
    )[1]
    return gradient

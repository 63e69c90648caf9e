"""Trial passes through a model that leave no trace in it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from fedefm.train.objective import Batch, Objective
from privacy.dp.gradients import trainable
from privacy.dp.row_draws import RowDraws

SHAKE = 0.02  # added to every weight: initial zeros and ones would hide what a module does


@dataclass(frozen=True)
class Observed:
    """One pass over a batch of B samples.

    ``losses`` is whatever the objective returned. ``outputs``: tensors that the model's own forward
    returned. ``images``: gradient of the summed losses to the images; ``weights``: to all trained
    parameters, as one vector. ``state``: buffers and changed weights after the pass, by name.
    """

    losses: Tensor
    outputs: tuple[Tensor, ...]
    images: Tensor | None
    weights: Tensor | None
    state: dict[str, Tensor]


@contextmanager
def in_rehearsal(model: nn.Module) -> Iterator[None]:
    """``model`` in training mode with slightly changed weights; afterwards exactly as before.

    Weights, buffers and gradients are put aside and put back, never overwritten.
    """
    modes = [(module, module.training) for module in model.modules()]
    buffers = [(module, dict(module._buffers)) for module in model.modules()]
    weights = [(p, p.data, p.grad) for p in model.parameters()]
    shaking = torch.Generator().manual_seed(0)
    try:
        for parameter, values, _ in weights:
            parameter.grad = None
            if values.is_floating_point():
                noise = torch.randn(values.shape, generator=shaking).to(values)
                parameter.data = values + SHAKE * noise
        model.train()
        yield
    finally:
        for parameter, values, gradient in weights:
            parameter.data, parameter.grad = values, gradient
        _put_back_buffers(buffers)
        for module, training in modes:
            module.training = training


def observe(model: nn.Module, objective: Objective, batch: Batch, backward: bool) -> Observed:
    """One pass from the same buffers and the same draws each time, whatever ran before."""
    images = batch.images.detach().clone().requires_grad_(backward)
    outputs: list[Tensor] = []

    def note(module: nn.Module, args: Any, output: Any) -> None:
        outputs.extend(tensors_in(output))

    # a copy, since an in-place operation on a leaf of the graph is an error
    fed = replace(batch.each(Tensor.clone), images=images.clone())
    hook = model.register_forward_hook(note)
    try:
        with fresh_state(model) as state, same_draws(len(images), images.device):
            with torch.set_grad_enabled(backward):
                losses = objective(model, fed)
            gradients = _gradients(losses, images, model) if backward else (None, None)
            return Observed(losses.detach(), tuple(outputs), *gradients, state())
    finally:
        hook.remove()


@contextmanager
def fresh_state(model: nn.Module) -> Iterator[Callable[[], dict[str, Tensor]]]:
    """Copies of buffers and weights to be written on; yields how to read what became of them."""
    buffers = [(module, dict(module._buffers)) for module in model.modules()]
    weights = [(name, p, p.data) for name, p in model.named_parameters()]

    def state() -> dict[str, Tensor]:
        found = {name: buffer.detach() for name, buffer in model.named_buffers()}
        changed = {name: p.data for name, p, before in weights if not torch.equal(p.data, before)}
        return found | changed

    for module, named in buffers:
        for name, buffer in named.items():
            module._buffers[name] = None if buffer is None else buffer.clone()
    for _, parameter, values in weights:
        parameter.data = values.clone()
    try:
        yield state
    finally:
        _put_back_buffers(buffers)
        for _, parameter, values in weights:
            parameter.data = values


@contextmanager
def same_draws(samples: int, device: torch.device) -> Iterator[None]:
    """The same random numbers for a sample in each pass; the global generator goes on untouched."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(0)
        with RowDraws(samples):
            yield


def _put_back_buffers(buffers: list[tuple[nn.Module, dict[str, Tensor | None]]]) -> None:
    for module, named in buffers:
        module._buffers.clear()
        module._buffers.update(named)


def _gradients(
    losses: Tensor, images: Tensor, model: nn.Module
) -> tuple[Tensor | None, Tensor | None]:
    if not losses.requires_grad:
        return None, None
    weights = list(trainable(model).values())
    of_images, *of_weights = torch.autograd.grad(
        losses.sum(), [images, *weights], allow_unused=True
    )
    flat = [
        (torch.zeros_like(weight) if gradient is None else gradient).flatten()
        for weight, gradient in zip(weights, of_weights, strict=True)
    ]
    return of_images, torch.cat(flat) if flat else None


def tensors_in(value: Any) -> list[Tensor]:
    """All tensors of nested tuples, lists and mappings, outside the graph."""
    return [leaf.detach() for leaf in tree_leaves(value) if isinstance(leaf, Tensor)]

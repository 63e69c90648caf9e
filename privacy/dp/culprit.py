"""Which module lets samples of a batch see each other, and what to put in its place."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from fedefm.train.objective import Batch, Objective
from privacy.dp.rehearsal import fresh_state, same_draws, tensors_in

OBJECTIVE = "the objective"
RELATIVE = 1e-4  # between batches of another size, float32 differs in the sixth digit


@dataclass(frozen=True)
class _Seen:
    """Tensors at one moment of a pass, and the module to blame if they moved first."""

    blamed: str
    tensors: list[Tensor]


def name_of(objective: Objective) -> str:
    """How a user knows the objective."""
    return getattr(objective, "__qualname__", type(objective).__qualname__)


def forward_culprit(
    model: nn.Module, objective: Objective, calm: Batch, other: Batch, watched: Tensor
) -> str:
    """Name of the first module whose rows ``watched`` differ between two batches.

    What moves between two modules is the fault of the one whose ``forward`` calls both, and of
    OBJECTIVE outside the model.
    """
    return _first_moved(model, objective, (calm, other), watched, _trace_forward)


def backward_culprit(
    model: nn.Module, objective: Objective, calm: Batch, other: Batch, watched: Tensor
) -> str | None:
    """The same of gradients on their way back; None where the model's hooks do not allow it."""
    try:
        return _first_moved(model, objective, (calm, other), watched, _trace_backward)
    except RuntimeError:  # torch forbids these hooks around in-place activations
        return None


def advice(model: nn.Module, place: str) -> str:
    """What to do about the module called ``place``."""
    if place == OBJECTIVE:
        return (
            "let it return one loss for each sample, made of that sample alone: no mean over the "
            "batch, no weights counted in it, no contrast with other samples"
        )
    module = model.get_submodule(place)
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        return (
            "replace it by GroupNorm, as fedefm.model.dp_safe.make_dp_safe does for BatchNorm2d; "
            "frozen weights or affine=False do not help, since it still computes over the batch"
        )
    if isinstance(module, nn.modules.instancenorm._InstanceNorm):
        return "build it with track_running_stats=False, or replace it by GroupNorm"
    return (
        "let its forward compute each sample from that sample alone, for instance by LayerNorm or "
        "GroupNorm in place of statistics over the batch"
    )


def described(model: nn.Module, place: str, objective: Objective) -> str:
    """``place`` with its type, as an error names it."""
    if place == OBJECTIVE:
        return f"the objective {name_of(objective)!r} (or a method of the model that it calls)"
    kind = type(model.get_submodule(place)).__name__
    return f"module {place!r} ({kind})" if place else f"the forward of the model ({kind})"


def moved(calm: Tensor, other: Tensor, watched: Tensor, sizes: tuple[int, int]) -> bool:
    """Whether samples ``watched`` differ; False where the tensors do not lie by samples."""
    first, second = (_by_sample(t, size) for t, size in zip((calm, other), sizes, strict=True))
    if first is None or second is None or first.shape[1:] != second.shape[1:]:
        return False
    return differ(first[watched], second[watched], RELATIVE)


def differ(first: Tensor, second: Tensor, relative: float) -> bool:
    """Whether the largest difference exceeds ``relative`` of the largest finite entry.

    NaN is only like NaN, and an infinity like itself.
    """
    if first.shape != second.shape:
        return True
    first, second = first.double(), second.double()
    same = (first == second) | (first.isnan() & second.isnan())
    gap = (first - second).abs().masked_fill(same, 0.0)
    bound = (
        relative * first.abs().masked_fill(~first.isfinite(), 0.0).amax() if gap.numel() else 0.0
    )
    return bool((~(gap <= bound)).any())


def _by_sample(tensor: Tensor, samples: int) -> Tensor | None:
    """``(B, ...)``, from wherever the samples lie; None where there are none."""
    if samples in tensor.shape:
        return tensor.movedim(list(tensor.shape).index(samples), 0)
    if tensor.dim() and tensor.shape[0] and tensor.shape[0] % samples == 0:
        return tensor.reshape(samples, -1)
    return None


_Trace = Callable[[nn.Module, Objective, Batch], list[_Seen]]


def _first_moved(
    model: nn.Module,
    objective: Objective,
    batches: tuple[Batch, Batch],
    watched: Tensor,
    trace: _Trace,
) -> str:
    calm, other = (trace(model, objective, batch) for batch in batches)
    sizes = (len(batches[0].images), len(batches[1].images))
    for before, after in zip(calm, other, strict=False):
        pairs = zip(before.tensors, after.tensors, strict=False)
        if before.blamed != after.blamed or any(moved(a, b, watched, sizes) for a, b in pairs):
            return before.blamed
    return OBJECTIVE


def _trace_forward(model: nn.Module, objective: Objective, batch: Batch) -> list[_Seen]:
    seen: list[_Seen] = []
    running: list[str] = []
    hooks = []

    def watch(name: str, module: nn.Module) -> None:
        def enter(module: nn.Module, args: Any, kwargs: Any) -> None:
            seen.append(_Seen(running[-1] if running else OBJECTIVE, tensors_in((args, kwargs))))
            running.append(name)

        def leave(module: nn.Module, args: Any, output: Any) -> None:
            running.pop()
            seen.append(_Seen(name, tensors_in(output)))

        hooks.append(module.register_forward_pre_hook(enter, with_kwargs=True))
        hooks.append(module.register_forward_hook(leave))

    for name, module in model.named_modules():
        watch(name, module)
    try:
        with fresh_state(model), same_draws(len(batch.images), batch.images.device):
            objective(model, batch.each(Tensor.clone))
    finally:
        for hook in hooks:
            hook.remove()
    return seen


def _trace_backward(model: nn.Module, objective: Objective, batch: Batch) -> list[_Seen]:
    seen: list[_Seen] = []
    hooks = []

    def watch(name: str, module: nn.Module) -> None:
        def enter(module: nn.Module, gradients: Any) -> None:
            seen.append(_Seen(_caller(model, name), tensors_in(gradients)))

        def leave(module: nn.Module, of_inputs: Any, of_outputs: Any) -> None:
            seen.append(_Seen(name, tensors_in(of_inputs)))

        hooks.append(module.register_full_backward_pre_hook(enter))
        hooks.append(module.register_full_backward_hook(leave))

    for name, module in model.named_modules():
        watch(name, module)
    copy = batch.each(Tensor.clone)
    try:
        with fresh_state(model), same_draws(len(batch.images), batch.images.device):
            losses = objective(model, replace(copy, images=copy.images.requires_grad_()))
            torch.autograd.grad(losses.sum(), copy.images, allow_unused=True)
    finally:
        for hook in hooks:
            hook.remove()
    return seen


def _caller(model: nn.Module, name: str) -> str:
    """The module in whose forward ``name`` runs: containers have none of their own."""
    if not name:
        return OBJECTIVE
    name = name.rpartition(".")[0]
    while name and isinstance(model.get_submodule(name), (nn.ModuleList, nn.ModuleDict)):
        name = name.rpartition(".")[0]
    return name

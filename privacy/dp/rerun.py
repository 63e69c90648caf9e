"""Gradients by unit of any other layer: run it again on each unit's frames and differentiate.

Right for every layer that gives the same output again, frame by frame. One that does not (dropout
inside, batch statistics) is found out by its output and refused.
"""

from typing import Any

import torch
from torch import Tensor

from fedefm.errors import PrivacyError
from privacy.dp.gradients import UnitBatch
from privacy.dp.layers import Parts
from privacy.dp.parts import Kept
from privacy.dp.watch import Call

SAME = 1e-4  # error, relative and absolute, up to which two outputs are the same


def rerun(call: Call, grads: Tensor, step: UnitBatch) -> Parts:
    """Parts of the layer's own parameters; ``call`` must hold its output.

    Raises:
        PrivacyError: the layer gives another output for a unit's frames by themselves.
    """
    own = {n: p for n, p in call.layer.named_parameters(recurse=False) if p.requires_grad}
    found: dict[str, list[Tensor]] = {name: [] for name in own}
    for rows in step.rows:
        again = _again(call, rows)
        gradients = torch.autograd.grad(again, list(own.values()), grads[rows], allow_unused=True)
        for (name, parameter), gradient in zip(own.items(), gradients, strict=True):
            found[name].append(torch.zeros_like(parameter) if gradient is None else gradient)
    return {name: Kept(torch.stack(each)) for name, each in found.items()}


def _again(call: Call, rows: slice) -> Tensor:
    args = [_at(value, rows) for value in call.args]
    keywords = {name: _at(value, rows) for name, value in call.keywords.items()}
    with torch.enable_grad():
        # forward itself, so that no hook takes this for another pass of the model
        again: Tensor = call.layer.forward(*args, **keywords)
    output = call.output
    if output is None or not torch.allclose(again, output[rows], SAME, SAME, equal_nan=True):
        raise PrivacyError(
            f"module {call.name} ({type(call.layer).__name__}) gives another output when the "
            "frames of one unit pass through it alone, so its gradients by unit are unknown; "
            "replace it by a layer without randomness and batch statistics"
        )
    return again


def _at(value: Any, rows: slice) -> Any:
    return value[rows].detach() if isinstance(value, Tensor) else value

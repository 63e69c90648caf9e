"""Clipped gradients by Opacus' ghost clipping: norms first, then a second, weighted backward pass.

Least memory, most time. Its norms are those of single frames, and its one factor per frame scales
the whole gradient: right where every unit has one frame and clipping is flat, refused elsewhere.
Unlike hooks, it writes out no gradient that could be checked afterwards; so one frame is sent ahead
to see whether every parameter stays within its layer.
"""

import warnings
from collections.abc import Callable, Mapping
from typing import cast

import torch
from torch import Tensor, nn

from fedefm.errors import PrivacyError
from fedefm.train.objective import Objective
from privacy.dp.finite import over_finite_units
from privacy.dp.gradients import Clip, ClippedSum, UnitBatch, frame_losses, trainable
from privacy.dp.layers import TRUSTED
from privacy.dp.opacus_modes import attached
from privacy.dp.watch import Watch


class GhostGradients:
    """Opacus' fast gradient clipping with ghost norms, on the layers of the model as it is."""

    name = "ghost"

    def clipped_sum(
        self, model: nn.Module, objective: Objective, step: UnitBatch, clip: Clip
    ) -> ClippedSum:
        """As in ``Gradients``.

        Raises:
            PrivacyError: units of several frames, clipping per layer, or a model that it might get
                wrong.
        """
        _check(step, clip)
        parameters = trainable(model)

        def attempt(step: UnitBatch) -> tuple[dict[str, Tensor], Tensor]:
            _send_one_ahead(model, objective, step)
            return _two_passes(model, objective, step, clip)

        return over_finite_units(step, parameters, attempt)


def _check(step: UnitBatch, clip: Clip) -> None:
    if max(step.frames, default=1) > 1:
        raise PrivacyError(
            f"back-end 'ghost' knows the norms of single frames only, and a unit here gives "
            f"{max(step.frames)}; use 'bookkeeping', 'hooks' or 'loop', or one frame per patient"
        )
    if clip.per_layer:
        raise PrivacyError(
            "back-end 'ghost' scales a whole gradient by one factor and cannot clip per layer; "
            "use 'bookkeeping', 'hooks' or 'loop', or flat clipping"
        )


def _send_one_ahead(model: nn.Module, objective: Objective, step: UnitBatch) -> None:
    first = step.batch.at(slice(0, 1))
    with Watch(model, 1, lambda call, gradient: None, lambda call: False) as watch:
        watch.check(frame_losses(model, objective, first).sum())


def _two_passes(
    model: nn.Module, objective: Objective, step: UnitBatch, clip: Clip
) -> tuple[dict[str, Tensor], Tensor]:
    from opacus.grad_sample import GradSampleHooksFastGradientClipping  # slow to import

    parameters = trainable(model)
    mode = attached(GradSampleHooksFastGradientClipping, model, GhostGradients.name)
    with mode as hooks, warnings.catch_warnings():
        hooks.NORM_SAMPLERS = _guarded(hooks.NORM_SAMPLERS)
        warnings.filterwarnings("ignore", "Full backward hook is firing")
        losses = frame_losses(model, objective, step.batch)
        if losses.requires_grad:
            losses.sum().backward(retain_graph=True)
        squares = torch.stack([_squares(n, p, step) for n, p in parameters.items()], dim=1)
        model.zero_grad(set_to_none=True)
        hooks.disable_hooks()
        if losses.requires_grad:
            (losses * clip.factors(squares)[:, 0]).sum().backward()
        sums = {
            name: torch.zeros_like(p) if p.grad is None else p.grad.clone()
            for name, p in parameters.items()
        }
    return sums, squares.sum(dim=1).sqrt() + 0 * losses.detach()


Sampler = Callable[[nn.Module, list[Tensor], Tensor], dict[nn.Parameter, Tensor]]


def _guarded(samplers: Mapping[type[nn.Module], Sampler]) -> dict[type[nn.Module], Sampler]:
    """Opacus' ghost norms of Linear, where no products cancel; other layers are written out."""
    ghost = samplers[nn.Linear]

    def norms(
        layer: nn.Module, activations: list[Tensor], backprops: Tensor
    ) -> dict[nn.Parameter, Tensor]:
        found = ghost(layer, activations, backprops)
        if backprops.dim() != 3:  # one position, nothing to cancel
            return found
        weight, bias = (cast(nn.Parameter, getattr(layer, name)) for name in ("weight", "bias"))
        if weight in found:
            each = activations[0].double().square().sum(-1) * backprops.double().square().sum(-1)
            if not bool((found[weight].double().square() >= TRUSTED * each.sum(1)).all()):
                raise PrivacyError(
                    "back-end 'ghost' lost a norm to rounding, as where positions of an image are "
                    "nearly equal, and would not clip; use 'bookkeeping', 'hooks' or 'loop'"
                )
        if bias in found:  # exact, and cheap
            found[bias] = torch.linalg.vector_norm(backprops.sum(dim=1), dim=1)
        return found

    return {nn.Linear: norms}


def _squares(name: str, parameter: nn.Parameter, step: UnitBatch) -> Tensor:
    norms = getattr(parameter, "_norm_sample", None)
    if norms is None and parameter.grad is None:
        return torch.zeros(step.count, dtype=torch.float64, device=parameter.device)
    if norms is None or norms.shape != (step.count,):
        raise PrivacyError(
            f"back-end 'ghost' finds no norms for parameter {name}: it is used in a way that "
            "Opacus does not know; use back-end 'loop'"
        )
    squares: Tensor = norms.detach().double().square()
    return squares

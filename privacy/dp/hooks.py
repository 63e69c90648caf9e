"""Clipped gradients by Opacus' hooks: the gradient of every frame is written out.

Needs memory for as many copies of the weights as there are frames. A patient's frames are added up
before the norm is taken. Opacus sees only what passes through the ``forward`` of a layer; what it
missed shows in a difference from the ordinary gradient, which the same backward pass gives.
"""

import warnings

import torch
from torch import Tensor, nn

from fedefm.errors import PrivacyError
from fedefm.train.objective import Objective
from privacy.dp.finite import over_finite_units
from privacy.dp.gradients import Clip, ClippedSum, UnitBatch, frame_losses, trainable
from privacy.dp.opacus_modes import attached
from privacy.dp.parts import Kept, Part, clipped

TOLERANCE = 1e-3  # of the sum of norms, between Opacus' gradients and the ordinary one


class HookGradients:
    """Opacus' ``GradSampleModule`` hooks, on the layers of the model as it is.

    Refuses a model in which they miss or spoil a gradient.
    """

    name = "hooks"

    def clipped_sum(
        self, model: nn.Module, objective: Objective, step: UnitBatch, clip: Clip
    ) -> ClippedSum:
        """As in ``Gradients``."""
        parameters = trainable(model)

        def attempt(step: UnitBatch) -> tuple[dict[str, Tensor], Tensor]:
            losses, parts = _parts(model, objective, step)
            return clipped(parts, parameters, losses, step, clip)

        return over_finite_units(step, parameters, attempt)


def _parts(
    model: nn.Module, objective: Objective, step: UnitBatch
) -> tuple[Tensor, dict[str, Part]]:
    from opacus.grad_sample import GradSampleHooks  # slow to import

    parts: dict[str, Part] = {}
    with attached(GradSampleHooks, model, HookGradients.name), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Full backward hook is firing")
        losses = frame_losses(model, objective, step.batch)
        loss = (losses * step.shares).sum()
        if loss.requires_grad:
            loss.backward()
        for name, parameter in trainable(model).items():
            part = _part(name, parameter, step)
            if part is not None:
                parts[name] = part
    return losses.detach(), parts


@torch.no_grad()
def _part(name: str, parameter: nn.Parameter, step: UnitBatch) -> Part | None:
    """The gradients by unit of one parameter, checked against its ordinary gradient."""
    samples, ordinary = getattr(parameter, "grad_sample", None), parameter.grad
    if samples is None and ordinary is None:
        return None
    if samples is None or ordinary is None or len(samples) != len(step.units):
        raise PrivacyError(_missed(name, "sees no gradient by frame"))
    part = Kept(step.per_unit(samples))
    total = part.weighted(torch.ones(step.count, device=ordinary.device))
    error, norms = (total - ordinary).norm(), part.squares.sqrt().sum()
    if error > TOLERANCE * norms:  # false for NaN: such a unit is left out later
        raise PrivacyError(_missed(name, "gets a wrong gradient by frame"))
    return part


def _missed(name: str, what: str) -> str:
    return (
        f"back-end 'hooks' {what} for parameter {name}: it is used outside of its module's "
        "forward, or in a way that Opacus does not know; use back-end 'loop'"
    )

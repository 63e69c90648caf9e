"""No patient can stop a fit, or be heard in how it fails.

A neighbor could send weights that make a computation fail for one patient's image alone. If the fit
failed with it, everybody would learn that this patient is there, without noise and in no account.
So a unit for which anything fails counts as zero, as one does whose loss is not finite.
"""

import logging
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from fedefm.errors import PrivacyError
from fedefm.train.objective import Objective
from privacy.dp.gradients import ROUNDING, Clip, ClippedSum, Gradients, UnitBatch, trainable
from privacy.dp.loop import LoopGradients

log = logging.getLogger(__name__)


def forgiving_sum(
    gradients: Gradients, model: nn.Module, objective: Objective, step: UnitBatch, clip: Clip
) -> ClippedSum:
    """The clipped sum of ``gradients``; where that fails, unit by unit without those that fail.

    Guarantee: each unit adds what it adds alone, clipped, or nothing. Raises nothing that depends
    on an image. What fails for every unit gives zeros: rehearse on random images first.
    """
    try:
        return checked_sum(gradients, model, objective, step, clip)
    except Exception as error:  # its words may tell of a patient
        log.warning("a private step failed as a whole (%s); goes on by unit", type(error).__name__)
    return _by_unit(model, objective, step, clip)


def checked_sum(
    gradients: Gradients, model: nn.Module, objective: Objective, step: UnitBatch, clip: Clip
) -> ClippedSum:
    """The clipped sum; raises where it is more than clipping can leave, or not finite."""
    found = gradients.clipped_sum(model, objective, step, clip)
    _check_clipped(found.gradients, clip.norm * step.count, gradients.name)
    return found


def _check_clipped(total: Mapping[str, Tensor], most: float, name: str) -> None:
    norm = torch.stack(
        [torch.linalg.vector_norm(value, dtype=torch.float64) for value in total.values()]
    ).norm()
    if not norm <= most * (1 + ROUNDING):
        raise PrivacyError(
            f"the gradients {name!r} gave a sum beyond what clipping allows; set another of "
            "privacy.dp.gradients"
        )


def _by_unit(model: nn.Module, objective: Objective, step: UnitBatch, clip: Clip) -> ClippedSum:
    sums = {name: torch.zeros_like(p) for name, p in trainable(model).items()}
    norms = step.shares.new_full((step.count,), torch.nan)
    for unit in range(step.count):
        alone = torch.arange(step.count, device=step.units.device) == unit
        try:
            found = checked_sum(LoopGradients(), model, objective, step.only(alone), clip)
        except Exception:  # as above
            continue
        if not found.ignored:
            norms[unit] = found.norms[0]
            for name, total in sums.items():
                total.add_(found.gradients[name])
    return ClippedSum(sums, norms, int(norms.isnan().sum()))

"""Leaves out the units that are not finite where a whole batch goes through the model at once.

Zero times NaN is NaN, so a factor of zero does not take a bad unit out of a sum. The step is
computed again without it: a rare price for a rule that holds in every back-end alike.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from privacy.dp.gradients import ClippedSum, UnitBatch, finite_images

Attempt = Callable[[UnitBatch], tuple[dict[str, Tensor], Tensor]]
"""A step to sums by parameter name and norms ``(count,)``, not finite where a unit is bad; the sums
are of no use then."""


def over_finite_units(
    step: UnitBatch, parameters: Mapping[str, Tensor], attempt: Attempt
) -> ClippedSum:
    """``attempt`` on the units of ``step`` whose frames, losses and gradients are finite."""
    kept = finite_images(step)
    norms = step.shares.new_full((step.count,), torch.nan)
    while bool(kept.any()):
        sums, found = attempt(step.only(kept))
        fine = found.isfinite()
        if bool(fine.all()):
            norms[kept] = found.to(norms)
            return ClippedSum(sums, norms, int((~kept).sum()))
        kept = kept.masked_scatter(kept, fine)
    zeros = {name: torch.zeros_like(p) for name, p in parameters.items()}
    return ClippedSum(zeros, norms, step.count)

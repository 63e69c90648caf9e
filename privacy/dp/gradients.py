"""The border between the private trainer and the ways to compute clipped gradients.

Every back-end gives the same sum: per unit (a patient, or an image) the mean gradient over its
frames, clipped once, added up over the units. They differ in time and memory only.
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from fedefm.train.objective import Batch, Objective


@dataclass(frozen=True)
class UnitBatch:
    """The frames of one step, unit after unit.

    ``units`` (B,) int64, ascending from 0 to ``count - 1``: whose frame a row is. ``shares`` (B,)
    float32: one over the frames of its unit, so that a unit's shares sum to 1.
    """

    batch: Batch
    units: Tensor
    shares: Tensor
    count: int


@dataclass(frozen=True)
class ClippedSum:
    """The sum over units of clipped gradients, by parameter name; names without gradient are zeros.

    ``norms`` (count,) before clipping and ``ignored``, the number of units that counted as zero
    because their loss or gradient was not finite, are private: they stay in this process.
    """

    gradients: dict[str, Tensor]
    norms: Tensor
    ignored: int


@dataclass(frozen=True)
class Clip:
    """Bounds what one unit adds to the sum, in L2: at most ``norm``.

    ``per_layer`` clips each of P parameter tensors to ``norm / sqrt(P)``, which bounds the whole by
    ``norm`` as well; flat clipping scales the gradient as one vector.
    """

    norm: float
    per_layer: bool = False

    def factors(self, squares: Tensor) -> Tensor:
        """``(U, P)`` squared norms per unit and parameter tensor to ``(U, P)`` factors.

        A unit with a NaN or infinite square gets zeros throughout.
        """
        finite = squares.isfinite().all(dim=1, keepdim=True)
        squares = torch.where(finite, squares, torch.zeros_like(squares)).double()
        if self.per_layer:
            bound = self.norm / squares.shape[1] ** 0.5
            norms = squares.sqrt()
        else:
            bound = self.norm
            norms = squares.sum(dim=1, keepdim=True).sqrt().expand_as(squares)
        # the margin keeps float32 rounding of norm and product from lifting a unit above the bound
        factors = (bound * (1 - ROUNDING) / norms.clamp_min(1e-30)).clamp_max(1.0)
        return torch.where(finite, factors, torch.zeros_like(factors)).float()


ROUNDING = 2.0**-12


class Gradients(Protocol):
    """A way to compute the clipped sum. Raises PrivacyError where it cannot do it rightly."""

    name: str

    def clipped_sum(
        self, model: nn.Module, objective: Objective, step: UnitBatch, clip: Clip
    ) -> ClippedSum:
        """The sum over units; leaves the model as it was, without gradients on its parameters."""
        ...


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that are trained, by name, in the model's order."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}

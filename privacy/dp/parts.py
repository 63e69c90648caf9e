"""What one layer has to say about one of its parameters, once a backward pass has gone by it.

Clipping needs two things of a parameter: the squared norm of each unit's gradient, and afterwards
the sum of the gradients, each times its unit's factor. Either the gradients of all units are kept,
or only their norms, and the sum is computed later from the layer's inputs and output gradients.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from privacy.dp.gradients import Clip, UnitBatch, squared_norms


class Part(Protocol):
    """The gradients of U units with respect to one parameter."""

    @property
    def squares(self) -> Tensor:
        """``(U,)`` float64 squared norms."""
        ...

    def weighted(self, factors: Tensor) -> Tensor:
        """The sum of the gradients, each times its entry of ``factors`` ``(U,)``."""
        ...


@dataclass(frozen=True)
class Kept:
    """The gradients themselves, ``(U, *parameter)``."""

    gradients: Tensor

    @property
    def squares(self) -> Tensor:
        """``(U,)``."""
        return squared_norms(self.gradients)

    def weighted(self, factors: Tensor) -> Tensor:
        """One matrix-vector product."""
        total: Tensor = factors.to(self.gradients) @ self.gradients.flatten(1)
        return total.view(self.gradients.shape[1:])


@dataclass(frozen=True)
class Deferred:
    """Squared norms, and the way to the weighted sum."""

    squares: Tensor
    weighted: Callable[[Tensor], Tensor]


@torch.no_grad()
def clipped(
    parts: dict[str, Part],
    parameters: Mapping[str, Tensor],
    losses: Tensor,
    step: UnitBatch,
    clip: Clip,
) -> tuple[dict[str, Tensor], Tensor]:
    """The clipped sum by parameter and the units' norms, NaN where a loss is not finite.

    Empties ``parts`` on the way, for memory; a parameter without a part has no gradient.
    """
    squares = torch.zeros(step.count, len(parameters), dtype=torch.float64, device=losses.device)
    for column, name in enumerate(parameters):
        if name in parts:
            squares[:, column] = parts[name].squares
    factors = clip.factors(squares).unbind(dim=1)
    sums = {
        name: parts.pop(name).weighted(factor) if name in parts else torch.zeros_like(parameter)
        for factor, (name, parameter) in zip(factors, parameters.items(), strict=True)
    }
    return sums, squares.sum(dim=1).sqrt() + 0 * step.per_unit(losses)

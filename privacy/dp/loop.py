"""Clipped gradients one unit at a time: the reference, and often the fastest on convolutions.

A unit's loss is the mean over its frames; its gradient is an ordinary one. So this is right for
every model and objective whose samples do not see each other, and needs memory for one unit only.
"""

import torch
from torch import Tensor, nn

from fedefm.train.objective import Objective
from privacy.dp.gradients import (
    Clip,
    ClippedSum,
    UnitBatch,
    finite_images,
    frame_losses,
    squared_norms,
    trainable,
)


class LoopGradients:
    """One forward and one backward pass per unit."""

    name = "loop"

    def clipped_sum(
        self, model: nn.Module, objective: Objective, step: UnitBatch, clip: Clip
    ) -> ClippedSum:
        """As in ``Gradients``; never refuses a model."""
        parameters = trainable(model)
        sums = {name: torch.zeros_like(p) for name, p in parameters.items()}
        norms = step.shares.new_full((step.count,), torch.nan)
        usable = finite_images(step).tolist()
        for unit, rows in enumerate(step.rows):
            if not usable[unit]:
                continue
            losses = frame_losses(model, objective, step.batch.at(rows))
            loss = (losses * step.shares[rows]).sum()
            gradients = _gradients(loss, list(parameters.values()))
            squares = _squares(gradients)
            if not (loss.isfinite() and squares.isfinite().all()):
                continue
            _add_clipped(list(sums.values()), gradients, clip.factors(squares[None])[0])
            norms[unit] = squares.sum().sqrt()
        return ClippedSum(sums, norms, int(norms.isnan().sum()))


def _gradients(loss: Tensor, parameters: list[nn.Parameter]) -> list[Tensor | None]:
    """By parameter, None where the loss does not depend on it."""
    if not loss.requires_grad:
        return [None] * len(parameters)
    return list(torch.autograd.grad(loss, parameters, allow_unused=True))


def _squares(gradients: list[Tensor | None]) -> Tensor:
    """``(P,)`` float64 squared norms."""
    return torch.tensor(
        [0.0 if g is None else float(squared_norms(g[None])) for g in gradients],
        dtype=torch.float64,
    )


def _add_clipped(sums: list[Tensor], gradients: list[Tensor | None], factors: Tensor) -> None:
    for total, gradient, factor in zip(sums, gradients, factors.tolist(), strict=True):
        if gradient is not None:
            total.add_(gradient, alpha=factor)

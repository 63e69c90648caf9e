"""The border between the private trainer and the ways to compute clipped gradients.

Every back-end gives the same sum: per unit (a patient, or an image) the mean gradient over its
frames, clipped once, added up over the units. They differ in time and memory only.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor, nn

from fedefm.errors import PrivacyError
from fedefm.train.objective import Batch, Objective

ROUNDING = 2.0**-12  # share of the clipping norm kept free for the rounding of float32
BLOCK = 1024  # numbers whose squares are added up in float32


@dataclass(frozen=True)
class UnitBatch:
    """The frames of one step, unit after unit.

    ``units`` (B,) int64, ascending from 0 to ``count - 1``: whose frame a row is. ``shares`` (B,)
    float32: one over the frames of its unit, so that a unit's shares sum to 1.

    Raises:
        PrivacyError: frames that are not in the order of their units, or a unit without frames.
    """

    batch: Batch
    units: Tensor
    shares: Tensor
    count: int

    def __post_init__(self) -> None:
        frames = len(self.batch.images)
        fits = self.units.shape == self.shares.shape == (frames,)
        if not fits or self.units.unique_consecutive().tolist() != list(range(self.count)):
            raise PrivacyError(
                f"{frames} frames with {len(self.units)} owners and {len(self.shares)} shares are "
                f"not those of {self.count} units, one after another, numbered from 0"
            )

    @cached_property
    def rows(self) -> list[slice]:
        """Where the frames of each unit lie in the batch."""
        ends = torch.bincount(self.units, minlength=self.count).cumsum(0).tolist()
        return [slice(start, end) for start, end in zip([0, *ends], ends, strict=False)]

    @cached_property
    def frames(self) -> list[int]:
        """How many frames each unit gives."""
        return [rows.stop - rows.start for rows in self.rows]

    def per_unit(self, values: Tensor) -> Tensor:
        """``(B, ...)`` values of frames added up by unit: ``(count, ...)``."""
        if self.count == len(self.units):
            return values
        sums = values.new_zeros(self.count, *values.shape[1:])
        return sums.index_add_(0, self.units, values)

    def only(self, kept: Tensor) -> "UnitBatch":
        """The step with the units of the mask ``kept`` ``(count,)`` alone, numbered anew."""
        if bool(kept.all()):
            return self
        rows = kept[self.units].nonzero().flatten()
        numbers = kept.cumsum(0) - 1
        units = numbers[self.units[rows]]
        return UnitBatch(self.batch.at(rows), units, self.shares[rows], int(kept.sum()))


@dataclass(frozen=True)
class ClippedSum:
    """The sum over units of clipped gradients, by parameter name; names without gradient are zeros.

    ``norms`` (count,) before clipping (NaN where a unit is ignored) and ``ignored``, the number of
    units that counted as zero because a frame, their loss or gradient was not finite, are private:
    they stay in this process.
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


class Gradients(Protocol):
    """A way to compute the clipped sum. Raises PrivacyError where it cannot do it rightly."""

    name: str

    def clipped_sum(
        self, model: nn.Module, objective: Objective, step: UnitBatch, clip: Clip
    ) -> ClippedSum:
        """The sum over units; leaves the model as it was, without gradients on its parameters."""
        ...


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that are trained, by name, in the model's order.

    Raises:
        PrivacyError: there is none.
    """
    found = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not found:
        raise PrivacyError("no parameter of the model is trainable; unfreeze some of its modules")
    return found


def frame_losses(model: nn.Module, objective: Objective, batch: Batch) -> Tensor:
    """``(B,)`` losses of ``batch``. Raises PrivacyError where the objective gives another shape."""
    losses = objective(model, batch)
    if losses.shape != batch.images.shape[:1]:
        raise PrivacyError(
            f"the objective gave losses of shape {tuple(losses.shape)} for {len(batch.images)} "
            "images; a private one gives one loss per image, never a mean over the batch"
        )
    return losses


def squared_norms(vectors: Tensor) -> Tensor:
    """``(U,)`` float64 squared norms of ``(U, ...)``.

    In blocks: torch's own norm adds up in float32, which was measured to lose 1e-4 of the norm of
    two million numbers, close to what ``ROUNDING`` keeps free.
    """
    flat = vectors.flatten(1)
    whole = flat.shape[1] // BLOCK * BLOCK
    total = flat[:, whole:].double().square().sum(dim=1)
    if whole:
        blocks = flat[:, :whole].unflatten(1, (-1, BLOCK))
        total += torch.linalg.vector_norm(blocks, dim=2).double().square().sum(dim=1)
    return total


def finite_images(step: UnitBatch) -> Tensor:
    """``(count,)`` bool: the units all of whose pixels are finite."""
    bad = ~step.batch.images.flatten(1).isfinite().all(dim=1)
    return step.per_unit(bad.float()) == 0

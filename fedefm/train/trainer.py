"""A trainer takes optimizer steps on one site's data.

It owns the sampling of that data and what continues from one call to the next (momentum, moments).
It is built once per job at a site; weights are swapped in and out of one resident model.
``PlainTrainer`` has no privacy; the private one wraps clipping, noise and the ledger around the
same protocol.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from fedefm.data.dataset import FrameDataset
from fedefm.data.transforms import Transform as Transform  # for those who wrap a trainer
from fedefm.errors import DataError, ModelError
from fedefm.train.objective import Objective
from fedefm.train.optimization import Optimization


@dataclass(frozen=True)
class FitStats:
    """What one call of ``fit`` did."""

    loss: float | None  # mean over the images seen; None where it may not be told
    steps: int
    images: int
    seconds: float


class Trainer(Protocol):
    """Takes ``steps`` optimizer steps on the site's own data."""

    def fit(
        self,
        model: nn.Module,
        objective: Objective,
        steps: int,
        learning_rate: float,
        rng: torch.Generator,
    ) -> FitStats:
        """Train ``model`` in place. ``rng`` draws the samples and their augmentation."""
        ...

    def state(self) -> dict[str, Tensor]:
        """A copy of what continues from one fit to the next, by parameter name."""
        ...

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from ``state``; an empty one starts afresh."""
        ...


class PlainTrainer:
    """Steps on batches of the site's images, by an optimization that stays here; no privacy.

    Raises:
        DataError: the dataset is empty.
        ModelError: the loss or its gradient is no longer finite.
    """

    def __init__(
        self,
        dataset: FrameDataset,
        batch_size: int,
        optimization: Optimization,
        clip_norm: float = 5.0,
        transform: Transform | None = None,
    ) -> None:
        if len(dataset) == 0:
            raise DataError("the site has no training images; check its manifest and split")
        self.dataset = dataset
        self.batch_size = batch_size
        self._optimization = optimization
        self._clip_norm = clip_norm
        self._transform = transform
        self._kept: dict[str, Tensor] = {}

    def fit(
        self,
        model: nn.Module,
        objective: Objective,
        steps: int,
        learning_rate: float,
        rng: torch.Generator,
    ) -> FitStats:
        """Take ``steps`` steps; samples are drawn without replacement until all were seen."""
        started = time.perf_counter()
        model.train()
        trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
        optimizer = self._optimization.optimizer(trained, learning_rate, self._kept)
        total, finite = torch.zeros(()), torch.tensor(True)
        for rows in sample_rows(len(self.dataset), steps, self.batch_size, rng):
            losses = objective(model, self.dataset.batch(rows, self._transform, rng))
            optimizer.zero_grad(set_to_none=True)
            losses.mean().backward()
            norm = nn.utils.clip_grad_norm_(model.parameters(), self._clip_norm)
            optimizer.step()
            total += losses.detach().mean().cpu()
            finite &= norm.isfinite().cpu()
        optimizer.zero_grad(set_to_none=True)  # as large as the model, for nothing
        self._kept |= self._optimization.kept(optimizer, trained)
        loss = float(total) / steps
        if not (torch.isfinite(total) and finite):
            raise ModelError(
                f"the training loss became {loss} or its gradient is not finite; "
                "lower training.learning_rate"
            )
        return FitStats(loss, steps, steps * self.batch_size, time.perf_counter() - started)

    def state(self) -> dict[str, Tensor]:
        """What the optimization keeps, by parameter name."""
        return {name: tensor.clone() for name, tensor in self._kept.items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on with what was kept."""
        self._kept = {name: tensor.clone() for name, tensor in state.items()}


def sample_rows(size: int, steps: int, batch_size: int, rng: torch.Generator) -> tuple[Tensor, ...]:
    """``steps`` tensors of ``batch_size`` row numbers; no row comes again before all came."""
    wanted = steps * batch_size
    passes = -(-wanted // size)
    order = torch.cat([torch.randperm(size, generator=rng) for _ in range(passes)])
    return tuple(torch.split(order[:wanted], batch_size))

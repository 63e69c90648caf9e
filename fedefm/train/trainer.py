"""A trainer takes optimizer steps on one site's data.

It owns the sampling of that data and what continues from one call to the next (momentum). It is
built once per job at a site; weights are swapped in and out of one resident model. ``SgdTrainer``
is the plain one; the private one wraps clipping, noise and the ledger around the same protocol.
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


class SgdTrainer:
    """SGD with momentum that stays at the site; no privacy.

    Raises:
        DataError: the dataset is empty.
        ModelError: the loss or its gradient is no longer finite.
    """

    def __init__(
        self,
        dataset: FrameDataset,
        batch_size: int,
        momentum: float = 0.9,
        clip_norm: float = 5.0,
        transform: Transform | None = None,
    ) -> None:
        if len(dataset) == 0:
            raise DataError("the site has no training images; check its manifest and split")
        self.dataset = dataset
        self.batch_size = batch_size
        self._momentum = momentum
        self._clip_norm = clip_norm
        self._transform = transform
        self._buffers: dict[str, Tensor] = {}

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
        optimizer = self._optimizer(model, learning_rate)
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
        self._remember(model, optimizer)
        loss = float(total) / steps
        if not (torch.isfinite(total) and finite):
            raise ModelError(
                f"the training loss became {loss} or its gradient is not finite; "
                "lower training.learning_rate"
            )
        return FitStats(loss, steps, steps * self.batch_size, time.perf_counter() - started)

    def state(self) -> dict[str, Tensor]:
        """The momentum buffers, by parameter name."""
        return {name: buffer.clone() for name, buffer in self._buffers.items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on with these momentum buffers."""
        self._buffers = {name: buffer.clone() for name, buffer in state.items()}

    def _optimizer(self, model: nn.Module, learning_rate: float) -> torch.optim.SGD:
        trainable = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
        optimizer = torch.optim.SGD(
            [p for _, p in trainable], lr=learning_rate, momentum=self._momentum
        )
        for name, parameter in trainable:
            if name in self._buffers:
                optimizer.state[parameter]["momentum_buffer"] = self._buffers[name]
        return optimizer

    def _remember(self, model: nn.Module, optimizer: torch.optim.SGD) -> None:
        for name, parameter in model.named_parameters():
            buffer = optimizer.state.get(parameter, {}).get("momentum_buffer")
            if buffer is not None:
                self._buffers[name] = buffer


def sample_rows(size: int, steps: int, batch_size: int, rng: torch.Generator) -> tuple[Tensor, ...]:
    """``steps`` tensors of ``batch_size`` row numbers; no row comes again before all came."""
    wanted = steps * batch_size
    passes = -(-wanted // size)
    order = torch.cat([torch.randperm(size, generator=rng) for _ in range(passes)])
    return tuple(torch.split(order[:wanted], batch_size))

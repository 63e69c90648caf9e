"""Who takes part in a step: truncated Poisson sampling of patients, then frames of each.

Epsilon is computed for exactly this way of drawing (arXiv 2508.15089). A shuffled loader, which
shows everybody equally often, has another and larger one, so there is none here.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fedefm.errors import DataError, PrivacyError
from fedefm.train.objective import Batch
from fedefm.train.trainer import Transform
from privacy.calibrate import Sampling
from privacy.dp.gradients import UnitBatch
from privacy.dp.randomness import SecretStream
from privacy.mechanism import Unit


class PatientFrames(Protocol):
    """A dataset that knows whose each frame is; ``FrameDataset`` is one.

    ``patients`` (N,) int64 is equal for frames of one patient. ``classes`` names the values that
    labels or masks can take.
    """

    patients: Tensor
    classes: tuple[str, ...]

    def __len__(self) -> int: ...

    def batch(
        self,
        rows: Tensor,
        transform: Transform | None = None,
        rng: torch.Generator | None = None,
    ) -> Batch:
        """The frames at ``rows`` (B,), transformed with draws from ``rng``; also for no rows."""
        ...

    def random_batch(self, samples: int, rng: torch.Generator) -> Batch:
        """Noise of the kind and in the shapes of ``batch``; reads no frame."""
        ...


class Sampler:
    """Draws the units of a step and the frames of each.

    Guarantee: each unit is drawn with probability ``sampling.rate``, apart from all others and anew
    in every step; where more than ``sampling.cap`` are drawn, as many stay, each set of them as
    likely as another. A cap of ``sampling.units`` leaves nobody out. Nobody can repeat the draws.

    A drawn patient gives ``frames_per_patient`` frames, none of them twice, or all it has. With
    unit ``image`` every frame is a unit of its own.

    Raises:
        DataError: there are no frames.
        PrivacyError: there are more units than ``sampling.units``, for which epsilon is computed.
    """

    def __init__(
        self,
        patients: Tensor,
        sampling: Sampling,
        frames_per_patient: int,
        unit: Unit,
        stream: SecretStream,
    ) -> None:
        if len(patients) == 0:
            raise DataError("the site has no training images; check its manifest and split")
        owners = patients.numpy() if unit == "patient" else np.arange(len(patients))
        self._rows = _rows_by_owner(owners)
        if len(self._rows) > sampling.units:
            raise PrivacyError(
                f"the site trains on more {unit}s than the {sampling.units} that its site file "
                "tells, and epsilon would be computed for too few; correct `patients` there",
                "the site file tells of fewer than the site trains on, and epsilon would be "
                "computed for too few; the site's owner can correct `patients` there",
            )
        self._sampling, self._stream = sampling, stream
        self._frames_per_unit = frames_per_patient

    def draw(self) -> tuple[Tensor, ...]:
        """The rows ``(F,)`` of each drawn unit; nothing at all where nobody was drawn."""
        drawn = np.flatnonzero(self._stream.uniform(len(self._rows)) < self._sampling.rate)
        if self._sampling.cap < self._sampling.units:
            drawn = self._some(drawn, self._sampling.cap)
        return tuple(torch.from_numpy(self._frames(unit)) for unit in drawn.tolist())

    def _frames(self, unit: int) -> NDArray[np.int64]:
        return self._some(self._rows[unit], self._frames_per_unit)

    def _some(self, of: NDArray[np.int64], most: int) -> NDArray[np.int64]:
        """At most so many of them, each set as likely as another."""
        if len(of) <= most:
            return of
        return of[self._stream.words(len(of)).argsort()[:most]]


def unit_batch(batch: Batch, frames: Sequence[int]) -> UnitBatch:
    """``batch`` as one step, in which unit after unit has so many ``frames``."""
    counts = torch.tensor(frames)
    return UnitBatch(
        batch=batch,
        units=torch.repeat_interleave(torch.arange(len(frames)), counts),
        shares=torch.repeat_interleave(1 / counts, counts),
        count=len(frames),
    )


def _rows_by_owner(owners: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    order = np.argsort(owners, kind="stable")
    _, starts = np.unique(owners[order], return_index=True)
    return np.split(order, starts[1:])

"""What guards a site's training, handed in by whoever knows the privacy packages.

The learning code knows no privacy. It is built with a ``Protection``: the trainer that takes the
site's steps, the mean in which agreement on private images may steer what leaves, and a ``Release``
that says under which promise a message leaves, and stops it where there is none.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from fedefm.config import RunConfig
from fedefm.data.dataset import FrameDataset
from fedefm.data.manifest import Manifest
from fedefm.train.effort import Effort
from fedefm.train.message import Header
from fedefm.train.trainer import Trainer

MEAN_IMAGES = 16  # of which a mean without protection is taken

PerImage = Callable[[Tensor], Tensor]
"""Rows of the dataset ``(B,)`` to ``(B, K)``: numbers of at least 0, at most 1 in sum per row."""

Mean = Callable[[PerImage, int, torch.Generator], Tensor]
"""``mean(per_image, K, rng)``: ``(K,)``, the mean of ``per_image`` over the site's images or, where
it is private, a noisy one over its patients."""


NoisySum = Callable[[], dict[str, Tensor]]
"""What the newest fit found, by parameter name, once: a sum of gradients with a share of the noise,
which only a secure sum with other sites' shares may show. The fit itself left the model alone."""


class Release(Protocol):
    """Under which promise messages leave a site."""

    def mechanism(self) -> str:
        """What protected the newest weights, for the header of a message; ``none`` if nothing."""
        ...

    def check(self, header: Header) -> None:
        """Raises PolicyRefused where a message must not leave."""
        ...

    def planned(self) -> Mapping[str, Any] | None:
        """What the rest of the run will cost at most, by name; None where nothing is promised."""
        ...

    def result(self) -> Mapping[str, Any] | None:
        """The site's entry under ``privacy`` in ``result.json``, None where nothing is promised."""
        ...

    def finish(self) -> None:
        """The run is over at this site: what was planned and never done is given back."""
        ...

    def close(self) -> None:
        """Let go of files. Without ``finish`` before it, the run may be resumed: its plan stays."""
        ...


class Unprotected:
    """Everything leaves, and nothing is claimed."""

    def mechanism(self) -> str:
        """``none``."""
        return "none"

    def check(self, header: Header) -> None:
        """Lets everything pass."""

    def planned(self) -> None:
        """Nothing is promised."""

    def result(self) -> None:
        """Nothing is promised."""

    def finish(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do."""


@dataclass(frozen=True)
class Protection:
    """One site's trainer, mean and release. ``measures``: may it tell what it saw in training?

    Where it may not, nothing else may be read off its training images either: ``labels`` are those
    that it is taken to hold, and ``size`` is its weight in a mean over sites. None: both are what
    is found in the images.

    Where sites make their noise together, ``noisy_sum`` gives what ``trainer`` found.
    """

    trainer: Trainer
    mean: Mean
    release: Release
    measures: bool
    labels: tuple[str, ...] | None = None
    size: int | None = None
    noisy_sum: NoisySum | None = None

    @property
    def private(self) -> bool:
        """Whether a run that must be private can take it."""
        return not (
            self.measures
            or isinstance(self.release, Unprotected)
            or self.labels is None
            or self.size is None
        )


class Protect(Protocol):
    """Makes the protection of each site of a run: the part of whoever knows the privacy packages.

    ``check`` comes first, before an image is decoded, and raises PolicyRefused with all that the
    site's own file has against the run. The call itself sets the budget aside and raises
    BudgetExhausted where there is too little of it; ``efforts`` are those of the rounds to come.
    """

    def check(self, site: str, site_file: Path, run: RunConfig, manifest: Manifest) -> None: ...

    def __call__(
        self,
        site: str,
        site_file: Path,
        run: RunConfig,
        efforts: tuple[Effort, ...],
        run_id: str,
        data: FrameDataset,
    ) -> Protection: ...


def plain_mean(images: int) -> Mean:
    """The mean over ``MEAN_IMAGES`` of a site's ``images``, drawn by the run's seed; no privacy."""

    def mean(per_image: PerImage, length: int, rng: torch.Generator) -> Tensor:
        return per_image(torch.randperm(images, generator=rng)[:MEAN_IMAGES]).mean(dim=0)

    return mean

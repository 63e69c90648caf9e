"""What guards a site's training, handed in by whoever knows the privacy packages.

The learning code knows no privacy. It is built with a ``Protection``: the trainer that takes the
site's steps, the mean in which agreement on private images may steer what leaves, and a ``Release``
that says under which promise a message leaves, and stops it where there is none.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from fedefm.train.message import Header
from fedefm.train.trainer import Trainer

PerImage = Callable[[Tensor], Tensor]
"""Rows of the dataset ``(B,)`` to ``(B, K)``: numbers of at least 0, at most 1 in sum per row."""

Mean = Callable[[PerImage, int, torch.Generator], Tensor]
"""``mean(per_image, K, rng)``: ``(K,)``, the mean of ``per_image`` over the site's images or, where
it is private, a noisy one over its patients."""


class Release(Protocol):
    """Under which promise messages leave a site."""

    def mechanism(self) -> str:
        """What protected the newest weights, for the header of a message; ``none`` if nothing."""
        ...

    def check(self, header: Header) -> None:
        """Raises PolicyRefused where a message must not leave."""
        ...

    def result(self) -> Mapping[str, Any] | None:
        """The site's entry under ``privacy`` in ``result.json``, None where nothing is promised."""
        ...

    def close(self) -> None:
        """The run is over at this site."""
        ...


class Unprotected:
    """Everything leaves, and nothing is claimed."""

    def mechanism(self) -> str:
        """``none``."""
        return "none"

    def check(self, header: Header) -> None:
        """Lets everything pass."""

    def result(self) -> None:
        """Nothing is promised."""

    def close(self) -> None:
        """Nothing to do."""


@dataclass(frozen=True)
class Protection:
    """One site's trainer, mean and release. ``measures``: may it tell what it saw in training?"""

    trainer: Trainer
    mean: Mean
    release: Release
    measures: bool

"""What sites measured, added up: numbers of which no site's own can be told.

A secure sum adds whole numbers exactly, so losses and agreements travel in units of ``UNIT``. A sum
hides a site among those who contribute to it: where one site alone has images of a split, the sum
over all is what that site measured.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from fedefm.train.exchange import RoundStats
from fedefm.train.measure import Scale

UNIT = 1e-4
MOST = 20.0  # a larger loss is told as this, so that it fits into the sum of many sites
ROUND_NUMBERS = 7
PUBLISHED_SPLITS: tuple[str, ...] = ("validation", "test")


@dataclass(frozen=True)
class Pooled:
    """Over ``sites`` sites: points for how many images, and means over the sites that tell.

    ``trained_on`` counts training images, or patients in a private run. None: nobody told.
    """

    sites: int
    points: int
    images: int
    trained_on: int | None = None
    loss: float | None = None
    similarity: float | None = None

    def score(self, scale: Scale) -> float | None:
        """What an image is worth in the mean."""
        return scale.mean(self.points, self.images) if self.images else None


NOBODY = Pooled(sites=0, points=0, images=0)


@dataclass(frozen=True)
class Measured:
    """After a round: what those told together who were ``asked`` in it.

    At the end of a stage also what the sites of each told together, by the stages that are theirs,
    counted from 1.
    """

    asked: Pooled
    by_stages: Mapping[tuple[int, ...], Pooled] = field(default_factory=dict)


def round_part(stats: RoundStats, points: int, images: int, size: int) -> Tensor:
    """One site's part after a round: ``(ROUND_NUMBERS,)`` whole numbers as float32.

    Loss, who tells one, points, images, training images or patients, agreement with the
    experts, who tells one.
    """
    values = list(stats.similarity.values())
    agreement = sum(values) / len(values) if values else None
    numbers = [*_told(stats.loss), points, images, size, *_told(agreement)]
    return torch.tensor(numbers, dtype=torch.float32)


def pooled_round(total: Tensor, sites: int) -> Pooled:
    """Read the sum of ``round_part`` over ``sites`` sites."""
    loss, losses, points, images, size, agreement, agreements = total.tolist()
    return Pooled(
        sites,
        points=int(points),
        images=int(images),
        trained_on=int(size) if sites else None,
        loss=_mean(loss, losses),
        similarity=_mean(agreement, agreements),
    )


def pooled_splits(total: Tensor, sites: int, splits: Sequence[str]) -> dict[str, Pooled]:
    """Read the sum over sites of points and images, one of ``splits`` after the other."""
    counts: Sequence[float] = total.tolist()
    pairs = zip(counts[::2], counts[1::2], strict=True)
    return {
        split: Pooled(sites, int(points), int(images))
        for split, (points, images) in zip(splits, pairs, strict=True)
    }


def _told(value: float | None) -> tuple[int, int]:
    """A mean's part: the value in units and 1, or 0 and 0 where there is none."""
    if value is None or not math.isfinite(value):
        return 0, 0
    return round(min(value, MOST) / UNIT), 1


def _mean(total: float, count: float) -> float | None:
    return total * UNIT / count if count else None

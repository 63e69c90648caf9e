"""How well hidden patches are painted, patient by patient."""

from dataclasses import dataclass

import numpy as np

from fedefm.data.dataset import FrameDataset
from fedefm.finetune.bootstrap import Array, Interval, by_patient, pooled_intervals


@dataclass(frozen=True)
class PaintingScores:
    """``explained`` is the share of the variance within hidden patches that is painted.

    It is a mean over images: 1 is perfect, and plain gray patches have 0. An image that is painted
    worse than that by its whole variance, or more, counts as -1, and one without any variance as 0.
    """

    images: int
    patients: int
    explained: Interval


def score_painting(explained: Array, dataset: FrameDataset, seed: int = 0) -> PaintingScores:
    """Scores of the shares ``(N,)`` that were explained of the images in ``dataset``."""
    scores = explained.astype(np.float64)[:, None]
    (interval,) = pooled_intervals(by_patient(scores, dataset.patients.numpy()), seed)
    return PaintingScores(len(dataset), interval.patients, interval)

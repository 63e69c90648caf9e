"""AUPRC of several labels, with intervals that know that images of one patient are alike.

The area under the precision-recall curve is taken as average precision: of each image with the
label, what share of the images that score as high or higher have it, too; and the mean of these.
Images of equal score come in together. (Straight lines between the points of the curve, as the
trapezoidal rule draws them, would promise precisions that no threshold has.)

Unlike the AUROC it depends on how rare a label is: guessing gives the share of images that have it,
so that figures of two test sets are only comparable where these shares are. It is undefined where
no image has the label, and 1 where all have it.
"""

import numpy as np
import numpy.typing as npt

from fedefm.finetune.auroc import Array, Truth, area_intervals
from fedefm.finetune.bootstrap import Interval
from fedefm.finetune.overlap import ratio


def auprc(scores: Array, truth: Truth) -> Array:
    """``(K,)`` average precisions of scores and truth ``(N, K)``; nan where undefined."""
    areas: Array = _weighted(scores, truth, np.ones((1, len(scores))))[0]
    return areas


def auprc_intervals(
    scores: Array, truth: Truth, patients: npt.NDArray[np.integer], seed: int = 0, draws: int = 2000
) -> tuple[Interval, tuple[Interval, ...]]:
    """The mean over the labels for which it is defined, and that of each label.

    Patients ``(N,)`` are drawn anew with all of their images, as in ``auroc_intervals``.
    """
    return area_intervals(_weighted, scores, truth, patients, seed, draws)


def _weighted(scores: Array, truth: Truth, weights: Array) -> Array:
    """``(D, K)``: the areas when image n counts ``weights[d, n]`` times."""
    areas = np.empty((len(weights), scores.shape[1]))
    for k in range(scores.shape[1]):
        order = np.argsort(-scores[:, k], kind="stable")
        ranked, has = scores[order, k], truth[order, k]
        ties = np.flatnonzero(np.diff(ranked, prepend=np.inf))  # where each score begins
        counted = weights[:, order]
        seen = np.cumsum(np.add.reduceat(counted, ties, axis=1), axis=1)
        with_it = np.add.reduceat(counted * has, ties, axis=1)
        precision = ratio(np.cumsum(with_it, axis=1), seen)
        found = np.where(with_it > 0, with_it * precision, 0).sum(axis=1)
        areas[:, k] = ratio(found, with_it.sum(axis=1))
    return areas

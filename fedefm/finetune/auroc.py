"""AUROC of several labels, with intervals that know that images of one patient are alike.

The area under the receiver operating characteristic is the chance that an image with the label gets
a higher score than one without it, a tie counting half (Mann and Whitney). It does not depend on
how rare a label is, nor on any threshold. It is undefined where all images have the label or none.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from fedefm.finetune.bootstrap import Interval, drawn_patients, percentile_interval
from fedefm.finetune.overlap import ratio

Array = npt.NDArray[np.float64]
Truth = npt.NDArray[np.bool_]
_AT_ONCE = 4_000_000  # weights held at a time


def auroc(scores: Array, truth: Truth) -> Array:
    """``(K,)`` areas of scores and truth ``(N, K)``; nan where undefined."""
    areas: Array = _weighted(scores, truth, np.ones((1, len(scores))))[0]
    return areas


def auroc_intervals(
    scores: Array, truth: Truth, patients: npt.NDArray[np.integer], seed: int = 0, draws: int = 2000
) -> tuple[Interval, tuple[Interval, ...]]:
    """The mean over the labels for which an area is defined, and the area of each label.

    Patients ``(N,)`` are drawn anew with all of their images. A draw in which a label has no area
    says nothing about it, and its mean is over the others.
    """
    return area_intervals(_weighted, scores, truth, patients, seed, draws)


def area_intervals(
    weighted: Callable[[Array, Truth, Array], Array],
    scores: Array,
    truth: Truth,
    patients: npt.NDArray[np.integer],
    seed: int,
    draws: int,
) -> tuple[Interval, tuple[Interval, ...]]:
    """As ``auroc_intervals``, of any area.

    ``weighted(scores, truth, weights)`` gives the areas ``(D, K)`` when image n counts
    ``weights[d, n]`` times.
    """
    _, owner = np.unique(patients, return_inverse=True)
    times = drawn_patients(int(owner.max(initial=-1)) + 1, seed, draws)
    step = max(1, _AT_ONCE // max(1, len(scores)))
    drawn = [
        weighted(scores, truth, times[k : k + step][:, owner].astype(float))
        for k in range(0, len(times), step)
    ]
    areas = np.concatenate([np.empty((0, scores.shape[1])), *drawn])
    value = weighted(scores, truth, np.ones((1, len(scores))))[0]
    columns = np.column_stack([_mean(areas), areas])
    macro, *each = (
        percentile_interval(float(v), column, len(np.unique(owner)))
        for v, column in zip((_mean(value[None])[0], *value), columns.T, strict=True)
    )
    return macro, tuple(each)


def _weighted(scores: Array, truth: Truth, weights: Array) -> Array:
    """``(D, K)``: the areas when image n counts ``weights[d, n]`` times."""
    areas = np.empty((len(weights), scores.shape[1]))
    for k in range(scores.shape[1]):
        order = np.argsort(scores[:, k], kind="stable")
        ranked, has = scores[order, k], truth[order, k]
        ties = np.flatnonzero(np.diff(ranked, prepend=-np.inf))  # where each score begins
        counted = weights[:, order]
        with_it = np.add.reduceat(counted * has, ties, axis=1)
        without = np.add.reduceat(counted * ~has, ties, axis=1)
        below = np.cumsum(without, axis=1) - without
        pairs = with_it.sum(axis=1) * without.sum(axis=1)
        areas[:, k] = ratio((with_it * (below + 0.5 * without)).sum(axis=1), pairs)
    return areas


def _mean(areas: Array) -> Array:
    """Over the labels that have an area."""
    known = ~np.isnan(areas)
    return ratio(np.where(known, areas, 0.0).sum(axis=1), known.sum(axis=1).astype(float))

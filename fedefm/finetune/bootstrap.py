"""Intervals that know that images of one patient are alike.

A test set of 500 frames from 5 patients says little about the next patient. So what is drawn again
and again is the patient, with all of his or her images (cluster bootstrap, percentile interval).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fedefm.finetune.overlap import ratio
from fedefm.seeding import numpy_generator

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A value with its bootstrap interval and the number of patients behind it.

    The bounds are nan where there are fewer than two patients, because then nothing is known about
    the next.
    """

    value: float
    low: float
    high: float
    patients: int

    def __str__(self) -> str:
        if np.isnan(self.value):
            return "not measured"
        if np.isnan(self.low):
            return f"{self.value:.3f}"
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


@dataclass(frozen=True)
class PatientSums:
    """Per patient the sum of scores and their number, each ``(P, K)``; nan scores are left out."""

    total: Array
    count: Array

    def means(self) -> Array:
        """Each patient's mean score ``(P, K)``, nan where a patient has none."""
        return ratio(self.total, self.count)


def by_patient(scores: Array, patients: npt.NDArray[np.integer]) -> PatientSums:
    """Gather image scores ``(N, K)`` by patient. Only whether two patients are equal matters."""
    _, owner = np.unique(patients, return_inverse=True)
    known = ~np.isnan(scores)
    shape = (int(owner.max(initial=-1)) + 1, scores.shape[1])
    total, count = np.zeros(shape), np.zeros(shape)
    np.add.at(total, owner, np.where(known, scores, 0.0))
    np.add.at(count, owner, known.astype(float))
    return PatientSums(total, count)


def pooled_intervals(
    sums: PatientSums, seed: int = 0, draws: int = 2000, level: float = 0.95
) -> tuple[Interval, ...]:
    """Mean over all images, for each of the K scores (accuracy: a patient counts by his images)."""
    return _intervals(sums.total, sums.count, seed, draws, level)


def patient_intervals(
    sums: PatientSums, seed: int = 0, draws: int = 2000, level: float = 0.95
) -> tuple[Interval, ...]:
    """Mean over patients of their own means, for each of the K scores (Dice: all count alike)."""
    means = sums.means()
    known = ~np.isnan(means)
    return _intervals(np.where(known, means, 0.0), known.astype(float), seed, draws, level)


def _intervals(
    total: Array, weight: Array, seed: int, draws: int, level: float
) -> tuple[Interval, ...]:
    """Percentile intervals of ``sum(total) / sum(weight)`` when rows (patients) are drawn anew."""
    patients = len(total)
    value = ratio(total.sum(axis=0), weight.sum(axis=0))
    low = high = np.full_like(value, np.nan)
    if patients > 1:
        rng = numpy_generator(seed, "bootstrap")
        times = rng.multinomial(patients, np.full(patients, 1 / patients), size=draws)
        drawn = ratio(times @ total, times @ weight)  # (draws, K)
        low, high = (_percentile(drawn, share) for share in ((1 - level) / 2, (1 + level) / 2))
    behind = (weight > 0).sum(axis=0)
    return tuple(
        Interval(float(v), *((float(a), float(b)) if n > 1 else (np.nan, np.nan)), int(n))
        for v, a, b, n in zip(value, low, high, behind, strict=True)
    )


def _percentile(drawn: Array, share: float) -> Array:
    """A draw without any patient that has the class says nothing; it is left out."""
    columns = (column[~np.isnan(column)] for column in drawn.T)
    return np.array([np.quantile(column, share) if column.size else np.nan for column in columns])

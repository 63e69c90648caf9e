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


def drawn_patients(patients: int, seed: int, draws: int) -> npt.NDArray[np.int64]:
    """``(draws, patients)``: how often each patient is in each draw; no draws of fewer than two."""
    if patients < 2:
        return np.empty((0, patients), dtype=np.int64)
    rng = numpy_generator(seed, "bootstrap")
    return rng.multinomial(patients, np.full(patients, 1 / patients), size=draws)


def percentile_interval(value: float, drawn: Array, patients: int, level: float = 0.95) -> Interval:
    """The interval between the percentiles of ``drawn`` (D,); draws that are nan say nothing."""
    known = drawn[~np.isnan(drawn)]
    if patients < 2 or not known.size:
        return Interval(value, np.nan, np.nan, patients)
    low, high = np.quantile(known, ((1 - level) / 2, (1 + level) / 2))
    return Interval(value, float(low), float(high), patients)


def _intervals(
    total: Array, weight: Array, seed: int, draws: int, level: float
) -> tuple[Interval, ...]:
    """Percentile intervals of ``sum(total) / sum(weight)`` when rows (patients) are drawn anew."""
    times = drawn_patients(len(total), seed, draws)
    drawn = ratio(times @ total, times @ weight)  # (draws, K)
    value = ratio(total.sum(axis=0), weight.sum(axis=0))
    behind = (weight > 0).sum(axis=0)
    return tuple(
        percentile_interval(float(v), column, int(n), level)
        for v, column, n in zip(value, drawn.T, behind, strict=True)
    )

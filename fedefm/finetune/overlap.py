"""How much of a predicted mask lies on the true one: Dice and Jaccard, per image and class.

Jaccard and IoU are two names of one number, ``|P & T| / |P | T|``; this package computes it once
and calls it ``jaccard``. "mIoU" is its mean over classes: over the devices where it is called
``miou``, and with the background counted as one more class where it is called
``miou_with_background`` (the FedEFM code leaves the background out of its mIoU and counts it in its
Jaccard).

A class that is neither in the truth nor in the prediction has no overlap to speak of: its score is
``nan`` and it is left out of every mean. A class in only one of the two scores 0.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.integer]  # (B, H, W) class indices
Scores = npt.NDArray[np.float64]  # (B, K) one score an image and class, nan where undefined


@dataclass(frozen=True)
class Overlap:
    """Pixel counts, each ``(B, K)``: in both masks, in the prediction, in the truth."""

    both: Scores
    predicted: Scores
    truth: Scores

    def dice(self) -> Scores:
        """``2 |P & T| / (|P| + |T|)``, nan where both are empty."""
        return ratio(2 * self.both, self.predicted + self.truth)

    def jaccard(self) -> Scores:
        """``|P & T| / |P | T|``, the same as IoU; nan where both are empty."""
        return ratio(self.both, self.predicted + self.truth - self.both)


def overlap(predicted: Labels, truth: Labels, num_classes: int) -> Overlap:
    """Count the pixels that the two label maps ``(B, H, W)`` share, for each of ``num_classes``.

    Raises ValueError if the shapes differ.
    """
    if predicted.shape != truth.shape:
        raise ValueError(f"prediction {predicted.shape} and truth {truth.shape} differ in shape")
    pixels = np.prod(truth.shape[1:], dtype=int)
    p, t = predicted.reshape(-1, pixels), truth.reshape(-1, pixels)
    classes = [(p == k, t == k) for k in range(num_classes)]
    return Overlap(
        both=_count([a & b for a, b in classes]),
        predicted=_count([a for a, _ in classes]),
        truth=_count([b for _, b in classes]),
    )


def ratio(part: Scores, whole: Scores) -> Scores:
    """``part / whole`` with nan, and no warning, where ``whole`` is 0."""
    result: Scores = np.full(np.shape(part), np.nan)
    return np.divide(part, whole, out=result, where=whole > 0)


def _count(masks: list[npt.NDArray[np.bool_]]) -> Scores:
    return np.stack([mask.sum(axis=1) for mask in masks], axis=1).astype(np.float64)

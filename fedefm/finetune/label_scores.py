"""How well the labels of images are told, patient by patient."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fedefm.finetune.auroc import Array, Truth, auroc_intervals
from fedefm.finetune.bootstrap import Interval, by_patient, pooled_intervals

ONE_LABEL = "accuracy of one label an image, as the FedEFM paper prints it"


@dataclass(frozen=True)
class LabelScores:
    """AUROC of each label and its mean over labels, and the paper's accuracy.

    ``accuracy_of_one_label`` is the one figure that the FedEFM paper prints for RANZCR CLiP, whose
    images have several labels each. The paper does not say how it came about. Here it is, over the
    images with a label, the share whose label with the highest score is one of theirs. It rewards
    the common labels and says little of the rare ones, which matter: prefer the AUROC.
    """

    images: int
    patients: int
    macro_auroc: Interval
    auroc: dict[str, Interval]
    accuracy_of_one_label: Interval
    with_label: dict[str, int]  # images


def score_labels(
    scores: Array,
    truth: Truth,
    patients: npt.NDArray[np.integer],
    labels: tuple[str, ...],
    seed: int = 0,
) -> LabelScores:
    """Compare scores ``(N, K)``, the higher the surer, with what is true ``(N, K)`` of images."""
    macro, each = auroc_intervals(scores, truth, patients, seed)
    first = truth[np.arange(len(truth)), scores.argmax(axis=1)].astype(float)
    right = np.where(truth.any(axis=1), first, np.nan)[:, None]
    (accuracy,) = pooled_intervals(by_patient(right, patients), seed)
    return LabelScores(
        images=len(truth),
        patients=len(np.unique(patients)),
        macro_auroc=macro,
        auroc=dict(zip(labels, each, strict=True)),
        accuracy_of_one_label=accuracy,
        with_label={name: int(n) for name, n in zip(labels, truth.sum(axis=0), strict=True)},
    )

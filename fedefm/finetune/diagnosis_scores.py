"""How well the one label of each image is told, patient by patient."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fedefm.data.dataset import FrameDataset
from fedefm.finetune.auprc import auprc_intervals
from fedefm.finetune.auroc import Array, auroc_intervals
from fedefm.finetune.bootstrap import Interval
from fedefm.finetune.evaluate import score_classes


@dataclass(frozen=True)
class DiagnosisScores:
    """Accuracy, AUROC and AUPRC of each class against the rest, and what was taken for what.

    ``recognized`` is the share of a class's images that were given it (its sensitivity). AUROC and
    AUPRC are of the class's probability, ``macro_...`` their means over the classes for which they
    are defined. Guessing has the AUPRC of the class's share of the images.
    """

    images: int
    patients: int
    accuracy: Interval
    macro_auroc: Interval
    auroc: dict[str, Interval]
    macro_auprc: Interval
    auprc: dict[str, Interval]
    recognized: dict[str, Interval]
    confusion: tuple[tuple[int, ...], ...]  # row: true class, column: predicted class


def score_diagnosis(chances: Array, dataset: FrameDataset, seed: int = 0) -> DiagnosisScores:
    """Compare the probabilities ``(N, K)`` of the classes with the labels of ``dataset``."""
    told = score_classes(chances.argmax(axis=1), dataset, seed)
    truth, patients = one_against_rest(dataset), dataset.patients.numpy()
    macro, each = auroc_intervals(chances, truth, patients, seed)
    precise, of_each = auprc_intervals(chances, truth, patients, seed)
    return DiagnosisScores(
        images=told.images,
        patients=told.patients,
        accuracy=told.accuracy,
        macro_auroc=macro,
        auroc=dict(zip(dataset.classes, each, strict=True)),
        macro_auprc=precise,
        auprc=dict(zip(dataset.classes, of_each, strict=True)),
        recognized=told.per_class,
        confusion=told.confusion,
    )


def one_against_rest(dataset: FrameDataset) -> npt.NDArray[np.bool_]:
    """``(N, K)``: whether an image is of a class."""
    truth: npt.NDArray[np.bool_] = dataset.labels.numpy()[:, None] == np.arange(
        len(dataset.classes)
    )
    return truth

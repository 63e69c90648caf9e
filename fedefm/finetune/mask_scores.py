"""How far predicted masks agree with true ones, patient by patient."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from fedefm.finetune.angle_of_progression import STRUCTURES, AngleErrors, angle_errors
from fedefm.finetune.bootstrap import Interval, by_patient, patient_intervals
from fedefm.finetune.centerline import cldice
from fedefm.finetune.hausdorff import hd95
from fedefm.finetune.overlap import Labels, Scores, overlap, ratio
from fedefm.finetune.tip import tip_distance


@dataclass(frozen=True)
class SegmentationScores:
    """Overlap, center line and distance scores: per image, then per patient, then their mean.

    ``jaccard`` is IoU. ``mean_dice``, ``miou`` and ``mean_cldice`` are means over the device
    classes of an image; ``miou_with_background`` counts the background as one more class.
    ``false_alarm`` is the share of images without any device in which one was seen. All are
    measured at the resolution of the label maps, ``frame_px`` (height, width), so distances in
    pixels are in theirs; those in millimeters are over the images whose manifest says how large a
    pixel is. ``angle`` is None where the devices are not those between which the angle of
    progression is.
    """

    images: int
    patients: int
    frame_px: tuple[int, int]
    mean_dice: Interval
    miou: Interval
    miou_with_background: Interval
    mean_cldice: Interval
    false_alarm: Interval
    dice: dict[str, Interval]
    jaccard: dict[str, Interval]
    cldice: dict[str, Interval]
    hd95_px: dict[str, Interval]
    hd95_mm: dict[str, Interval]
    tip_px: dict[str, Interval]
    tip_mm: dict[str, Interval]
    angle: AngleErrors | None
    image_dice: tuple[float, ...] = field(repr=False)  # of each dataset row, mean over devices


def score_masks(
    predicted: Labels,
    truth: Labels,
    patients: Labels,
    devices: tuple[str, ...],
    seed: int = 0,
    spacing: npt.NDArray[np.float64] | None = None,
    shape: npt.NDArray[np.float64] | None = None,
) -> SegmentationScores:
    """Compare label maps ``(N, H, W)`` of images that belong to ``patients`` ``(N,)``.

    Args:
        devices: names of the values 1, 2, ...; 0 is the background.
        seed: draws the bootstrap.
        spacing: ``(N, 2)`` millimeters that a pixel is high and wide, nan where not known.
        shape: ``(N, 2)`` the same in any unit, for angles; without it pixels are square.
    """
    count = len(devices) + 1
    counts = overlap(predicted, truth, count)
    dice, jaccard = counts.dice()[:, 1:], counts.jaccard()
    lines = cldice(predicted, truth, count)[:, 1:]
    alarm = np.where(truth.any(axis=(1, 2)), np.nan, predicted.any(axis=(1, 2)))
    image_dice = mean_over_classes(dice)
    pixels = np.ones((len(truth), 2))
    millimeters = np.full_like(pixels, np.nan) if spacing is None else spacing

    def intervals(scores: Scores) -> tuple[Interval, ...]:
        return patient_intervals(by_patient(scores, patients), seed)

    def each(scores: Scores) -> dict[str, Interval]:
        return dict(zip(devices, intervals(scores), strict=True))

    means = [image_dice, *map(mean_over_classes, (jaccard[:, 1:], jaccard, lines)), alarm]
    mean_dice, miou, miou_with_background, mean_cldice, false_alarm = intervals(
        np.column_stack(means)
    )
    return SegmentationScores(
        images=len(truth),
        patients=len(np.unique(patients)),
        frame_px=(truth.shape[1], truth.shape[2]),
        mean_dice=mean_dice,
        miou=miou,
        miou_with_background=miou_with_background,
        mean_cldice=mean_cldice,
        false_alarm=false_alarm,
        dice=each(dice),
        jaccard=each(jaccard[:, 1:]),
        cldice=each(lines),
        hd95_px=each(hd95(predicted, truth, count, pixels)),
        hd95_mm=each(hd95(predicted, truth, count, millimeters)),
        tip_px=each(tip_distance(predicted, truth, count, pixels)),
        tip_mm=each(tip_distance(predicted, truth, count, millimeters)),
        angle=_angles(predicted, truth, patients, devices, seed, shape),
        image_dice=tuple(image_dice.tolist()),
    )


def mean_dice(predicted: Labels, truth: Labels, patients: Labels, num_classes: int) -> float:
    """The ``mean_dice`` of ``score_masks`` alone, for looking often; nan if undefined."""
    image_dice = mean_over_classes(overlap(predicted, truth, num_classes).dice()[:, 1:])
    means = by_patient(image_dice[:, None], patients).means()
    return float(mean_over_classes(means.T)[0])


def _angles(
    predicted: Labels,
    truth: Labels,
    patients: Labels,
    devices: tuple[str, ...],
    seed: int,
    shape: npt.NDArray[np.float64] | None,
) -> AngleErrors | None:
    if not set(STRUCTURES) <= set(devices):
        return None
    symphysis, head = (1 + devices.index(name) for name in STRUCTURES)
    values = (symphysis, head)
    return angle_errors(predicted, truth, patients, shape, values=values, seed=seed)


def mean_over_classes(scores: Scores) -> Scores:
    """Mean of each row where defined, nan where nothing is."""
    known = ~np.isnan(scores)
    return ratio(np.where(known, scores, 0.0).sum(axis=1), known.sum(axis=1))

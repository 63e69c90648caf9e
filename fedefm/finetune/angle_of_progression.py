"""The angle of progression: how far a fetal head has come down, from masks of a transperineal scan.

It is the angle between the long axis of the pubic symphysis and the line from its lower end that
touches the skull (Barbera et al., Ultrasound Obstet Gynecol 33:313, 2009). The challenges PSFHS and
FH-PS-AOP measure it on masks of symphysis (1) and head (2), with an ellipse in place of each. What
they leave to the way their pictures are turned has to be said here:

* Each structure is its largest piece (8-connected), and its **ellipse** the one with the same
  second moments.
* **Lower end.** An axis has two, and masks do not know which is which. Pictures do: seen from the
  upper end towards the lower one, the head is on the right hand, however the picture is turned.
  In the usual picture, with the symphysis at the upper left and the head below it, the lower end
  so is the right one, as the challenges have it. In a mirrored picture it is on the left hand.
* **Tangent.** Of the two that touch the head it is the one that has the head between itself and
  the symphysis: the larger angle. Angles above 180 degrees are given as such.

There is no angle (nan) where one of the two has fewer than ``FEWEST_PIXELS`` in its largest piece,
where the symphysis is less than ``LONGEST`` times as long as wide, since it then has no long axis,
and where its lower end lies within the head's ellipse. A head that the frame cuts off is measured
by what can be seen of it: about 1 degree off where a twentieth of it is missing, and 4 where it is
three tenths. Masks that were made smaller with their frames have grown by up to a pixel, and the
angle in them is another: by up to 1.5 degrees with 256 pixels a side, and 3 with 128.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from fedefm.finetune.bootstrap import Interval, by_patient, patient_intervals
from fedefm.finetune.overlap import Labels

STRUCTURES = ("pubic_symphysis", "fetal_head")  # between which it is, as classes are called
SYMPHYSIS, HEAD = 1, 2  # mask values, where nobody gives others
FEWEST_PIXELS = 30
LONGEST = 1.2  # of length by width; symphyses have two and more

Array = npt.NDArray[np.float64]
_AROUND = np.ones((3, 3), dtype=int)


@dataclass(frozen=True)
class AngleErrors:
    """How far predicted angles are from true ones, in degrees.

    ``error`` is the mean over patients of the mean over their images in which both masks have an
    angle. Read it together with ``missed``: who finds no angle makes no error.
    """

    images: int
    patients: int
    error: Interval
    missed: int  # images with an angle in the truth and none in the prediction
    without: int  # images without an angle in the truth; they are left out
    image_errors: tuple[float, ...] = field(repr=False)  # nan where left out or missed


def angle_errors(
    predicted: Labels,
    truth: Labels,
    patients: npt.NDArray[np.integer],
    spacing: Array | None = None,
    mirrored: bool = False,
    values: tuple[int, int] = (SYMPHYSIS, HEAD),
    seed: int = 0,
) -> AngleErrors:
    """Compare the angles of label maps ``(N, H, W)`` of images that belong to ``patients`` (N,).

    ``seed`` draws the bootstrap; all else is as in ``angles_of_progression``.
    Raises ValueError if the shapes differ.
    """
    if predicted.shape != truth.shape:
        raise ValueError(f"prediction {predicted.shape} and truth {truth.shape} differ in shape")
    found, true = (
        angles_of_progression(labels, spacing, mirrored, values) for labels in (predicted, truth)
    )
    errors = np.abs(found - true)
    (error,) = patient_intervals(by_patient(errors[:, None], patients), seed)
    return AngleErrors(
        images=len(truth),
        patients=len(np.unique(patients)),
        error=error,
        missed=int((np.isnan(found) & ~np.isnan(true)).sum()),
        without=int(np.isnan(true).sum()),
        image_errors=tuple(errors.tolist()),
    )


def angles_of_progression(
    labels: Labels,
    spacing: Array | None = None,
    mirrored: bool = False,
    values: tuple[int, int] = (SYMPHYSIS, HEAD),
) -> Array:
    """The angle of each label map ``(N, H, W)`` in degrees, nan where there is none.

    Args:
        spacing: ``(N, 2)`` height and width of a pixel of each image, in any unit; nan gives nan.
            Without it pixels are square, which those of frames that were made square seldom are.
        mirrored: whether the pictures show the lower end of the symphysis at the left.
        values: of symphysis and head in the masks.
    """
    pixels = np.ones((len(labels), 2)) if spacing is None else spacing
    angles = [
        _angle(image, pixel, mirrored, values) for image, pixel in zip(labels, pixels, strict=True)
    ]
    return np.array(angles, dtype=np.float64)


@dataclass(frozen=True)
class _Ellipse:
    """All points ``center + axes @ z`` with ``|z| = 1``; x points right and y down."""

    center: Array  # (2,)
    axes: Array  # (2, 2) half axes in columns, the short one first


def _angle(labels: Labels, spacing: Array, mirrored: bool, values: tuple[int, int]) -> float:
    if np.isnan(spacing).any():
        return np.nan
    step = spacing[::-1] * (-1 if mirrored else 1, 1)
    symphysis, head = (_ellipse(labels == value, step) for value in values)
    if symphysis is None or head is None:
        return np.nan
    short, up = symphysis.axes.T
    if np.linalg.norm(up) < LONGEST * np.linalg.norm(short):
        return np.nan
    if _turn(up, head.center - symphysis.center) < 0:
        up = -up
    end = symphysis.center - up
    tangents = _tangents(head, end)
    if tangents is None:
        return np.nan
    middle = head.center - end
    return _turn(up, middle) + max(_turn(middle, touch - end) for touch in tangents)


def _ellipse(mask: npt.NDArray[np.bool_], step: Array) -> _Ellipse | None:
    """That of the largest piece, whose pixels are ``step`` (x, y) apart; None where too small."""
    pieces, _ = ndimage.label(mask, structure=_AROUND)
    sizes = np.bincount(pieces.ravel())[1:]
    if sizes.max(initial=0) < FEWEST_PIXELS:
        return None
    points = np.argwhere(pieces == sizes.argmax() + 1)[:, ::-1] * step
    # A pixel is a square, not a point; of an ellipse the moments are a quarter of squared half axes
    moments = np.cov(points.T, bias=True) + np.diag(step**2) / 12
    squares, directions = np.linalg.eigh(4 * moments)
    return _Ellipse(points.mean(axis=0), directions * np.sqrt(squares))


def _tangents(ellipse: _Ellipse, point: Array) -> tuple[Array, Array] | None:
    """Where the two tangents through ``point`` touch; None where it is not outside.

    To its own axes the ellipse is a circle of radius 1, and what touches one touches the other.
    """
    x, y = z = np.linalg.solve(ellipse.axes, point - ellipse.center)
    squared = float(z @ z)
    if squared <= 1:
        return None
    aside = np.array([-y, x]) * np.sqrt(squared - 1)
    first, second = ((z + side) / squared for side in (aside, -aside))
    return ellipse.center + ellipse.axes @ first, ellipse.center + ellipse.axes @ second


def _turn(start: Array, end: Array) -> float:
    """Degrees from ``start`` to ``end``, -180 to 180; above 0 where ``end`` is to the left hand.

    Left as one sees it on the picture, where y points down.
    """
    cross = start[1] * end[0] - start[0] * end[1]
    return float(np.degrees(np.arctan2(cross, start @ end)))

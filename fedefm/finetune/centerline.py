"""clDice: does the predicted device follow the true one, whatever their widths?

Catheters and guidewires are one to three pixels wide, so one pixel of offset halves the Dice score
of a perfect track. clDice compares center lines instead (Shit et al., CVPR 2021): the share of the
predicted center line inside the true mask (topology precision), the share of the true one inside
the predicted mask (topology sensitivity), and their harmonic mean.

The center line comes from the parallel thinning of Guo and Hall (Comm. ACM 32(3), 1989, algorithm
A1). It keeps the number of pieces and of holes; the better known thinning of Zhang and Suen does
not, and erases 2 x 2 blocks and two-pixel diagonals, which are exactly what a device looks like
here.
"""

from functools import cache

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from fedefm.finetune.overlap import Labels, Scores

Mask = npt.NDArray[np.bool_]

# Bit of each of the eight neighbors; P2 is the pixel above, then clockwise to P9.
_BITS = np.array([[128, 1, 2], [64, 0, 4], [32, 16, 8]], dtype=np.uint8)


def centerline(mask: Mask) -> Mask:
    """The center line of ``mask`` (H, W): a subset of it, with as many pieces and as many holes."""
    line: Mask = np.array(mask, dtype=bool)
    box = _bounding_box(line)
    if box is None:
        return line
    view = line[box]
    while True:
        before = np.count_nonzero(view)
        for removable in _removable():
            neighbors = ndimage.correlate(view.astype(np.uint8), _BITS, mode="constant")
            view &= ~removable[neighbors]
        if np.count_nonzero(view) == before:
            return line


def cldice(predicted: Labels, truth: Labels, num_classes: int) -> Scores:
    """clDice of each image and class of two label maps ``(B, H, W)``, as ``(B, K)``.

    The background (class 0) has no center line: its column is nan. A class absent from both masks
    is nan as well and left out of means; a class in only one of them scores 0.
    """
    scores = np.full((len(truth), num_classes), np.nan)
    for image in range(len(truth)):
        for k in range(1, num_classes):
            scores[image, k] = _cldice(predicted[image] == k, truth[image] == k)
    return scores


def _cldice(predicted: Mask, truth: Mask) -> float:
    if not predicted.any() or not truth.any():
        return float("nan") if predicted.any() == truth.any() else 0.0
    line_p, line_t = centerline(predicted), centerline(truth)
    precision = np.count_nonzero(line_p & truth) / np.count_nonzero(line_p)
    sensitivity = np.count_nonzero(line_t & predicted) / np.count_nonzero(line_t)
    if precision + sensitivity == 0:
        return 0.0
    return float(2 * precision * sensitivity / (precision + sensitivity))


def _bounding_box(mask: Mask) -> tuple[slice, slice] | None:
    found = ndimage.find_objects(mask.astype(np.uint8))
    return found[0] if found else None


@cache
def _removable() -> tuple[Mask, Mask]:
    """For each half-step, which of the 256 neighborhoods let their pixel go."""
    codes = np.arange(256)
    p2, p3, p4, p5, p6, p7, p8, p9 = ((codes >> bit & 1).astype(bool) for bit in range(8))
    pieces = (
        (~p2 & (p3 | p4)).astype(int)
        + (~p4 & (p5 | p6)).astype(int)
        + (~p6 & (p7 | p8)).astype(int)
        + (~p8 & (p9 | p2)).astype(int)
    )
    pairs = np.minimum(
        sum(pair.astype(int) for pair in (p9 | p2, p3 | p4, p5 | p6, p7 | p8)),
        sum(pair.astype(int) for pair in (p2 | p3, p4 | p5, p6 | p7, p8 | p9)),
    )
    border = (pieces == 1) & (pairs >= 2) & (pairs <= 3)
    first = border & ~((p2 | p3 | ~p5) & p4)
    second = border & ~((p6 | p7 | ~p9) & p8)
    return first, second

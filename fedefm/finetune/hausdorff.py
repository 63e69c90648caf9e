"""HD95: how far the outline of a predicted device is from that of the true one.

The Hausdorff distance is the largest distance from a point of one outline to the other outline, and
one stray pixel decides it. So the 95th percentile is taken instead, in each of the two directions,
and the larger of the two counts (as in MONAI; pooling both directions gives smaller figures).

It is defined where the truth has the device. A device that was not found at all is as far away as
anything in the frame can be: its distance is the frame's diagonal, so that finding nothing never
pays.
"""

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.spatial import KDTree

from fedefm.finetune.overlap import Labels, Scores

Mask = npt.NDArray[np.bool_]
Spacing = npt.NDArray[np.float64]  # (2,) height and width of a pixel; ones: distances in pixels

PERCENTILE = 95


def hd95(predicted: Labels, truth: Labels, num_classes: int, spacing: Spacing) -> Scores:
    """HD95 of each image and device of two label maps ``(B, H, W)``, as ``(B, K - 1)``.

    Args:
        spacing: ``(B, 2)`` height and width of a pixel of each image; nan gives nan.
    Returns:
        distances in the unit of ``spacing``; nan where the truth has no such device.
    """
    scores = np.full((len(truth), num_classes - 1), np.nan)
    for image, pixel in enumerate(spacing):
        for k in range(1, num_classes):
            found, true = predicted[image] == k, truth[image] == k
            if true.any() and not np.isnan(pixel).any():
                scores[image, k - 1] = _hd95(found, true, pixel)
    return scores


def diagonal(shape: tuple[int, ...], spacing: Spacing) -> float:
    """The longest way through a frame of ``shape`` pixels, between the middles of its corners."""
    return float(np.linalg.norm((np.array(shape) - 1) * spacing))


def _hd95(found: Mask, true: Mask, spacing: Spacing) -> float:
    if not found.any():
        return diagonal(true.shape, spacing)
    points = [np.argwhere(outline(mask)) * spacing for mask in (found, true)]
    trees = [KDTree(line) for line in points]
    there, back = trees[1].query(points[0])[0], trees[0].query(points[1])[0]
    return float(max(np.percentile(there, PERCENTILE), np.percentile(back, PERCENTILE)))


def outline(mask: Mask) -> Mask:
    """The pixels of ``mask`` with a neighbor above, below, left or right that is not in it."""
    inner: Mask = ndimage.binary_erosion(mask)
    return mask & ~inner

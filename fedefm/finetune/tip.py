"""Where a catheter or guidewire ends, and how far from there a model thinks it does.

What a tip is has to be said for masks, which know no direction:

* All devices of a frame together have one center line, as a wire begins where its catheter ends.
  Of its pieces (8-connected), a device's is the one with the most pixels of that device.
* The device **enters** at the end of that piece which is nearest to the border of the frame; an end
  is a pixel with one neighbor on the line, and a line without ends may be entered anywhere. In a
  prediction it enters at the end that is nearest to where it enters in the truth.
* The **tip** is the pixel of the device that is the farthest from there along the line.

So the tip of a catheter is where its wire leaves it, or its own end, and loops and bends count by
their length. A device that runs through the frame from border to border has no tip to see, and what
is found then is the place where it leaves.

The tip distance is that of the two tips in a straight line. It is defined where the truth has the
device; where the prediction has none of it, it is the frame's diagonal.
"""

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from scipy.sparse import coo_array
from scipy.sparse.csgraph import dijkstra

from fedefm.finetune.centerline import centerline
from fedefm.finetune.hausdorff import Spacing, diagonal
from fedefm.finetune.overlap import Labels, Scores

Points = npt.NDArray[np.intp]  # (N, 2) rows and columns
_AROUND = np.ones((3, 3), dtype=int)
_FORWARD = np.array([(0, 1), (1, -1), (1, 0), (1, 1)])  # half of a pixel's neighbors


def tip_distance(predicted: Labels, truth: Labels, num_classes: int, spacing: Spacing) -> Scores:
    """Distance of the tips of each image and device of two label maps ``(B, H, W)``: ``(B, K-1)``.

    Args:
        spacing: ``(B, 2)`` height and width of a pixel of each image; nan gives nan.
    Returns:
        distances in the unit of ``spacing``; nan where the truth has no such device.
    """
    scores = np.full((len(truth), num_classes - 1), np.nan)
    for image, pixel in enumerate(spacing):
        if np.isnan(pixel).any() or not truth[image].any():
            continue
        found, true = _Lines(predicted[image]), _Lines(truth[image])
        for k in range(1, num_classes):
            if (true.labels == k).any():
                scores[image, k - 1] = _distance(found, true, k, pixel)
    return scores


def find_tip(labels: npt.NDArray[np.integer], device: int) -> tuple[int, int] | None:
    """Row and column of the tip of ``device`` in one label map (H, W); None where it has none."""
    if not (labels == device).any():
        return None
    piece = _Lines(labels).piece_of(device)
    row, column = _tip(piece, _entry(piece, labels.shape), labels, device)
    return int(row), int(column)


class _Lines:
    """A label map and the pieces of the center line of all its devices."""

    def __init__(self, labels: Labels) -> None:
        self.labels = labels
        self._pieces, _ = ndimage.label(centerline(labels > 0), structure=_AROUND)

    def piece_of(self, device: int) -> Points:
        """The pixels of the piece that has most of ``device``, which is in the label map.

        A device that is nowhere the middle of all has the center line of its own.
        """
        pieces, of_device = self._pieces, self.labels == device
        votes = np.bincount(pieces[(pieces > 0) & of_device], minlength=1)
        if not votes.any():
            pieces, _ = ndimage.label(centerline(of_device), structure=_AROUND)
            votes = np.bincount(pieces[pieces > 0])
        return np.argwhere(pieces == votes.argmax())


def _distance(found: _Lines, true: _Lines, device: int, spacing: Spacing) -> float:
    if not (found.labels == device).any():
        return diagonal(true.labels.shape, spacing)
    there, here = found.piece_of(device), true.piece_of(device)
    entry = _entry(here, true.labels.shape)
    ends = _ends(there)
    start: Points = ends[np.linalg.norm(ends - entry, axis=1).argmin()]
    apart = _tip(there, start, found.labels, device) - _tip(here, entry, true.labels, device)
    return float(np.linalg.norm(apart * spacing))


def _entry(piece: Points, shape: tuple[int, ...]) -> Points:
    ends = _ends(piece)
    to_border = np.minimum(ends, np.array(shape) - 1 - ends).min(axis=1)
    entry: Points = ends[to_border.argmin()]
    return entry


def _ends(piece: Points) -> Points:
    """Pixels with one neighbor or none; all of them where the line is closed."""
    neighbors = np.bincount(_links(piece).ravel(), minlength=len(piece))
    return piece[neighbors <= 1] if (neighbors <= 1).any() else piece


def _tip(piece: Points, entry: Points, labels: Labels, device: int) -> Points:
    start, end = _links(piece).T
    length = np.linalg.norm(piece[start] - piece[end], axis=1)
    graph = coo_array((length, (start, end)), shape=(len(piece), len(piece))).tocsr()
    (first,) = np.flatnonzero((piece == entry).all(axis=1))
    along = dijkstra(graph, directed=False, indices=first)
    of_device = labels[tuple(piece.T)] == device
    tip: Points = piece[np.where(of_device, along, -1).argmax()]
    return tip


def _links(piece: Points) -> npt.NDArray[np.intp]:
    """(L, 2) positions in ``piece`` of neighboring pixels, each pair once."""
    height, width = piece.max(axis=0) + 3
    place = np.full((height, width), -1)
    place[piece[:, 0] + 1, piece[:, 1] + 1] = np.arange(len(piece))
    found = []
    for down, right in _FORWARD:
        other = place[piece[:, 0] + 1 + down, piece[:, 1] + 1 + right]
        here = np.flatnonzero(other >= 0)
        found.append(np.column_stack([here, other[here]]))
    return np.concatenate(found)

"""Pictures of two patients that are one: copies that were scaled, compressed, brightened, cropped.

Such a pair is one person under two pseudonyms, or a picture that was filed twice. Where its halves
are in training and test, every figure on them is too good.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedefm.data.fingerprints import WINDOWS, Hashes, Thumbnail, likeness, view

# Measured on simulated and public sets. Copies mostly differ in 0 to 6 of 64 signs from a window
# and agree by 0.64 or more; chests, the most alike of pictures of two people, differ in 6 or more
# and agree by 0.74 there at most. Missed are faint pictures (subtracted angiograms, road maps)
# that were cropped, and pictures that were brightened until much of them is white.
FARTHEST = 12  # signs that may differ
ALIKE, ALIKE_PER_SIGN = 0.57, 0.03  # the less hashes agree, the more must the rest
NEAREST = 2  # pictures that each is compared with in full
ROWS_AT_ONCE = 512

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Print:
    """A picture as it is compared: its thumbnail and the hashes of the thumbnail's windows."""

    picture: Thumbnail
    hashes: Hashes


def near_duplicates(
    prints: Sequence[Print], owners: Sequence[int], progress: Progress | None = None
) -> list[tuple[int, int]]:
    """Pairs of positions (smaller first) of different ``owners`` that show the same picture.

    Takes time by the square of the number: some seconds for 10,000.
    """
    if len(set(owners)) < 2:
        return []
    stacked = np.stack([one.hashes for one in prints]).astype(np.float32)
    whose = np.asarray(owners)
    found: dict[tuple[int, int], bool] = {}
    for start in range(0, len(prints), ROWS_AT_ONCE):
        for one, other in _candidates(stacked, whose, start):
            pair = (min(one, other), max(one, other))
            if pair not in found:
                found[pair] = _is_same(prints[one], prints[other])
        if progress:
            progress(min(start + ROWS_AT_ONCE, len(prints)), len(prints))
    return sorted(pair for pair, same in found.items() if same)


def _candidates(
    stacked: NDArray[np.float32], whose: NDArray[np.int64], start: int
) -> list[tuple[int, int]]:
    """The nearest others of each row in a block, where they are near enough."""
    rows = slice(start, start + ROWS_AT_ONCE)
    agreement = np.full((len(stacked[rows]), len(stacked)), -64, np.float32)
    for window in range(len(WINDOWS)):  # a whole picture here may be a window there
        np.maximum(agreement, stacked[rows, 0] @ stacked[:, window].T, out=agreement)
    for window in range(1, len(WINDOWS)):
        np.maximum(agreement, stacked[rows, window] @ stacked[:, 0].T, out=agreement)
    agreement[whose[rows, None] == whose[None, :]] = -64
    count = min(NEAREST, len(stacked) - 1)
    nearest = np.argpartition(agreement, -count, axis=1)[:, -count:]
    near = np.take_along_axis(agreement, nearest, axis=1) >= 64 - 2 * FARTHEST
    return [(start + int(i), int(nearest[i, k])) for i, k in zip(*np.nonzero(near), strict=True)]


def _is_same(one: Print, other: Print) -> bool:
    """Whether one picture, or a window of it, has the fine structure of the other."""
    here = one.hashes[0].astype(int) @ other.hashes.T.astype(int)
    there = other.hashes[0].astype(int) @ one.hashes.T.astype(int)
    if there.max() > here.max():
        one, other, here = other, one, there
    signs = (64 - int(here.max())) / 2
    agreement = likeness(view(one.picture, 0), view(other.picture, int(here.argmax())))
    return agreement >= ALIKE + ALIKE_PER_SIGN * signs

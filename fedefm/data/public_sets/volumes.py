"""The slices of a volume, with the mask that has as many."""

from collections.abc import Iterator
from dataclasses import replace

from fedefm.data.found import Found
from fedefm.data.readers import count_frames
from fedefm.errors import DataError


def slices_of(item: Found) -> Iterator[Found]:
    """``item`` once for each slice of its mask's volume, or of its own where it has no mask.

    A volume that cannot be opened is given once: reading its image will tell why.
    """
    try:
        count = count_frames(item.mask or item.image)
    except DataError:
        count = 1
    for frame in range(count):
        yield replace(item, frame=frame)

"""How large an image may be: a file of a few kilobytes can claim one that fills the memory.

It is asked before anything is decoded, of what a file's header says and of what a compressed frame
inside it says: decoders believe the latter.
"""

import struct

from fedefm.data.unreadable import Unfit

# Film of 35 x 43 cm, scanned at 50 micrometers, has 60 million pixels, mammograms have 30, the
# largest detectors 20; CT slices have 4 at most, and slides of tissue come in tiles. To decode this
# many takes 1 GB, of color 1.6 and of double precision 1.9, so that two processes fit into 8.
LARGEST_PIXELS = 2**26  # of a frame
LARGEST_SIDE = 65_535  # pixels, as in DICOM; else frames of nothing would have no end

JPEG_START, JPEG_2000_START = b"\xff\xd8", b"\xff\x4f\xff\x51"
BOX, BOXES = b"\0\0\0\x0cjP  ", 4096  # some JPEG 2000 lies in a file format's boxes
# Markers of frames (ITU-T T.81, B.1.1.3), and that of JPEG-LS (T.87, C.1.1).
FRAMES = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})
WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9), 0xFF})


def within_limits(height: int, width: int) -> tuple[int, int]:
    """The same height and width. Raises Unfit where no image of the body has so many pixels."""
    if min(height, width) < 1 or height * width > LARGEST_PIXELS:
        raise Unfit(
            f"it says that it has {width} x {height} pixels; from 1 to {LARGEST_PIXELS:,} are "
            "read, so cut what is larger into tiles"
        )
    if max(height, width) > LARGEST_SIDE:
        raise Unfit(f"it says that it has {width} x {height} pixels; a side has {LARGEST_SIDE:,}")
    return height, width


def claimed_size(frame: bytes) -> tuple[int, int] | None:
    """Height and width that a JPEG, JPEG-LS or JPEG 2000 frame says it has; None of other kinds."""
    start = frame.find(JPEG_2000_START, 0, BOXES if frame.startswith(BOX) else 4)
    if start >= 0 and len(frame) >= start + 24:  # T.800, A.5.1
        right, bottom, left, top = struct.unpack_from(">4I", frame, start + 8)
        return bottom - top, right - left
    return _size_of_jpeg(frame) if frame.startswith(JPEG_START) else None


def _size_of_jpeg(frame: bytes) -> tuple[int, int] | None:
    place = 2
    while place + 9 <= len(frame) and frame[place] == 0xFF:
        marker = frame[place + 1]
        if marker in FRAMES:
            height, width = struct.unpack_from(">HH", frame, place + 5)
            return height, width
        skipped = 0 if marker in WITHOUT_LENGTH else struct.unpack_from(">H", frame, place + 2)[0]
        place += 1 if marker == 0xFF else 2 + skipped
    return None

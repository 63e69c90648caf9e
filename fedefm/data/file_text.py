"""Which image files carry anything besides pixels, where a patient's name may stand.

DICOM and NIfTI headers, TIFF tags, EXIF blocks, comments. Libraries pass over what they do not
know: chunks and segments of a manufacturer's own, and bytes behind the picture. So a file counts as
free of text only if every part of it is known here, by PNG (ISO/IEC 15948, 11.3), JPEG (ITU-T T.81,
Annex B) or NumPy, and has no room for a name; other kinds count as files with text. A palette of
PNG has that room, and so has the header of an array, unless it is as NumPy writes it.
"""

import re
from collections.abc import Callable
from io import BytesIO
from mmap import ACCESS_READ, mmap
from pathlib import Path

import numpy as np

SHARED = (".png", ".jpg", ".jpeg", ".npy")  # kinds that can be free of text

PNG_START = b"\x89PNG\r\n\x1a\n"
PNG_CHUNKS = {  # and the most bytes of each
    **{b"IHDR": 13, b"IDAT": 2**31, b"IEND": 0, b"tRNS": 6, b"gAMA": 4},
    **{b"sRGB": 1, b"sBIT": 4, b"bKGD": 6, b"pHYs": 9},
}

JPEG_START, JPEG_END, JPEG_SCAN = 0xD8, 0xD9, 0xDA
JPEG_TABLES = frozenset([*range(0xC0, 0xD0), 0xDB, 0xDC, 0xDD])  # frame, coding, quantization
JPEG_NOTES = {0xE0: (b"JFIF\0", 14), 0xEE: (b"Adobe", 12)}  # how they begin, and their length
JPEG_MARKER = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])")  # the next one in coded data


def may_name_patient(path: Path) -> bool:
    """Whether a file that can be read holds, or may hold, more than pixels."""
    suffix = path.suffix.lower()
    if suffix not in SHARED:
        return True
    if suffix == ".npy":
        return not _is_plain_array(path)
    known: Callable[[mmap], bool] = _is_plain_png if suffix == ".png" else _is_plain_jpeg
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
        return not known(content)


def _is_plain_array(path: Path) -> bool:
    """The header is a Python expression, with comments if somebody wrote them."""
    array, header = np.lib.format.open_memmap(path, mode="r"), BytesIO()
    facts = np.lib.format.header_data_from_array_1_0(array)
    np.lib.format.write_array_header_1_0(header, facts)
    with path.open("rb") as file:
        as_written = file.read(array.offset) == header.getvalue()
    return as_written and path.stat().st_size == array.offset + array.nbytes


def _is_plain_png(content: mmap) -> bool:
    if content[:8] != PNG_START:
        return False
    place = 8
    while place + 12 <= len(content):
        length = int.from_bytes(content[place : place + 4], "big")
        kind = content[place + 4 : place + 8]
        if length > PNG_CHUNKS.get(kind, -1):
            return False
        place += 12 + length
        if kind == b"IEND":
            return place == len(content)
    return False


def _is_plain_jpeg(content: mmap) -> bool:
    if content[:2] != bytes([0xFF, JPEG_START]):
        return False
    place = 2
    while found := JPEG_MARKER.match(content, place):
        marker, place = found[1][0], found.end()
        if marker == JPEG_END:
            return place == len(content)
        length = int.from_bytes(content[place : place + 2], "big")
        segment = content[place + 2 : place + length]
        start, most = JPEG_NOTES.get(marker, (b"", 0))
        note = bool(start) and segment.startswith(start) and len(segment) == most
        if length < 2 or not (note or marker in JPEG_TABLES or marker == JPEG_SCAN):
            return False
        place += length
        if marker == JPEG_SCAN:
            ahead = JPEG_MARKER.search(content, place)
            place = ahead.start() if ahead else len(content)
    return False

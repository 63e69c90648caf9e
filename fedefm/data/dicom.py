"""DICOM images, single- and multi-frame, as gray frames in [0, 1].

A frame is read from the file and decoded when it is asked for, alone: a run of a thousand frames
takes no more memory than one of ten. Values that lie outside the stored bits are masked, color is
RGB. How stored values become gray: ``fedefm.data.dicom_gray``.
"""

import zlib
from pathlib import Path
from struct import unpack
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.filereader import read_file_meta_info
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import as_pixel_options, pixel_array
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian

from fedefm.data.dicom_decoders import (
    refuse_other_compression,
    refuse_unknown_compression,
    set_up,
)
from fedefm.data.dicom_gray import shown
from fedefm.data.limits import claimed_size, within_limits
from fedefm.data.sop_class import holds_image
from fedefm.data.unreadable import Unfit

LARGEST_FRAMES = 100_000  # of a file: an hour of fluoroscopy at 30 frames a second
LARGEST_INFLATED = 2**31  # bytes of a deflated file, which is inflated as a whole
PIXEL_DATA = (0x7FE0, 0x0010)

set_up()


class DicomStack:
    """An opened DICOM file. Raises Unfit or what pydicom raises where it cannot be read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._header, self._start = read_header(path)
        if not holds_image(self._header):
            raise Unfit("it is DICOM without an image")
        self._syntax = self._header.file_meta.get("TransferSyntaxUID")
        if not self._syntax:
            raise Unfit("it does not say its transfer syntax")
        self.count, self.size = extent(self._header, path)
        refuse_unknown_compression(self._syntax, int(self._header.BitsStored))

    def gray(self, frame: int) -> NDArray[np.float32]:
        """(H, W) in [0, 1]."""
        return shown(self.values(frame), self._header, frame)

    def values(self, frame: int) -> NDArray[Any]:
        """Stored values (H, W), or (H, W, 3) in RGB."""
        if self._syntax == DeflatedExplicitVRLittleEndian:
            return pixel_array(self._header, index=frame)  # inflated as a whole
        with self._path.open("rb") as file:
            file.seek(self._start)
            options = as_pixel_options(self._header, **_pixel_element(file, self._header))
            if self._syntax.is_encapsulated:
                _refuse_bad_frame(file, frame, self.count, self._syntax)
            decoder = get_decoder(self._syntax)
            return decoder.as_array(file, index=frame, **options)[0]


def read_header(path: Path) -> tuple[Dataset, int]:
    """All attributes before the pixels, and where in the file the pixels' element starts.

    A deflated file is inflated whole, with its pixels. Raises what pydicom raises.
    """
    with path.open("rb") as file:
        if _is_deflated(file, path):
            _refuse_bomb(file)
            return dcmread(path), 0
        file.seek(0)
        header = dcmread(file, stop_before_pixels=True)
        return header, file.tell()


def extent(header: Dataset, path: Path) -> tuple[int, tuple[int, int]]:
    """How many frames, and their height and width. Raises Unfit where no file can hold so much."""
    count = int(header.get("NumberOfFrames") or 1)
    height, width = int(header.Rows), int(header.Columns)
    if height < 1 or width < 1 or count < 1:
        raise Unfit(f"it says that it holds {count} frames of {width} x {height} pixels")
    within_limits(height, width)
    if count > LARGEST_FRAMES or count > path.stat().st_size:
        raise Unfit(f"it says that it holds {count} frames, more than can be in it")
    return count, (height, width)


def _pixel_element(file: BinaryIO, header: Dataset) -> dict[str, Any]:
    """What the decoder has to know of the pixels' element; the file is left where they begin."""
    syntax = header.file_meta.TransferSyntaxUID
    known = {"transfer_syntax_uid": syntax, "pixel_keyword": "PixelData"}
    start = file.read(8)
    if (
        len(start) < 8
        or unpack("<HH" if syntax.is_little_endian else ">HH", start[:4]) != PIXEL_DATA
    ):
        raise Unfit("it is DICOM without pixel data")
    kind = start[4:6]
    if kind not in (b"OB", b"OW", b"UN"):  # implicit, whatever the syntax says
        return known
    file.read(4)  # the length
    return known | {"pixel_vr": kind.decode()}


def _refuse_bad_frame(file: BinaryIO, frame: int, count: int, syntax: UID) -> None:
    """By how a compressed frame begins and which size it says it has, whatever the header says."""
    start = file.tell()
    content = get_frame(file, frame, number_of_frames=count)
    refuse_other_compression(syntax, content)
    size = claimed_size(content)
    if size is not None:
        within_limits(*size)
    file.seek(start)


def _is_deflated(file: BinaryIO, path: Path) -> bool:
    """A look at the first bytes, and at the syntax itself only where they hold its name."""
    if DeflatedExplicitVRLittleEndian.encode() not in file.read(1024):
        return False
    return bool(
        read_file_meta_info(path).get("TransferSyntaxUID") == DeflatedExplicitVRLittleEndian
    )


def _refuse_bomb(file: BinaryIO) -> None:
    """A few deflated kilobytes can stand for terabytes of zeros; counting them takes no memory."""
    inflater, inflated = zlib.decompressobj(-zlib.MAX_WBITS), 0
    file.seek(0)
    preamble = file.read(144)
    length = int.from_bytes(preamble[140:144], "little")  # of the file meta group (PS3.10, 7.1)
    rest = file.seek(144 + length) and b""
    while not inflater.eof and (block := rest or file.read(1 << 16)):
        inflated += len(inflater.decompress(block, 1 << 20))
        rest = inflater.unconsumed_tail
        if inflated > LARGEST_INFLATED:
            raise Unfit("it is deflated, and inflates to more than 2 GiB")

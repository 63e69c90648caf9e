"""MetaImage: a text header ``.mhd`` with voxels in a file beside it, or ``.mha`` with both.

The keys are those of ITK's MetaIO, https://itk.org/Wiki/MetaIO/Documentation. The file of voxels
has to lie beside its header: a header may not point anywhere else.
"""

import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fedefm.data.intensity import rescale, to_unit, unit_range
from fedefm.data.limits import within_limits
from fedefm.data.unreadable import Unfit

LARGEST_HEADER = 64 * 1024  # bytes
LARGEST_MAPPED = 8 * 1024**3  # bytes; they stay on the disk
LARGEST_UNPACKED = 2 * 1024**3  # bytes, in memory
HERE = "LOCAL"  # the voxels follow the header
SAMPLE = 4  # every so many pixels along each side of a slice tell the percentiles of a volume
TYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}


@dataclass(frozen=True)
class Header:
    """What is needed of a header. ``shape`` is (slices, height, width)."""

    shape: tuple[int, int, int]
    dtype: np.dtype[Any]
    voxels: Path  # the file that holds them
    start: int  # where they begin in it
    packed: bool  # by zlib
    spacing: tuple[float, ...] = ()  # millimeters that a pixel is wide and high, if it says so


class MetaImageStack:
    """A volume, slice by slice; plain voxels stay on disk until their slice is asked for."""

    def __init__(self, path: Path) -> None:
        header = read_header(path)
        self._volume = _unpacked(header) if header.packed else _mapped(header)
        self.count, self.size = header.shape[0], (header.shape[1], header.shape[2])

    def gray(self, frame: int) -> NDArray[np.float32]:
        values = self.values(frame)
        return to_unit(values) if values.dtype == np.uint8 else rescale(values, *self._window)

    def values(self, frame: int) -> NDArray[Any]:
        return np.array(self._volume[frame])

    @cached_property
    def _window(self) -> tuple[float, float]:
        return unit_range(np.asarray(self._volume[:, ::SAMPLE, ::SAMPLE]))


def read_header(path: Path) -> Header:
    """Raises Unfit where it is no MetaImage, or none of one gray value a voxel."""
    with path.open("rb") as file:
        text = file.read(LARGEST_HEADER)
    entries, end = _entries(text)
    if entries.get("ElementNumberOfChannels", "1") != "1":
        raise Unfit("holds several values a voxel; one gray value is needed")
    kind = TYPES.get(entries.get("ElementType", ""))
    if kind is None:
        raise Unfit(f"has voxels of an unknown ElementType; known are {', '.join(TYPES)}")
    name = entries["ElementDataFile"]
    if name != HERE and (Path(name).name != name or "\\" in name):
        raise Unfit("names a file of voxels that is not beside it")
    voxels = path if name == HERE else path.with_name(name)
    if not voxels.is_file():
        raise Unfit("names a file of voxels that is not there")
    return Header(
        _shape(entries.get("DimSize", "")),
        np.dtype((">" if _is_true(entries, "ByteOrderMSB") else "<") + kind),
        voxels,
        end if name == HERE else _whole_number(entries.get("HeaderSize", "0")),
        _is_true(entries, "CompressedData"),
        _spacing(entries.get("ElementSpacing", "")),
    )


def _entries(text: bytes) -> tuple[dict[str, str], int]:
    """The header's ``key = value`` lines, and where the last of them ends."""
    entries: dict[str, str] = {}
    end = 0
    for line in text.splitlines(keepends=True):
        key, equals, value = line.decode("latin-1").partition("=")
        end += len(line)
        if not equals:
            break
        entries[key.strip()] = value.strip()
        if key.strip() == "ElementDataFile":
            return entries, end
    raise Unfit("has no line ElementDataFile; it is not MetaImage")


def _shape(text: str) -> tuple[int, int, int]:
    sides = [int(side) for side in text.split() if side.isdecimal() and len(side) < 10]
    if len(sides) not in (2, 3) or len(sides) != len(text.split()) or min(sides) < 1:
        raise Unfit("has no DimSize of two or three whole numbers above 0")
    width, height, slices = (*sides, 1)[:3]
    return slices, *within_limits(height, width)


def _spacing(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(side) for side in text.split()[:2])
    except ValueError:  # the image can be used all the same
        return ()


def _whole_number(text: str) -> int:
    if not (text.isdecimal() and len(text) < 10):
        raise Unfit("has a HeaderSize that is not a whole number from 0")
    return int(text)


def _is_true(entries: dict[str, str], ending: str) -> bool:
    return any(value.lower() == "true" for key, value in entries.items() if key.endswith(ending))


def _mapped(header: Header) -> NDArray[Any]:
    needed = _bytes_of(header, LARGEST_MAPPED)
    if header.voxels.stat().st_size < header.start + needed:
        raise Unfit(f"needs {needed:,} bytes of voxels, and its file is shorter")
    return np.memmap(header.voxels, header.dtype, "r", header.start, header.shape)


def _unpacked(header: Header) -> NDArray[Any]:
    needed = _bytes_of(header, LARGEST_UNPACKED)
    with header.voxels.open("rb") as file:
        file.seek(header.start)
        voxels = zlib.decompressobj().decompress(file.read(), needed)  # never more than it says
    if len(voxels) < needed:
        raise Unfit(f"needs {needed:,} bytes of voxels, and its file is shorter")
    return np.frombuffer(voxels, header.dtype).reshape(header.shape)


def _bytes_of(header: Header, most: int) -> int:
    slices, height, width = header.shape
    needed = slices * height * width * header.dtype.itemsize
    if needed > most:
        raise Unfit(f"would take {needed:,} bytes; such a volume takes no more than {most:,}")
    return needed

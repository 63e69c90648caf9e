"""Image files of any kind a hospital has, read as gray frames in [0, 1].

PNG, JPEG, TIFF (also multi-page), GIF and PGM by Pillow, ``.npy`` by NumPy, NIfTI by nibabel, DICOM
by pydicom, MetaImage (``.mhd``, ``.mha``) here. Every file is a stack of frames: a plain image has
one, a multi-frame DICOM, TIFF or GIF has many, a volume one for each slice along its last axis.

How values become [0, 1] (a pure function of file and frame):

* 8 bits and fewer: the range of the type; color becomes luminance (ITU-R 601).
* floats that lie in [0, 1] already: as they are.
* wider integers and other floats: linear between the 0.5 and 99.5 percentiles of the frame, or
  of its volume. The range of the type would leave 12-bit data in 16-bit files almost black.
* DICOM: see ``fedefm.data.dicom``.
"""

import logging
import math
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import nibabel
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fedefm.data.dicom import DicomStack
from fedefm.data.intensity import luminance, rescale, to_unit, unit_range
from fedefm.data.limits import within_limits
from fedefm.data.metaimage import MetaImageStack
from fedefm.data.unreadable import Unfit, UnreadableImage, unreadable
from fedefm.errors import DataError

# Of what Pillow knows; it goes by content, and PostScript, for one, would be run by Ghostscript.
PICTURES = ("PNG", "JPEG", "TIFF", "GIF", "PPM", "BMP")
# What they say of damaged files beside what they raise would be lines without a file's name.
warnings.filterwarnings("ignore", module="PIL")
for _library in ("nibabel", "PIL"):
    logging.getLogger(_library).setLevel(logging.CRITICAL)

TILE_WIDTH, TILE_HEIGHT = 322, 323  # tags of TIFF; a small page may be cut from one huge tile
LARGEST_LABEL = 2**31
MOST_PAGES = 10_000  # of a TIFF: ten minutes of fluoroscopy
LARGEST_VOLUME = 2**29  # voxels: a slice of .nii.gz takes the volume into memory

Gray = NDArray[np.float32]
Labels = NDArray[np.int64]


class Stack(Protocol):
    """An opened file: ``count`` frames of ``size`` (height, width) pixels."""

    count: int
    size: tuple[int, int]

    def gray(self, frame: int) -> Gray:
        """(H, W) in [0, 1]."""

    def values(self, frame: int) -> NDArray[Any]:
        """(H, W) or (H, W, channels) as stored: what a mask means."""


def read_image(path: Path, frame: int = 0) -> Gray:
    """Frame ``frame`` of the file, float32 (H, W) in [0, 1]. Raises DataError naming the file.

    The files opened last stay open, so reading a file's frames in turn opens it once.
    """
    return _decode(path, frame, _gray_of)


def read_mask(path: Path, frame: int = 0) -> Labels:
    """Label values of a mask, int64 (H, W). Raises DataError naming the file.

    The values are taken as they are stored (palette index, gray value, voxel), except that a mask
    of nothing but 0 and 255 is a two-class mask: 255 becomes 1.
    """
    return _decode(path, frame, _labels_of)


def count_frames(path: Path) -> int:
    """How many frames the file holds. Raises DataError naming the file."""
    return _opened(path).count


def frame_size(path: Path) -> tuple[int, int]:
    """Height and width of the file's frames, without decoding them. Raises DataError naming it."""
    return _opened(path).size


def read_frames(path: Path) -> Iterator[Gray]:
    """All frames of the file in turn, as ``read_image`` gives them, one in memory at a time."""
    for frame in range(count_frames(path)):
        yield read_image(path, frame)


def is_image_file(path: Path) -> bool:
    """Whether the file's name, or the mark of DICOM inside it, says that these readers know it."""
    if _suffix(path) in _OPENERS:
        return path.is_file()
    return path.is_file() and _is_dicom(path)


class _PillowStack:
    """PNG, JPEG, TIFF, GIF, PGM, BMP."""

    def __init__(self, path: Path) -> None:
        self._image = Image.open(path, formats=PICTURES)
        if self._image.format == "TIFF":
            _refuse_endless_pages(path)
        self.count = int(getattr(self._image, "n_frames", 1))
        self.size = self._checked_size()

    def gray(self, frame: int) -> Gray:
        self._seek(frame)
        if self._image.mode in ("P", "PA", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV", "La"):
            return luminance(np.asarray(self._image.convert("RGB")))
        if self._image.mode == "LA":
            return to_unit(np.asarray(self._image.convert("L")))
        return to_unit(np.asarray(self._image))

    def values(self, frame: int) -> NDArray[Any]:
        self._seek(frame)
        return np.asarray(self._image)

    def _seek(self, frame: int) -> None:
        self._image.seek(frame)
        self._checked_size()  # pages have sizes of their own

    def _checked_size(self) -> tuple[int, int]:
        tags = getattr(self._image, "tag_v2", {})
        within_limits(int(tags.get(TILE_HEIGHT, 1)), int(tags.get(TILE_WIDTH, 1)))
        return within_limits(self._image.height, self._image.width)


class _NumpyStack:
    """``.npy``: (H, W), frames first (N, H, W), or one color image (H, W, 3 or 4)."""

    def __init__(self, path: Path) -> None:
        with np.errstate(over="ignore"):  # of a size that no file has; it is refused all the same
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        if array.ndim not in (2, 3) or array.dtype.kind not in "biuf":
            raise Unfit(f"holds {array.dtype} values on {array.ndim} axes, not images")
        single = array.ndim == 2 or array.shape[-1] in (3, 4)
        self._frames = array[None] if single else array
        self.count = self._frames.shape[0]
        if self.count == 0:
            raise Unfit("holds no frames")
        self.size = within_limits(self._frames.shape[1], self._frames.shape[2])

    def gray(self, frame: int) -> Gray:
        return to_unit(self.values(frame))

    def values(self, frame: int) -> NDArray[Any]:
        return np.array(self._frames[frame])


class _NiftiStack:
    """NIfTI: slices along the third axis, turned so that the second axis points up.

    A file of two axes is a picture instead, and its second axis points down (CAMUS).

    Several volumes in one file (channels, times) follow each other: all slices of the first, then
    all of the second.
    """

    def __init__(self, path: Path) -> None:
        image: Any = nibabel.load(path)
        shape = tuple(image.shape) + (1,) * (3 - len(image.shape))
        if not 0 < math.prod(shape) <= LARGEST_VOLUME:
            raise Unfit(f"a volume of {' x '.join(map(str, shape))} voxels cannot be read")
        self._proxy, self._slices = image.dataobj, shape[2]
        self._picture = len(image.shape) == 2
        self._volume: NDArray[Any] | None = None
        self._ranges: dict[int, tuple[float, float]] = {}
        self.count, self.size = math.prod(shape[2:]), within_limits(shape[1], shape[0])

    def gray(self, frame: int) -> Gray:
        values = self.values(frame)
        return to_unit(values) if values.dtype == np.uint8 else rescale(values, *self._range(frame))

    def values(self, frame: int) -> NDArray[Any]:
        stored = self._whole()[:, :, frame]
        return stored.T if self._picture else np.rot90(stored)

    def _whole(self) -> NDArray[Any]:
        if self._volume is None:  # .nii.gz is one stream: a slice costs as much as the volume
            sides = (self.size[1], self.size[0], self.count)
            self._volume = np.asarray(self._proxy).reshape(sides, order="F")
        return self._volume

    def _range(self, frame: int) -> tuple[float, float]:
        """Of the whole volume that a slice is of; to find it takes as long as a hundred slices."""
        start = frame - frame % self._slices
        if start not in self._ranges:
            self._ranges[start] = unit_range(self._whole()[:, :, start : start + self._slices])
        return self._ranges[start]


def _refuse_endless_pages(path: Path) -> None:
    """Pages of a few bytes each take Pillow the longer, the more of them there are."""
    with Image.open(path, formats=("TIFF",)) as image:  # seeking beyond the end spoils its count
        try:
            image.seek(MOST_PAGES)
        except EOFError:
            return
    raise Unfit(f"holds more than {MOST_PAGES:,} pages")


_OPENERS: dict[str, Callable[[Path], Stack]] = {
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".tif", ".tiff", ".gif"), _PillowStack),
    **dict.fromkeys((".pgm", ".ppm", ".bmp"), _PillowStack),
    ".npy": _NumpyStack,
    **dict.fromkeys((".nii", ".nii.gz"), _NiftiStack),
    **dict.fromkeys((".mhd", ".mha"), MetaImageStack),
    **dict.fromkeys((".dcm", ".dicom", ".ima"), DicomStack),
}

KEPT_OPEN = 4  # an image and its mask in turn, and a little more
_threads = threading.local()  # Pillow's open files are not safe to share between threads


def _opened(path: Path) -> Stack:
    """The stack at ``path``; the last few stay open for as long as their files are unchanged."""
    try:
        status = path.stat()
        key = (str(path), status.st_mtime_ns, status.st_size)
        stacks: dict[tuple[str, int, int], Stack] = _threads.__dict__.setdefault("stacks", {})
        stack = stacks.pop(key, None) or _opener(path)(path)
        stacks[key] = stack  # the newest is last
        if len(stacks) > KEPT_OPEN:
            del stacks[next(iter(stacks))]
        return stack
    except FileNotFoundError:
        raise UnreadableImage(path, "does not exist") from None
    except IsADirectoryError:
        raise UnreadableImage(path, "is a folder, not an image") from None
    except DataError:
        raise
    except Exception as error:  # decoders raise whatever they trip over in a corrupt file
        raise unreadable(path, error) from error


def _decode(path: Path, frame: int, how: Callable[[Stack, int], NDArray[Any]]) -> NDArray[Any]:
    stack = _opened(path)
    if not 0 <= frame < stack.count:
        raise UnreadableImage(path, f"has no frame {frame}; it has {stack.count}, counted from 0")
    try:
        return how(stack, frame)
    except Exception as error:  # as above
        raise unreadable(path, error) from error


def _gray_of(stack: Stack, frame: int) -> Gray:
    with np.errstate(invalid="ignore", over="ignore"):  # of infinite values; told below
        gray = stack.gray(frame)
    if not np.isfinite(gray).all():
        raise Unfit("holds values that are not numbers")
    return gray


def _labels_of(stack: Stack, frame: int) -> Labels:
    values = stack.values(frame)
    if values.ndim == 3:
        values = _one_channel(values)
    whole = values.dtype.kind != "f" or np.array_equal(values, np.rint(values))
    if not whole or (values.dtype.kind == "f" and np.abs(values).max(initial=0) > LARGEST_LABEL):
        raise Unfit("a mask holds whole label values")
    labels = values.astype(np.int64)
    if labels.size and labels.min() < 0:
        raise Unfit("a mask holds no negative label values")
    binary = labels.max(initial=0) == 255 and not ((labels != 0) & (labels != 255)).any()
    return np.minimum(labels, 1) if binary else labels


def _one_channel(values: NDArray[Any]) -> NDArray[Any]:
    """The gray channel of a mask that some tool has saved as color."""
    colors = values[..., : 1 if values.shape[-1] == 2 else 3]
    if (colors != colors[..., :1]).any():
        raise Unfit("a mask holds one label value a pixel, not colors")
    return colors[..., 0]


def _opener(path: Path) -> Callable[[Path], Stack]:
    opener = _OPENERS.get(_suffix(path))
    if opener is None and _is_dicom(path):  # exports often have no suffix
        opener = DicomStack
    if opener is None:
        raise UnreadableImage(path, f"is of no known kind; known are {', '.join(_OPENERS)}")
    return opener


def _suffix(path: Path) -> str:
    name = path.name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else Path(name).suffix


def _is_dicom(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"

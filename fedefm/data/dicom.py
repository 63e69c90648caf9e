"""DICOM images, single- and multi-frame, as gray frames in [0, 1].

The grayscale pipeline of the standard (PS3.3, C.11): rescale slope and intercept, then the first
VOI look-up table or window, then MONOCHROME1 inverted, so that a large value is bright everywhere.
Without a window, 8 stored bits keep their range and more bits are taken between the 0.5 and 99.5
percentiles of the frame.
"""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut, apply_voi_lut
from pydicom.pixels.utils import pixel_array

from fedefm.data.intensity import rescale, to_unit

# What pydicom warns of quotes the attributes of patients.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
warnings.filterwarnings("ignore", module="pydicom")


class DicomStack:
    """An opened DICOM file; a frame is decoded when it is asked for, alone."""

    def __init__(self, path: Path) -> None:
        self._dataset = pydicom.dcmread(path)
        if "PixelData" not in self._dataset:
            raise ValueError("a DICOM file without pixel data")
        _refuse_unknown_compression(self._dataset)
        self.count = int(self._dataset.get("NumberOfFrames") or 1)
        self.size = (int(self._dataset.Rows), int(self._dataset.Columns))

    def gray(self, frame: int) -> NDArray[np.float32]:
        """(H, W) in [0, 1]."""
        stored = self.values(frame)
        kind = str(self._dataset.PhotometricInterpretation)
        if kind == "PALETTE COLOR":
            stored = apply_color_lut(stored, self._dataset)
        if stored.ndim == 3:
            return to_unit(stored)
        gray = self._shown(stored, frame)
        return 1 - gray if kind == "MONOCHROME1" else gray

    def values(self, frame: int) -> NDArray[Any]:
        """Stored values (H, W), or (H, W, 3) in RGB."""
        return pixel_array(self._dataset, index=frame)

    def _shown(self, stored: NDArray[Any], frame: int) -> NDArray[np.float32]:
        values = stored * self._number("RescaleSlope", 1.0, frame)
        values = values + self._number("RescaleIntercept", 0.0, frame)
        if "VOILUTSequence" in self._dataset:
            table = apply_voi_lut(values.astype(np.int64), self._dataset)
            bits = int(self._dataset.VOILUTSequence[0].LUTDescriptor[2])
            return rescale(table, 0, 2**bits - 1)
        width = self._number("WindowWidth", 0.0, frame)
        if width > 0:
            shape = str(self._dataset.get("VOILUTFunction") or "LINEAR")
            return windowed(values, self._number("WindowCenter", 0.0, frame), width, shape)
        if int(self._dataset.BitsStored) <= 8 and np.array_equal(values, stored):
            return self._full_range(stored)
        return to_unit(values * 1.0)

    def _full_range(self, stored: NDArray[Any]) -> NDArray[np.float32]:
        levels = 2 ** int(self._dataset.BitsStored)
        low = -levels // 2 if int(self._dataset.PixelRepresentation) else 0
        return rescale(stored, low, low + levels - 1)

    def _number(self, name: str, otherwise: float, frame: int) -> float:
        """The first value of an attribute, from the file or its (enhanced) functional groups."""
        for group in self._groups(frame):
            value = group.get(name)
            if isinstance(value, MultiValue):
                value = value[0] if len(value) else None
            if value is not None and value != "":
                return float(value)
        return otherwise

    def _groups(self, frame: int) -> list[Dataset]:
        found: list[Dataset] = [self._dataset]
        for name, index in (
            ("PerFrameFunctionalGroupsSequence", frame),
            ("SharedFunctionalGroupsSequence", 0),
        ):
            sequence = self._dataset.get(name)
            if not sequence or index >= len(sequence):
                continue
            for inner in ("FrameVOILUTSequence", "PixelValueTransformationSequence"):
                found += list(sequence[index].get(inner) or [])[:1]
        return found


def patient_of(path: Path) -> str | None:
    """Whose image a DICOM file is (empty if it does not say); None for DICOM without an image.

    Reports, plans and directories lie among the images of an export. Raises what pydicom raises
    where the file is not DICOM.
    """
    header = pydicom.dcmread(path, stop_before_pixels=True)
    if "Rows" not in header:
        return None
    for name in ("PatientID", "StudyInstanceUID"):
        if header.get(name):
            return f"{name}/{header.get(name)}"
    return ""


def _refuse_unknown_compression(dataset: Dataset) -> None:
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax.is_encapsulated and not get_decoder(syntax).is_available:
        raise ValueError(
            f"its compression ({syntax.name}) needs a decoder that is not installed; "
            "pip install 'fedefm[dicom]' may have it, or decompress the file (gdcmconv --raw)"
        )


def windowed(
    values: NDArray[Any], center: float, width: float, shape: str = "LINEAR"
) -> NDArray[np.float32]:
    """A VOI window as PS3.3 C.11.2.1.2 defines it, to [0, 1]."""
    if shape == "SIGMOID":
        return (1 / (1 + np.exp(-4 * (values - center) / width))).astype(np.float32)
    if shape == "LINEAR_EXACT":
        return rescale(values, center - width / 2, center + width / 2)
    if width <= 1:  # the standard's LINEAR with width 1 is a threshold
        return (values > center - 0.5).astype(np.float32)
    half = (width - 1) / 2
    return rescale(values, center - 0.5 - half, center - 0.5 + half)

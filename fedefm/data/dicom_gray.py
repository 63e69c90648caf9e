"""From stored DICOM values to gray in [0, 1], as the standard shows them (PS3.3 C.11, PS3.4 N.2).

In turn: the modality look-up table, or rescale slope and intercept; the first VOI look-up table, or
the first window; inversion for MONOCHROME1 or an inverse presentation shape, so that a large value
is bright everywhere. Enhanced files say these for each frame. Without a window, 8 stored bits keep
their range and more bits are taken between the 0.5 and 99.5 percentiles of the frame. Padding
pixels are black and count in no percentile. The modality table of an X-ray angiogram leads back to
beam intensity and is not for display (PS3.4 N.2.5). Overlays, shutters and the mask of a
subtraction are not applied. Color becomes luminance (ITU-R BT.601).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.pixels.processing import apply_color_lut
from pydicom.uid import (
    EnhancedXAImageStorage,
    EnhancedXRFImageStorage,
    XRayAngiographicImageStorage,
    XRayRadiofluoroscopicImageStorage,
)

from fedefm.data.intensity import LUMINANCE, rescale, unit_range

ANGIOGRAMS = (
    XRayAngiographicImageStorage,
    XRayRadiofluoroscopicImageStorage,
    EnhancedXAImageStorage,
    EnhancedXRFImageStorage,
)


def shown(stored: NDArray[Any], header: Dataset, frame: int) -> NDArray[np.float32]:
    """Stored values (H, W), or RGB (H, W, 3), of one frame as (H, W) in [0, 1]."""
    if str(header.PhotometricInterpretation) == "PALETTE COLOR":
        return _luminance(_palette(stored, header), _palette_bits(header))
    if stored.ndim == 3:
        return _luminance(stored, int(header.BitsStored))
    padding = _padding(stored, header)
    gray = _windowed(stored, _modality(stored, header, frame), padding, header, frame)
    if _is_inverse(header):
        gray = 1 - gray
    return gray if padding is None else np.where(padding, np.float32(0), gray)


def windowed(
    values: NDArray[Any], center: float, width: float, shape: str = "LINEAR"
) -> NDArray[np.float32]:
    """A VOI window as PS3.3 C.11.2.1.2 defines it, to [0, 1]."""
    if shape == "SIGMOID":
        with np.errstate(over="ignore"):  # far below the window: exp is infinite, the gray 0
            return (1 / (1 + np.exp(-4 * (values - center) / width))).astype(np.float32)
    if shape == "LINEAR_EXACT":
        return rescale(values, center - width / 2, center + width / 2)
    if width <= 1:  # the standard's LINEAR with width 1 is a threshold
        return (values > center - 0.5).astype(np.float32)
    half = (width - 1) / 2
    return rescale(values, center - 0.5 - half, center - 0.5 + half)


def looked_up(values: NDArray[Any], descriptor: Any, data: Any) -> tuple[NDArray[Any], int]:
    """Values through a look-up table (PS3.3 C.11.1.1), and how many bits its entries have.

    pydicom's own function wraps indices around where the entries have 8 bits and are above 256.
    """
    count, first, bits = (int(number) for number in descriptor)
    entries = _entries(data, count & 0xFFFF or 1 << 16)
    if first >= 1 << 15 and values.min(initial=0) < 0:
        first -= 1 << 16  # signed, but written as unsigned
    index = np.clip(np.rint(values).astype(np.int64) - first, 0, len(entries) - 1)
    return entries[index], bits


def _entries(data: Any, count: int) -> NDArray[np.int64]:
    if isinstance(data, bytes):
        packed = len(data) in (count, count + 1) and count > 1  # two entries of 8 bits in a word
        data = np.frombuffer(data, np.uint8 if packed else "<u2")
    return np.atleast_1d(np.asarray(data, np.int64))[:count]


def _modality(stored: NDArray[Any], header: Dataset, frame: int) -> NDArray[Any]:
    if header.get("ModalityLUTSequence") and header.get("SOPClassUID") not in ANGIOGRAMS:
        table = header.ModalityLUTSequence[0]
        return looked_up(stored, table.LUTDescriptor, table.LUTData)[0]
    slope = number(header, "RescaleSlope", frame) or 1.0
    intercept = number(header, "RescaleIntercept", frame) or 0.0
    return stored if (slope, intercept) == (1, 0) else stored * slope + intercept


def _windowed(
    stored: NDArray[Any],
    values: NDArray[Any],
    padding: NDArray[np.bool_] | None,
    header: Dataset,
    frame: int,
) -> NDArray[np.float32]:
    for group in _groups(header, frame):
        if group.get("VOILUTSequence"):
            table = group.VOILUTSequence[0]
            found, bits = looked_up(values, table.LUTDescriptor, table.LUTData)
            return rescale(found, 0, 2**bits - 1)
        width, center = _first(group, "WindowWidth"), _first(group, "WindowCenter")
        if width and center is not None and width > 0:
            return windowed(values, center, width, str(group.get("VOILUTFunction") or "LINEAR"))
    if int(header.BitsStored) <= 8 and values is stored:
        return _full_range(stored, header)
    inside = values if padding is None or padding.all() else values[~padding]
    return rescale(values, *unit_range(inside))


def _full_range(stored: NDArray[Any], header: Dataset) -> NDArray[np.float32]:
    levels = 2 ** int(header.BitsStored)
    low = -levels // 2 if int(header.PixelRepresentation) else 0
    return rescale(stored, low, low + levels - 1)


def _padding(stored: NDArray[Any], header: Dataset) -> NDArray[np.bool_] | None:
    """Where pixels are no part of the image (PS3.3 C.7.5.1.1.2); None where nothing says so."""
    value = _first(header, "PixelPaddingValue")
    if value is None:
        return None
    limit = _first(header, "PixelPaddingRangeLimit")
    low, high = sorted((value, value if limit is None else limit))
    return (stored >= low) & (stored <= high)


def _is_inverse(header: Dataset) -> bool:
    """MONOCHROME1 and the shape INVERSE say the same thing: files that have one have both."""
    shape = str(header.get("PresentationLUTShape") or "")
    return str(header.PhotometricInterpretation) == "MONOCHROME1" or shape == "INVERSE"


def _luminance(color: NDArray[Any], bits: int) -> NDArray[np.float32]:
    gray = color[..., :3].astype(np.float32) @ LUMINANCE
    return rescale(gray, 0, 2**bits - 1)


def _palette(stored: NDArray[Any], header: Dataset) -> NDArray[Any]:
    """(H, W, 3) colors; tables in segments (C.7.9.2) are rare and left to pydicom."""
    if "RedPaletteColorLookupTableData" not in header:
        return apply_color_lut(stored, header)
    names = [f"{color}PaletteColorLookupTable" for color in ("Red", "Green", "Blue")]
    tables = [(header[f"{name}Descriptor"].value, header[f"{name}Data"].value) for name in names]
    return np.stack([looked_up(stored, *table)[0] for table in tables], axis=-1)


def _palette_bits(header: Dataset) -> int:
    return int(header.RedPaletteColorLookupTableDescriptor[2])


def number(header: Dataset, name: str, frame: int) -> float | None:
    """The first value of an attribute, for one frame of an enhanced file or for the whole file."""
    found = (_first(group, name) for group in _groups(header, frame))
    return next((value for value in found if value is not None), None)


def _first(group: Dataset, name: str) -> float | None:
    value = group.get(name)
    if isinstance(value, MultiValue):
        value = value[0] if len(value) else None
    return None if value is None or value == "" else float(value)


def _groups(header: Dataset, frame: int) -> list[Dataset]:
    """Where a frame's attributes stand: its functional groups, the shared ones, the file itself."""
    found: list[Dataset] = []
    for name, index in (
        ("PerFrameFunctionalGroupsSequence", frame),
        ("SharedFunctionalGroupsSequence", 0),
    ):
        sequence = header.get(name)
        if not sequence or index >= len(sequence):
            continue
        for inner in ("FrameVOILUTSequence", "PixelValueTransformationSequence"):
            found += list(sequence[index].get(inner) or [])[:1]
    return [*found, header]

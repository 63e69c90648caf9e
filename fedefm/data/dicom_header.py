"""What the header of a DICOM file says of its image, without looking at the pixels.

``patient``, ``series`` and ``called`` identify people and go no further than a pseudonym, an order
and a comparison.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import (
    ParametricMapStorage,
    RTDoseStorage,
    SegmentationStorage,
    SurfaceSegmentationStorage,
)

from fedefm.data.burned_in import doubt_of_text, sign_of_text
from fedefm.data.dicom import extent, read_header
from fedefm.data.dicom_decoders import fragile
from fedefm.data.person_words import person_words
from fedefm.data.sop_class import holds_image, sop_classes

NO_IMAGES = {SegmentationStorage, SurfaceSegmentationStorage, RTDoseStorage, ParametricMapStorage}
SLICES = ("CT", "MR", "PT", "NM")  # modalities whose images lie along an axis
# Terms of PS3.3 C.7.3.1.1.1 for images; what else stands there may be anything.
PROJECTIONS = ("XA", "RF", "DX", "CR", "MG", "IO", "PX", "RG", "TG")
PICTURES = ("US", "IVUS", "OCT", "IVOCT", "BI", "ES", "GM", "SM", "OP", "OPT", "XC", "OT")
MODALITIES = (*SLICES, *PROJECTIONS, *PICTURES)
KEPT = 1 << 16  # headers, some 500 bytes each


@dataclass(frozen=True)
class Facts:
    """What is known of an image before it is decoded; an empty string stands for nothing."""

    patient: str
    frames: int
    size: tuple[int, int]  # height and width
    rate: float | None  # frames a second
    text: str  # why text of a person is taken to be burned into the pixels
    doubt: str  # why it could be
    series: str
    modality: str
    position: float | None  # of a slice along its axis, in mm
    instance: int | None
    order: tuple[int, ...]  # the frames in order of position; as stored, if they have none
    spacing: float | None  # side of a square pixel, in mm
    fragile: bool  # a corrupt file may end the process that decodes it
    called: frozenset[str]  # words by which the patient is called

    @property
    def kind(self) -> str:
        """The modality in small letters, or ``dicom`` where it is none of the standard's."""
        return self.modality.lower() if self.modality in MODALITIES else "dicom"


def facts_of(path: Path) -> Facts | None:
    """What the header says; None for DICOM without an image: a report, a plan, a directory.

    Raises Unfit where the header is damaged, and what pydicom raises where the file is not DICOM.
    The last headers are kept.
    """
    status = path.stat()
    return _facts(path, status.st_mtime_ns, status.st_size)


def patient_of(path: Path) -> str | None:
    """Whose image a DICOM file is (empty if it does not say); None for DICOM without an image.

    Reports, plans and directories lie among the images of an export. Raises what pydicom raises
    where the file is not DICOM.
    """
    facts = facts_of(path)
    return None if facts is None else facts.patient


@lru_cache(maxsize=KEPT)
def _facts(path: Path, changed: int, size: int) -> Facts | None:
    header, _ = read_header(path)
    if not holds_image(header) or sop_classes(header) & NO_IMAGES:
        return None
    count, extents = extent(header, path)
    return Facts(
        patient=_patient(header),
        frames=count,
        size=extents,
        rate=_rate(header),
        text=sign_of_text(header),
        doubt=doubt_of_text(header),
        series=str(header.get("SeriesInstanceUID") or ""),
        modality=str(header.get("Modality") or ""),
        position=_position(header),
        instance=_whole(header, "InstanceNumber"),
        order=_order(header, count),
        spacing=_spacing(header),
        fragile=fragile(header.file_meta.get("TransferSyntaxUID")),
        called=person_words(header),
    )


def _patient(header: Dataset) -> str:
    for name in ("PatientID", "StudyInstanceUID"):
        if header.get(name):
            return f"{name}/{header.get(name)}"
    return ""


def _rate(header: Dataset) -> float | None:
    """From the time between frames, or else from how fast they were taken or are to be shown."""
    times = _numbers(header, "FrameTime") or _numbers(header, "FrameTimeVector")[1:]
    if times and np.mean(times) > 0:
        return float(1000 / np.mean(times))  # milliseconds
    for name in ("CineRate", "RecommendedDisplayFrameRate"):
        rate = _numbers(header, name)
        if rate and rate[0] > 0:
            return rate[0]
    return None


def _position(header: Dataset) -> float | None:
    """Along the normal of the slice; from its location where no plane is given."""
    corner = _numbers(header, "ImagePositionPatient")
    axes = _numbers(header, "ImageOrientationPatient")
    if len(corner) == 3 and len(axes) == 6:
        return float(np.dot(np.cross(axes[:3], axes[3:]), corner))
    location = _numbers(header, "SliceLocation")
    return location[0] if location else None


def _order(header: Dataset, count: int) -> tuple[int, ...]:
    """Frames of an enhanced CT or MR file by the position of their planes."""
    groups = header.get("PerFrameFunctionalGroupsSequence") or []
    if header.get("Modality") not in SLICES or len(groups) != count or count == 1:
        return tuple(range(count))
    places = [_plane(header, group) for group in groups]
    known = [place for place in places if place is not None]
    if len(known) < count:
        return tuple(range(count))
    return tuple(int(frame) for frame in np.argsort(known, kind="stable"))


def _plane(header: Dataset, group: Dataset) -> float | None:
    shared = list(header.get("SharedFunctionalGroupsSequence") or [])[:1]
    plane = Dataset()
    for holder in (*shared, group):
        for inner in ("PlanePositionSequence", "PlaneOrientationSequence"):
            for item in list(holder.get(inner) or [])[:1]:
                plane.update(item)
    return _position(plane)


def side_of_square(sides: Sequence[float]) -> float | None:
    """The side of a pixel from both of its sides; None where it is no square, or no size at all."""
    if len(sides) != 2 or not 0 < sides[0] < math.inf:
        return None
    return sides[0] if abs(sides[0] - sides[1]) < 1e-3 * sides[0] else None


def _spacing(header: Dataset) -> float | None:
    """The side of a pixel, where pixels are squares; of a projection at the detector."""
    shared = list(header.get("SharedFunctionalGroupsSequence") or [])[:1]
    holders = [
        header,
        *(item for group in shared for item in group.get("PixelMeasuresSequence") or []),
    ]
    for holder in holders:
        for name in ("PixelSpacing", "ImagerPixelSpacing"):
            if side := side_of_square(_numbers(holder, name)):
                return side
    return None


def _numbers(header: Dataset, name: str) -> list[float]:
    """The values of an attribute; none where they are no numbers, as in some exports."""
    value = header.get(name)
    if value is None or value == "":
        return []
    values = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    try:
        numbers = [float(each) for each in values]
    except (TypeError, ValueError):
        return []
    return numbers if np.isfinite(numbers).all() else []


def _whole(header: Dataset, name: str) -> int | None:
    numbers = _numbers(header, name)
    return int(numbers[0]) if numbers else None

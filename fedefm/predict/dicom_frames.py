"""The frames of a DICOM SEG that have no place in space, and point at their sources instead.

The segments in turn, each with the frames in which it was found, indexed by segment number and
temporal position (PS3.3 C.7.6.16.2.2, C.7.6.17, A.51.5).
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from fedefm.finetune.tiling import Mask

_SEGMENT, _SEGMENT_GROUP = 0x0062000B, 0x0062000A  # Referenced Segment Number, its macro
_TIME, _CONTENT_GROUP = 0x00209128, 0x00209111  # Temporal Position Index, Frame Content


@dataclass(frozen=True)
class MarkedFrame:
    """A frame of a DICOM file with its mask, which is read when it is needed."""

    path: Path
    frame: int  # within the file, from 0
    found: tuple[bool, ...]  # of each device class: whether it is in the mask
    mask: Callable[[], Mask]


def set_frames(
    seg: Dataset, frames: Sequence[MarkedFrame], headers: Mapping[Path, Dataset], classes: int
) -> None:
    """Put the masks of ``frames`` into ``seg``, for segments 1 to ``classes`` - 1.

    ``headers`` are those of the files. A segment has the frames in which it was found; where no
    segment was found in any, all have all of them, since a SEG has at least one.
    """
    nothing = not any(any(frame.found) for frame in frames)
    chosen = [
        (segment, index)
        for segment in range(1, classes)
        for index, frame in enumerate(frames)
        if nothing or frame.found[segment - 1]
    ]
    seg.NumberOfFrames = len(chosen)
    seg.PerFrameFunctionalGroupsSequence = [
        _functional_groups(segment, index, frames[index], headers[frames[index].path])
        for segment, index in chosen
    ]
    seg.DimensionIndexSequence = _dimensions(seg)
    _point_at(seg, list(headers.values()))
    if classes == 2:  # highdicom shares the only segment's number among the frames
        del seg.SharedFunctionalGroupsSequence[0].SegmentIdentificationSequence
    seg.PixelData = _packed(frames[index].mask() == segment for segment, index in chosen)


def _functional_groups(segment: int, index: int, frame: MarkedFrame, header: Dataset) -> Dataset:
    """One frame: which segment, which place in the run, and what it was derived from."""
    content = Dataset()
    content.DimensionIndexValues = [segment, index + 1]
    content.TemporalPositionIndex = index + 1
    identification = Dataset()
    identification.ReferencedSegmentNumber = segment
    source = _reference(header)
    if "NumberOfFrames" in header:
        source.ReferencedFrameNumber = frame.frame + 1
    source.SpatialLocationsPreserved = "YES"
    source.PurposeOfReferenceCodeSequence = [
        _code("121322", "Source Image for Image Processing Operation")
    ]
    derivation = Dataset()
    derivation.SourceImageSequence = [source]
    derivation.DerivationCodeSequence = [_code("113076", "Segmentation")]
    groups = Dataset()
    groups.FrameContentSequence = [content]
    groups.SegmentIdentificationSequence = [identification]
    groups.DerivationImageSequence = [derivation]
    return groups


def _dimensions(seg: Dataset) -> list[Dataset]:
    organization = seg.DimensionOrganizationSequence[0].DimensionOrganizationUID
    items = []
    for pointer, group, label in (
        (_SEGMENT, _SEGMENT_GROUP, "Segment Number"),
        (_TIME, _CONTENT_GROUP, "Place in the run"),
    ):
        item = Dataset()
        item.DimensionIndexPointer = pointer
        item.FunctionalGroupPointer = group
        item.DimensionOrganizationUID = organization
        item.DimensionDescriptionLabel = label
        items.append(item)
    return items


def _point_at(seg: Dataset, headers: Sequence[Dataset]) -> None:
    """Name the instances that the SEG was derived from, for the image and for its series."""
    seg.SourceImageSequence = [_reference(header) for header in headers]
    series = Dataset()
    series.SeriesInstanceUID = headers[0].SeriesInstanceUID
    series.ReferencedInstanceSequence = [_reference(header) for header in headers]
    seg.ReferencedSeriesSequence = [series]


def _reference(header: Dataset) -> Dataset:
    reference = Dataset()
    reference.ReferencedSOPClassUID = header.SOPClassUID
    reference.ReferencedSOPInstanceUID = header.SOPInstanceUID
    return reference


def _code(value: str, meaning: str) -> Dataset:
    code = Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = value, "DCM", meaning
    return code


def _packed(frames: Iterator[npt.NDArray[np.bool_]]) -> bytes:
    """One bit a pixel, the first in the lowest, frames without a gap between (PS3.5 8.1.1, 8.2)."""
    packed, rest = bytearray(), np.zeros(0, bool)
    for frame in frames:
        bits = np.concatenate([rest, frame.ravel()])
        whole = len(bits) // 8 * 8
        packed += np.packbits(bits[:whole], bitorder="little").tobytes()
        rest = bits[whole:]
    packed += np.packbits(rest, bitorder="little").tobytes()
    return bytes(packed) + b"\0" * (len(packed) % 2)

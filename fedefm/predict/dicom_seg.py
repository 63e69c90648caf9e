"""Masks as a DICOM Segmentation (PS3.3 A.51), which a PACS files beside the images it belongs to.

A SEG names its patient, since that is how a PACS finds the study; it has to stay in the hospital.

Stacks with a place in space (CT, MR) are put together by highdicom alone. Angiography, ultrasound
and radiographs have no plane in a frame of reference. For these the standard asks that every frame
of the SEG has the pixels of the frame that it was derived from, and points at it (A.51.5). As
highdicom writes that for one frame only, it makes the object for one, and ``dicom_frames`` puts
the others in.
"""

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from fedefm.errors import DataError
from fedefm.predict.dicom_frames import MarkedFrame, set_frames
from fedefm.predict.highdicom_seg import Algorithm, made_of, refuse_without_highdicom

_EMPTY_IF_ABSENT = (  # type 2 in every image, and still missing in some
    *("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber"),
    *("StudyID", "StudyDate", "StudyTime", "ReferringPhysicianName"),
)
_REQUIRED = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID")


def segmentation(
    frames: Sequence[MarkedFrame], classes: tuple[str, ...], algorithm: Algorithm, number: int
) -> Dataset:
    """The SEG of ``frames``: of one multi-frame instance, or of single ones of one series.

    A segment for each of ``classes[1:]``, binary. Frames without any device are not in it, unless
    nothing was found at all. ``number`` tells the series of one prediction apart.

    Raises DataError where the files lack what a SEG has to say.
    """
    refuse_without_highdicom()
    headers = _headers(frames)
    if _has_place_in_space(list(headers.values())):
        try:
            return _in_space(frames, headers, classes, algorithm, number)
        except (ValueError, TypeError, AttributeError, KeyError, IndexError):
            pass  # uneven or incomplete geometry; pointing at the sources needs none
    try:
        return _by_reference(frames, headers, classes, algorithm, number)
    except OSError:
        raise
    except Exception as error:  # of a header's value, which may name the patient
        raise DataError(
            "no DICOM SEG was written: the source has a value that DICOM does not allow, such as "
            f"a date that is none ({type(error).__name__})"
        ) from None


def _headers(frames: Sequence[MarkedFrame]) -> dict[Path, Dataset]:
    headers: dict[Path, Dataset] = {}
    for path in dict.fromkeys(frame.path for frame in frames):
        header = pydicom.dcmread(path, stop_before_pixels=True)
        missing = [name for name in _REQUIRED if not header.get(name)]
        if missing:
            raise DataError(f"no DICOM SEG was written: the source has no {', '.join(missing)}")
        for name in _EMPTY_IF_ABSENT:
            if name not in header:
                setattr(header, name, None)
        headers[path] = header
    return headers


def _has_place_in_space(headers: Sequence[Dataset]) -> bool:
    """Whether all planes are placed in one frame of reference, each at a place of its own."""
    if len(headers) == 1 and "PerFrameFunctionalGroupsSequence" in headers[0]:
        return "FrameOfReferenceUID" in headers[0]
    needed = ("FrameOfReferenceUID", "ImagePositionPatient", "ImageOrientationPatient")
    measured = ("PixelSpacing", "SliceThickness")
    if any(not header.get(name) for header in headers for name in (*needed, *measured)):
        return False
    return len({tuple(header.ImagePositionPatient) for header in headers}) == len(headers)


def _in_space(
    frames: Sequence[MarkedFrame],
    headers: dict[Path, Dataset],
    classes: tuple[str, ...],
    algorithm: Algorithm,
    number: int,
) -> Dataset:
    """As highdicom has it: planes with positions, in their order in space."""
    sources = list(headers.values())
    if len(frames) < int(sources[0].get("NumberOfFrames") or 1) * len(sources):
        raise ValueError("some frames were not asked for, or not readable")
    masks = np.stack([frame.mask() for frame in frames])
    return made_of(sources, masks, classes, algorithm, number, omit_empty_frames=True)


def _by_reference(
    frames: Sequence[MarkedFrame],
    headers: dict[Path, Dataset],
    classes: tuple[str, ...],
    algorithm: Algorithm,
    number: int,
) -> Dataset:
    """Without positions: every frame points at the one that it was derived from."""
    first = next(iter(headers.values()))
    empty = np.zeros((1, int(first.Rows), int(first.Columns)), np.uint8)
    seg = made_of(
        [_as_one_still(first)], empty, classes, algorithm, number, omit_empty_frames=False
    )
    seg.PatientOrientation = first.get("PatientOrientation")  # instead of an orientation in space
    set_frames(seg, frames, headers, len(classes))
    return seg


def _as_one_still(header: Dataset) -> Dataset:
    """The patient, study and series of ``header`` on an image that is one frame without a place."""
    still = Dataset()
    still.update({element.tag: deepcopy(element) for element in header if element.VR != "SQ"})
    for name in ("NumberOfFrames", "FrameOfReferenceUID", "ImagePositionPatient", "PixelSpacing"):
        if name in still:
            delattr(still, name)
    still.SOPClassUID = SecondaryCaptureImageStorage
    return still

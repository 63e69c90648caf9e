"""Signs that a DICOM image has a patient's name, or other text, burned into its pixels.

No pseudonym hides what can be read in the picture. The mark for it (BurnedInAnnotation, PS3.3
C.7.6.1) has the values YES and NO; what is neither counts as YES, also where it stands for one
frame of many. It is optional and often missing, so images that are usually pictures of a screen,
patient's name included, count as marked unless they say NO: secondary captures and screen shots. An
ultrasound image that does not say where its scan is (C.8.5.5) may have a banner of text above it;
most have none, so that is a doubt only. RecognizableVisualFeatures (C.7.6.1, too) is about a face
that the image shows, which is no text and stays in every picture of the head: a doubt as well.
"""

from collections.abc import Iterator
from typing import Any

from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.uid import (
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    MultiFrameSingleBitSecondaryCaptureImageStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
)

from fedefm.data.sop_class import sop_classes

CAPTURES = (
    SecondaryCaptureImageStorage,
    MultiFrameSingleBitSecondaryCaptureImageStorage,
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
)
SCREENS = ("SCREEN SAVE", "SCREEN_SAVE", "SCREENSHOT", "SCREEN CAPTURE")  # in ImageType
FRAMES = ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence")


def sign_of_text(header: Dataset) -> str:
    """Why an image is taken to hold text of a person; empty if nothing says so."""
    if any(mark not in ([], ["NO"]) for mark in _marks(header)):
        return "it is marked as holding burned-in annotation"
    if _is_marked_free(header):
        return ""
    if sop_classes(header) & set(CAPTURES):
        return "it is a secondary capture that does not say it is free of burned-in annotation"
    if {kind.upper() for kind in _values(header.get("ImageType"))} & set(SCREENS):
        return "it is a picture of a screen that does not say it is free of burned-in annotation"
    return ""


def doubt_of_text(header: Dataset) -> str:
    """Why an image may show who a person is, which a look at the preview has to settle."""
    if _values(header.get("RecognizableVisualFeatures")) not in ([], ["NO"]):
        return "it is marked as showing the patient recognizably, such as by the face"
    if header.get("Modality") != "US" or header.get("SequenceOfUltrasoundRegions"):
        return ""
    if _is_marked_free(header):
        return ""
    return "it is ultrasound that does not say where its scan is: look for text in the preview"


def _is_marked_free(header: Dataset) -> bool:
    return _values(header.get("BurnedInAnnotation")) == ["NO"]


def _marks(header: Dataset) -> Iterator[list[str]]:
    """What is said of the image, and of its frames."""
    frames = (group for name in FRAMES for group in header.get(name) or [])
    for part in (header, *(item for group in frames for item in _items(group))):
        if "BurnedInAnnotation" in part:
            yield _values(part.BurnedInAnnotation)


def _items(group: Dataset) -> Iterator[Dataset]:
    """A group and all items within it; other elements stay as they are, which saves most time."""
    yield group
    for tag in sorted(group.keys()):
        kind = group.get_item(tag).VR or (dictionary_has_tag(tag) and dictionary_VR(tag))
        for item in group[tag].value or [] if kind == "SQ" else []:
            yield from _items(item)


def _values(value: Any) -> list[str]:
    """Of an attribute: none if it is absent or empty, several if it has several."""
    many = value if isinstance(value, MultiValue) else [value]
    return [str(each).strip() for each in many if each not in (None, "")]

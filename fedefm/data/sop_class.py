"""Which DICOM files hold an image: of those without one, some never had it, others have lost it.

Reports, plans and directories lie among the images of an export, and are no fault of it. An image
that is cut off within its header looks like one of them, and is a fault: it would be missed.
"""

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import (
    UID,
    CornealTopographyMapStorage,
    EnhancedUSVolumeStorage,
    OphthalmicThicknessMapStorage,
)

from fedefm.data.unreadable import Unfit

IMAGES = (CornealTopographyMapStorage, EnhancedUSVolumeStorage, OphthalmicThicknessMapStorage)
UNDEFINED = 0xFFFFFFFF  # a length that stands for "up to the delimiter" (PS3.5, 7.1.2)


def sop_classes(header: Dataset) -> set[UID]:
    """What a file is, as its data set says and as its file meta information does: mostly one."""
    said = (header.get("SOPClassUID"), header.file_meta.get("MediaStorageSOPClassUID"))
    return {UID(str(sop_class)) for sop_class in said if sop_class}


def holds_image(header: Dataset) -> bool:
    """False for a report, a plan, a directory. Raises Unfit where what is missing was there."""
    if "Rows" in header:
        return True
    if _is_cut_off(header):
        raise Unfit("it is cut off within its header")
    classes = sop_classes(header)
    if not (classes and header.file_meta.get("TransferSyntaxUID")):
        raise Unfit("its header does not say what it is, so it is damaged or cut off")
    if any(map(_is_image, classes)):
        raise Unfit("its header does not say the image's size, so it is damaged or cut off")
    return False


def _is_image(sop_class: UID) -> bool:
    return "Image Storage" in sop_class.name or sop_class in IMAGES


def _is_cut_off(header: Dataset) -> bool:
    """Whether an element, or one within its items, is shorter than it says."""
    for tag in sorted(header.keys()):
        element = header.get_item(tag)
        if isinstance(element, RawDataElement):
            if element.length != UNDEFINED and len(element.value or b"") < element.length:
                return True
        elif isinstance(element.value, Sequence) and any(map(_is_cut_off, element.value)):
            return True
    return False

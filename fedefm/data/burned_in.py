"""Signs that a DICOM image has a patient's name, or other text, burned into its pixels.

No pseudonym hides what can be read in the picture. The mark for it (BurnedInAnnotation, PS3.3
C.7.6.1) is optional and often missing, so images that are usually pictures of a screen, patient's
name included, count as marked unless they say otherwise: secondary captures and screen shots. An
ultrasound image that does not say where its scan is (C.8.5.5) may have a banner of text above it;
most have none, so that is a doubt only.
"""

from pydicom.dataset import Dataset
from pydicom.uid import (
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    MultiFrameSingleBitSecondaryCaptureImageStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
)

CAPTURES = (
    SecondaryCaptureImageStorage,
    MultiFrameSingleBitSecondaryCaptureImageStorage,
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
)
SCREENS = ("SCREEN SAVE", "SCREEN_SAVE", "SCREENSHOT", "SCREEN CAPTURE")  # in ImageType


def sign_of_text(header: Dataset) -> str:
    """Why an image is taken to hold text of a person; empty if nothing says so."""
    marked = str(header.get("BurnedInAnnotation") or "").upper()
    if marked == "YES":
        return "it is marked as holding burned-in annotation"
    if marked == "NO":
        return ""
    if header.get("SOPClassUID") in CAPTURES:
        return "it is a secondary capture that does not say it is free of burned-in annotation"
    kinds = {str(kind).upper() for kind in header.get("ImageType") or []}
    if kinds & set(SCREENS):
        return "it is a picture of a screen that does not say it is free of burned-in annotation"
    return ""


def doubt_of_text(header: Dataset) -> str:
    """Why an image may hold text of a person, which a look at the preview has to settle."""
    if header.get("Modality") != "US" or header.get("SequenceOfUltrasoundRegions"):
        return ""
    if str(header.get("BurnedInAnnotation") or "").upper() == "NO":
        return ""
    return "it is ultrasound that does not say where its scan is: look for text in the preview"

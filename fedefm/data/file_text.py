"""Which image files carry text besides pixels, where a patient's name may stand.

DICOM and NIfTI headers, TIFF tags, EXIF blocks, comments. Pillow tells of everything that it finds
in a file; what is not known to be harmless counts as text.
"""

from pathlib import Path

from PIL import Image

HARMLESS = frozenset(
    {"dpi", "gamma", "transparency", "aspect", "srgb", "chromaticity", "background", "interlace"}
    | {"jfif", "jfif_version", "jfif_unit", "jfif_density", "progressive", "progression"}
    | {"adobe", "adobe_transform", "version", "duration", "loop", "extension", "compression"}
    | {"timestamp", "default_image", "disposal", "blend", "bbox"}
)
PLAIN = (".png", ".jpg", ".jpeg", ".gif", ".bmp")


def may_name_patient(path: Path) -> bool:
    """Whether a file that can be read holds more than pixels. An array (``.npy``) never does."""
    suffix = path.suffix.lower()
    if suffix not in PLAIN:
        return suffix != ".npy"
    with Image.open(path) as image:
        image.load()  # PNG may have text behind the pixels
        return bool(set(image.info) - HARMLESS) or bool(image.getexif())

"""The side of a pixel as the header of a volume says it: NIfTI and MetaImage.

NIfTI names its unit, and a header that names none holds what the tool put there, mostly 1; so that
counts as not known. MetaImage is in millimeters.
"""

from pathlib import Path
from typing import Any

import nibabel

from fedefm.data.dicom_header import side_of_square
from fedefm.data.metaimage import read_header

MILLIMETERS = {"meter": 1000.0, "mm": 1.0, "micron": 0.001}
DIGITS = 6  # behind the point; NIfTI has single precision


def volume_spacing(path: Path) -> float | None:
    """In millimeters, where the pixels of a slice are squares; None where that is not known."""
    name = path.name.lower()
    try:
        if name.endswith((".nii", ".nii.gz")):
            return _of_nifti(path)
        if name.endswith((".mhd", ".mha")):
            return side_of_square(read_header(path).spacing)
    except Exception:  # reading the image will tell
        return None
    return None


def _of_nifti(path: Path) -> float | None:
    image: Any = nibabel.load(path)
    unit = MILLIMETERS.get(image.header.get_xyzt_units()[0])
    side = side_of_square([float(zoom) for zoom in image.header.get_zooms()[:2]])
    return None if unit is None or side is None else round(side * unit, DIGITS) or None

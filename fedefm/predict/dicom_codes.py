"""What segments are, in codes that any PACS knows.

SNOMED CT codes of DICOM PS3.16: the catheter is in the baseline list of what a segment can be (CID
7151), the guide wire in that of intravascular devices (CID 3411). A class without a code there gets
one of ours, under a private designator as PS3.3, 8.2 has it, with its own name as the meaning.
"""

import hashlib

from pydicom.sr.coding import Code

OURS = "99FEDEFM"
PHYSICAL_OBJECT = Code("260787004", "SCT", "Physical object")
ANATOMY = Code("91723000", "SCT", "Anatomical structure")

_CODES = {
    "catheter": (PHYSICAL_OBJECT, Code("19923001", "SCT", "Catheter")),
    "guidewire": (PHYSICAL_OBJECT, Code("272224001", "SCT", "Guide wire")),
    "guidingcatheter": (PHYSICAL_OBJECT, Code("102317008", "SCT", "Guiding catheter")),
    "vessel": (ANATOMY, Code("59820001", "SCT", "Blood vessel")),
}


def coded(name: str) -> tuple[Code, Code]:
    """Category and type of the class called ``name``; spaces, dashes and case do not matter."""
    plain = "".join(letter for letter in name.lower() if letter.isalnum())
    if plain in _CODES:
        return _CODES[plain]
    value = hashlib.sha256(name.encode()).hexdigest()[:16]  # a code value has 16 characters
    return PHYSICAL_OBJECT, Code(value, OURS, name[:64])

"""One public X-ray angiogram of 96 frames, of one person.

To be a corpus of its own it has to be divided, so blocks of frames stand for patients.
"""

from pathlib import Path

from fedefm.data.found import Found
from fedefm.data.public_sets.layout import About, Layout, has
from fedefm.data.readers import count_frames

NAME = "HasFragmentSequence_XA_96fr.dcm"
BLOCK = 8  # frames
NOTE = (
    f"the corpus xa-fluoroscopy is one person, whose blocks of {BLOCK} frames stand for "
    "patients: test figures on it speak of a person seen in training"
)


def find(source: Path) -> list[Found]:
    image = source / NAME
    return [
        Found(image, f"xa/{frame // BLOCK}", "xa-fluoroscopy", frame=frame, note=NOTE)
        for frame in range(count_frames(image))
    ]


LAYOUT = Layout(
    has(NAME),
    find,
    about=About(
        "one coronary angiogram of 96 frames in DICOM, a catheter in view",
        "https://github.com/fo-dicom/fo-dicom (test data)",
        "MS-PL as the software; the file is a public demonstration",
        "none",
    ),
)

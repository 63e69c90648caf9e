"""BUSI: breast ultrasound, ``<class>/<class> (N).png``, one or more masks beside each image."""

import re
from pathlib import Path

from fedefm.data.found import Found
from fedefm.data.public_sets.drawing import Joined
from fedefm.data.public_sets.layout import About, Layout, files_in, has, unpacked

FOLDER = "Dataset_BUSI_with_GT"
CLASSES = ("benign", "malignant", "normal")
NOTE = (
    "BUSI does not say which of its 780 images are of one of its 600 women, and holds some of them "
    "twice, a few as benign and as malignant: data check names those that look alike"
)


def find(source: Path) -> list[Found]:
    return [
        _found(image, name)
        for root in [unpacked(source, FOLDER)]
        for name in CLASSES
        for image in files_in(root / name, f"{name} (*).png")
        if "_mask" not in image.stem
    ]


def _found(image: Path, label: str) -> Found:
    named = re.compile(re.escape(image.stem) + r"_mask(_[0-9]+)?\.png")
    masks = [path for path in files_in(image.parent, "*_mask*.png") if named.fullmatch(path.name)]
    return Found(
        image,
        "",
        "busi",
        label=label,
        mask=masks[0] if len(masks) == 1 else None,
        drawn=Joined(tuple(masks)) if len(masks) > 1 else None,
        note=NOTE,
    )


LAYOUT = Layout(
    lambda source: has("benign/benign (*).png", "malignant")(unpacked(source, FOLDER)),
    find,
    tuple(f"{name}/*_mask*.png" for name in CLASSES),
    About(
        "780 ultrasound images of the breast: benign, malignant, normal",
        "https://scholar.cu.edu.eg/?q=afahmy/pages/dataset",
        "not stated where we looked; published by Al-Dhabyani and others, 2020",
        "1 = lesion, several lesions joined; empty in normal images",
    ),
)

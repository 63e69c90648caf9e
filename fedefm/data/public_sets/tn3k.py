"""TN3K: nodules of the thyroid in ultrasound, ``{trainval,test}-{image,mask}/NNNN.jpg``.

``label4trainval.csv`` and ``label4test.csv`` (no header; 0 = benign, 1 = malignant) came later and
may be missing; images then have no label. The lists of five folds beside them count the images in
the order in which a folder gives its files, which differs between machines: they are not used.
"""

from pathlib import Path

from fedefm.data.found import Found
from fedefm.data.public_sets.drawing import Bright
from fedefm.data.public_sets.layout import About, Layout, files_in, has, if_there, unpacked
from fedefm.data.public_sets.tables import read_pairs
from fedefm.errors import DataError

FOLDER = "tn3k"
SPLITS = {"trainval": "train", "test": "test"}
CLASSES = {"0": "benign", "1": "malignant"}
NOTE = (
    "TN3K does not say which of its 3,493 images are of one of its 2,421 patients: only its own "
    "split into train and test tells how a model does on what it has not seen"
)


def find(source: Path) -> list[Found]:
    """Raises DataError where a table of labels cannot be used."""
    root = unpacked(source, FOLDER)
    return [
        Found(
            image,
            "",
            "tn3k",
            label=labels.get(image.name, ""),
            drawn=Bright(mask) if mask else None,
            split=split,
            note=NOTE,
        )
        for part, split in SPLITS.items()
        for labels in [_labels(root / f"label4{part}.csv")]
        for image in files_in(root / f"{part}-image", "*.jpg")
        for mask in [if_there(root / f"{part}-mask" / image.name)]
    ]


def _labels(table: Path) -> dict[str, str]:
    """The class of each image by its file's name; empty where the table is not there."""
    values = read_pairs(table) if table.exists() else {}
    if not set(values.values()) <= set(CLASSES):
        raise DataError(f"{table} has a label that is neither 0 nor 1")
    return {name: CLASSES[value] for name, value in values.items()}


LAYOUT = Layout(
    lambda source: has("trainval-image/*.jpg", "trainval-mask")(unpacked(source, FOLDER)),
    find,
    tuple(f"{part}-mask/*.jpg" for part in SPLITS),
    About(
        "3,493 ultrasound images of thyroid nodules, benign or malignant where its tables say it",
        "https://github.com/haifangong/TRFE-Net-for-thyroid-nodule-segmentation",
        "none stated for the images where we looked; the code beside them is MIT",
        "1 = nodule",
    ),
)

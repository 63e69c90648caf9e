"""SenNet + HOA: slices of human kidneys, ``train/<kidney>/{images,labels}/NNNN.tif``.

``kidney_3_dense`` holds only labels; their images are in ``kidney_3_sparse``.
"""

import re
from pathlib import Path

from fedefm.data.found import Found
from fedefm.data.public_sets.layout import About, Layout, files_in, has, if_there


def find(source: Path) -> list[Found]:
    """Kidneys with labels; those of the challenge's test have none.

    A kidney is one person, whose slices never part.
    """
    return [
        Found(image, f"sennet/{_person(folder)}", "sennet-kidney", mask=_mask(image, folder))
        for folder in files_in(source / "train", "kidney_*")
        for image in files_in(folder / "images", "*.tif")
    ]


def _person(folder: Path) -> str:
    """``kidney_1`` for ``kidney_1_dense`` as for ``kidney_1_voi``."""
    match = re.match(r"kidney_[0-9]+", folder.name)
    return match.group() if match else folder.name


def _mask(image: Path, folder: Path) -> Path | None:
    dense = folder.with_name(folder.name.replace("_sparse", "_dense"))
    return if_there(dense / "labels" / image.name) or if_there(folder / "labels" / image.name)


LAYOUT = Layout(
    has("train/kidney_*/images/*.tif"),
    find,
    ("labels/*.tif", "test/kidney_*/images/*.tif"),
    About(
        "phase-contrast CT of human kidneys, some 1,500 slices each",
        "https://www.kaggle.com/competitions/blood-vessel-segmentation",
        "the competition's rules",
        "1 = vessel; kidney_2 and the sparse part of kidney_3 are labeled in part",
    ),
)

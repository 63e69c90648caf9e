"""HC18: fetal heads in ultrasound, ``<person>_<n>HC.png``, each with the outline of the skull."""

import math
from pathlib import Path

from fedefm.data.found import Found
from fedefm.data.public_sets.drawing import FilledOutline
from fedefm.data.public_sets.layout import About, Layout, files_in, has, if_there
from fedefm.data.public_sets.tables import read_table
from fedefm.errors import DataError

SIZES = "training_set_pixel_size_and_HC.csv"


def find(source: Path) -> list[Found]:
    """The test set of the challenge has no outlines and is left out."""
    spacings = _spacings(source / SIZES)
    return [
        _found(image, source, spacings.get(image.name))
        for image in files_in(source / "training_set", "*HC.png")
    ]


def _found(image: Path, source: Path, spacing_mm: float | None) -> Found:
    filled = if_there(source / "filled_masks" / image.name)
    outline = image.with_name(f"{image.stem}_Annotation.png")
    return Found(
        image,
        f"hc18/{image.stem.split('_')[0]}",  # 010_HC and 010_2HC are of one pregnancy
        "hc18-fetal-head",
        mask=filled,
        drawn=None if filled else FilledOutline(outline),
        spacing_mm=spacing_mm,
    )


def _spacings(table: Path) -> dict[str, float]:
    """Millimeters a pixel, by file name; empty where the table is not there."""
    if not table.exists():
        return {}
    _, rows = read_table(table, ("filename", "pixel size(mm)"))
    return {row["filename"]: _millimeters(row["pixel size(mm)"], table) for row in rows}


def _millimeters(text: str, table: Path) -> float:
    try:
        if 0 < (value := float(text)) < math.inf:
            return value
    except ValueError:
        pass
    raise DataError(f"{table} has the pixel size {text[:20]!r}; it must be millimeters above 0")


LAYOUT = Layout(
    has("training_set/*HC.png"),
    find,
    ("training_set/*_Annotation.png", "filled_masks/*.png", "test_set/*.png"),
    About(
        "999 ultrasound images of fetal heads in the standard plane, with the skull's outline",
        "https://zenodo.org/records/1327317",
        "CC BY 4.0",
        "1 = head, the outline filled",
    ),
)

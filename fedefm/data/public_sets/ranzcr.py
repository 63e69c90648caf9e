"""RANZCR CLiP: chest X-rays, labels of where tubes end in ``train.csv``, some tubes traced."""

import json
from pathlib import Path

from fedefm.data.found import Found
from fedefm.data.kinds import SEPARATOR
from fedefm.data.public_sets.drawing import Lines, Points, points_of
from fedefm.data.public_sets.layout import About, Layout
from fedefm.data.public_sets.tables import inside, read_table
from fedefm.errors import DataError

IMAGE, PATIENT = "StudyInstanceUID", "PatientID"
NARROWEST, WIDEST = 3, 7  # pixels of a drawn tube


def find(source: Path) -> list[Found]:
    """The images of ``train.csv``; those of the challenge's test have no labels.

    An image has all its labels, joined, and a mask where its tubes were traced.
    """
    table = source / "train.csv"
    header, rows = read_table(table, (IMAGE, PATIENT))
    labels = [name for name in header if name not in (IMAGE, PATIENT)]
    if any(SEPARATOR in name for name in labels):
        raise DataError(f"{table} has a label with {SEPARATOR!r} in its name")
    tubes = _tubes(source / "train_annotations.csv")
    found = {
        row[IMAGE]: _found(source, number, row, labels, tubes.pop(row[IMAGE], ()))
        for number, row in enumerate(rows, start=2)
    }
    if len(found) < len(rows):
        raise DataError(f"{table} lists an image twice")
    if tubes:
        raise DataError(f"{source}/train_annotations.csv has tubes of images not in {table.name}")
    return list(found.values())


def _found(
    source: Path, number: int, row: dict[str, str], labels: list[str], tubes: tuple[Points, ...]
) -> Found:
    table = source / "train.csv"
    if not {row[name] for name in labels} <= {"0", "1"}:
        raise DataError(f"{table} row {number} has a label that is neither 0 nor 1")
    image = inside(source / "train", f"{row[IMAGE]}.jpg", f"{table} row {number}")
    return Found(
        image,
        f"ranzcr/{row[PATIENT]}" if row[PATIENT] else "",
        "ranzcr-clip",
        label=SEPARATOR.join(name for name in labels if row[name] == "1"),
        drawn=Lines(image, tubes, NARROWEST, WIDEST) if tubes else None,
    )


def _tubes(table: Path) -> dict[str, tuple[Points, ...]]:
    """The polylines of each image; none where the table is not there."""
    tubes: dict[str, tuple[Points, ...]] = {}
    if table.exists():
        for row in read_table(table, (IMAGE, "data"))[1]:
            tubes[row[IMAGE]] = (*tubes.get(row[IMAGE], ()), _polyline(row["data"], table))
    return tubes


def _polyline(text: str, table: Path) -> Points:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        raise DataError(f"{table} has a tube that is not written [[x, y], ...]") from None
    return points_of(values, f"a tube in {table}")


def _matches(source: Path) -> bool:
    table = source / "train.csv"
    if not ((source / "train").is_dir() and table.is_file()):
        return False
    with table.open("rb") as file:
        header = file.read(4096).split(b"\n")[0]
    return IMAGE.encode() in header and PATIENT.encode() in header


LAYOUT = Layout(
    _matches,
    find,
    ("test/*.jpg",),
    About(
        "30,083 chest X-rays with 11 labels of catheters, lines and tubes; as several can hold, "
        "pre-training takes all for one kind of image",
        "https://www.kaggle.com/competitions/ranzcr-clip-catheter-line-classification",
        "the competition's rules",
        "1 = tube, drawn from its polyline; only images whose tubes were traced have a mask",
    ),
)

"""A list of images and labels, as ``fedefm data convert-list`` writes it: ``path,label``."""

from pathlib import Path

from fedefm.data.found import Found
from fedefm.data.public_sets.layout import About, Layout
from fedefm.data.public_sets.tables import inside, read_table
from fedefm.errors import DataError

COLUMNS = ("path", "label")


def find(source: Path) -> list[Found]:
    """Paths start from the list's own folder. Whose the images are is not known."""
    _, rows = read_table(source, COLUMNS)
    places = [
        inside(source.parent, row["path"], f"{source} row {number}")
        for number, row in enumerate(rows, start=2)
    ]
    if len(set(places)) < len(places):
        raise DataError(f"{source} lists an image twice")
    return [
        Found(place, "", source.stem, label=row["label"])
        for place, row in zip(places, rows, strict=True)
    ]


def _matches(source: Path) -> bool:
    if not (source.is_file() and source.suffix.lower() == ".csv"):
        return False
    with source.open("rb") as file:
        header = file.read(64).decode("utf-8", "replace").lstrip("\ufeff")
    return header.splitlines()[:1] == [",".join(COLUMNS)]


LAYOUT = Layout(
    _matches,
    find,
    about=About(
        "one CSV file with the columns path and label; name the file, not its folder",
        "written by fedefm data convert-list, or by you",
        "your own",
        "none",
    ),
)

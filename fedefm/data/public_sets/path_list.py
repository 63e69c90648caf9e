"""A list of images and labels, as ``fedefm data convert-list`` writes it: ``path,label``."""

from pathlib import Path

from fedefm.data.found import Found
from fedefm.data.public_sets.layout import About, Layout
from fedefm.data.public_sets.tables import inside, read_table

COLUMNS = ("path", "label")


def find(source: Path) -> list[Found]:
    """Paths start from the list's own folder. Whose the images are is not known."""
    _, rows = read_table(source, COLUMNS)
    return [
        Found(inside(source.parent, row["path"], source), "", source.stem, label=row["label"])
        for row in rows
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

"""ARCADE: X-ray angiograms, ``{syntax,stenosis}/{train,val,test}``, outlines as COCO polygons."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fedefm.data.found import Found
from fedefm.data.public_sets.drawing import Points, Polygons, pairs_of
from fedefm.data.public_sets.layout import About, Layout, has_one_of, unpacked
from fedefm.data.public_sets.tables import inside, read_json
from fedefm.errors import DataError

TASKS = ("syntax", "stenosis")
SPLITS = {"train": "train", "val": "validation", "test": "test"}
NOTE = "ARCADE does not say which of its images are of one patient: each counts as one"


def find(source: Path) -> list[Found]:
    """Raises DataError where the annotations are not COCO, or name what is not there."""
    return [
        found
        for task in TASKS
        for part, split in SPLITS.items()
        for found in _part(unpacked(source, "arcade") / task / part, f"arcade-{task}", split)
    ]


def _part(folder: Path, corpus: str, split: str) -> Iterator[Found]:
    table = folder / "annotations" / f"{folder.name}.json"
    if not table.exists():
        return
    coco = read_json(table)
    outlines: dict[int, list[Points]] = {}
    images = {number: image for image, number in _numbered(coco, "images", "id", table)}
    if len(images) < len(coco["images"]):
        raise DataError(f"{table} gives one id to two images")
    for annotation, number in _numbered(coco, "annotations", "image_id", table):
        if number not in images:
            raise DataError(f"{table} has an outline for image {number}, which it does not list")
        outlines.setdefault(number, []).extend(_polygons(annotation, table))
    for number, image in images.items():
        name = str(image.get("file_name", ""))
        path = inside(folder / "images", name, f"{table} image {number}")
        drawn = Polygons(path, tuple(outlines.get(number, ())), _size(image, table))
        yield Found(path, "", corpus, drawn=drawn, split=split, note=NOTE)


def _numbered(coco: Any, name: str, key: str, table: Path) -> Iterator[tuple[dict[str, Any], int]]:
    """The entries of a list in the annotations, each with the number of its image."""
    entries = coco.get(name) if isinstance(coco, dict) else None
    if not isinstance(entries, list):
        raise DataError(f"{table} has no list {name!r}; it is not COCO")
    for entry in entries:
        if not (isinstance(entry, dict) and type(entry.get(key)) is int):
            raise DataError(f"{table} has an entry in {name!r} without a whole number {key!r}")
        yield entry, entry[key]


def _polygons(annotation: dict[str, Any], table: Path) -> list[Points]:
    polygons = annotation.get("segmentation")
    if not isinstance(polygons, list):
        raise DataError(f"{table} has an outline that is no list of polygons")
    return [pairs_of(polygon, f"an outline in {table}") for polygon in polygons]


def _size(image: dict[str, Any], table: Path) -> tuple[int, int]:
    height, width = image.get("height"), image.get("width")
    if type(height) is int and type(width) is int:
        return height, width
    raise DataError(f"{table} has an image without whole numbers for width and height")


LAYOUT = Layout(
    lambda source: has_one_of(*(f"{task}/train/annotations/train.json" for task in TASKS))(
        unpacked(source, "arcade")
    ),
    find,
    about=About(
        "3,000 X-ray angiograms of coronary arteries: vessel segments (syntax) and stenoses",
        "https://zenodo.org/records/10390295",
        "as its page on Zenodo says",
        "syntax: 1 = artery, its segments joined; stenosis: 1 = stenosis",
    ),
)

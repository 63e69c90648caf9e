"""The folder layouts that ``fedefm data ingest`` knows.

To support another public set, write its function in ``fedefm.data.public`` and add one line here;
``auto`` takes the first that matches, so the generic ones come last.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fedefm.data import public
from fedefm.data.found import Found
from fedefm.data.plain_folders import classes, has_classes, images


@dataclass(frozen=True)
class Layout:
    """How to recognize a kind of folder, and how to list what is in it."""

    matches: Callable[[Path], bool]
    find: Callable[[Path], list[Found]]


def find_layout(source: Path) -> str:
    """The name of the first layout that fits the folder."""
    return next(name for name, layout in LAYOUTS.items() if layout.matches(source))


def collection(source: Path) -> list[Found]:
    """A folder of folders, each in one of the known layouts."""
    return [found for folder, name in _known_inside(source) for found in LAYOUTS[name].find(folder)]


def _known_inside(source: Path) -> list[tuple[Path, str]]:
    generic = ("collection", "classes", "images")
    return [
        (folder, name)
        for folder in (sorted(source.iterdir()) if source.is_dir() else [])
        for name, layout in LAYOUTS.items()
        if name not in generic and layout.matches(folder)
    ]


def _has(*names: str) -> Callable[[Path], bool]:
    return lambda source: all((source / name).exists() for name in names)


LAYOUTS: dict[str, Layout] = {
    "chase-db1": Layout(_has("CHASEDB1/Image_01L.jpg"), public.chase),
    "nih-cxr-mini": Layout(_has("No_findings", "Pneumonia"), public.nih_chest),
    "dsb2018-nuclei": Layout(_has("fluorescence/images", "histology/images"), public.dsb_nuclei),
    "hc18-fetal-head": Layout(_has("training_set", "filled_masks"), public.fetal_head),
    "msd-task04-hippocampus": Layout(_has("Task04_Hippocampus/imagesTr"), public.hippocampus),
    "isic-skin-mini": Layout(
        lambda source: any((source / "images").glob("ISIC_*.jpg")) and (source / "masks").is_dir(),
        public.skin,
    ),
    "xa-dicom": Layout(_has("HasFragmentSequence_XA_96fr.dcm"), public.angiogram),
    "collection": Layout(lambda source: bool(_known_inside(source)), collection),
    "classes": Layout(has_classes, classes),
    "images": Layout(lambda source: True, images),
}

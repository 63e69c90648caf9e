"""The folder layouts that ``fedefm data ingest`` knows.

To support another public set, write its function in ``fedefm.data.public``, add one line to
``PUBLIC``, and its name to ``fedefm.data.choices``; ``auto`` takes the first that matches, so the
generic ones come last.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fedefm.data import public
from fedefm.data.found import Found
from fedefm.data.plain_folders import (
    MASK_FOLDERS,
    classes,
    has_classes,
    image_files,
    images,
    is_without_image,
)


@dataclass(frozen=True)
class Layout:
    """How to recognize a kind of folder, and how to list what is in it.

    ``companions`` are patterns of files that look like images and are none of the set's: masks, and
    second readings that are not used. Any other file that ``find`` leaves would be lost.
    """

    matches: Callable[[Path], bool]
    find: Callable[[Path], list[Found]]
    companions: tuple[str, ...] = ()


def find_layout(source: Path) -> str:
    """The name of the first layout that fits the folder."""
    return next(name for name, layout in LAYOUTS.items() if layout.matches(source))


def passed_over(source: Path, layout: str, found: Sequence[Found]) -> list[Path]:
    """Image files below ``source`` that a layout neither takes nor knows as companions."""
    used = {path for item in found for path in (item.image, item.mask)}
    return [
        path
        for path in image_files(source)
        if path not in used
        and not _is_companion(path, LAYOUTS[layout])
        and not is_without_image(path)
    ]


def _is_companion(path: Path, layout: Layout) -> bool:
    lowered = Path(path.as_posix().lower())  # a folder may be Masks as well as masks
    return any(lowered.match(pattern.lower()) for pattern in layout.companions)


def collection(source: Path) -> list[Found]:
    """A folder of folders, each in the layout of a public set."""
    return [found for folder, layout in _known_inside(source) for found in layout.find(folder)]


def _known_inside(source: Path) -> list[tuple[Path, Layout]]:
    return [
        (folder, layout)
        for folder in (sorted(source.iterdir()) if source.is_dir() else [])
        for layout in PUBLIC.values()
        if layout.matches(folder)
    ]


def _has(*names: str) -> Callable[[Path], bool]:
    return lambda source: all((source / name).exists() for name in names)


PUBLIC: dict[str, Layout] = {
    "chase-db1": Layout(_has("CHASEDB1/Image_01L.jpg"), public.chase, ("CHASEDB1/*HO.png",)),
    "nih-cxr-mini": Layout(_has("No_findings", "Pneumonia"), public.nih_chest),
    "dsb2018-nuclei": Layout(
        _has("fluorescence/images", "histology/images"),
        public.dsb_nuclei,
        ("fluorescence/labels/*.png", "histology/labels/*.png"),
    ),
    "hc18-fetal-head": Layout(
        _has("training_set", "filled_masks"),
        public.fetal_head,
        ("training_set/*_Annotation.png", "filled_masks/*.png"),
    ),
    "msd-task04-hippocampus": Layout(
        _has("Task04_Hippocampus/imagesTr"),
        public.hippocampus,
        ("Task04_Hippocampus/labelsTr/*.nii.gz",),
    ),
    "isic-skin-mini": Layout(
        lambda source: any((source / "images").glob("ISIC_*.jpg")) and (source / "masks").is_dir(),
        public.skin,
        ("masks/ISIC_*.png",),
    ),
    "xa-dicom": Layout(_has("HasFragmentSequence_XA_96fr.dcm"), public.angiogram),
}

MASKS = tuple(f"{folder}/*" for folder in MASK_FOLDERS)

LAYOUTS: dict[str, Layout] = PUBLIC | {
    "collection": Layout(
        lambda source: bool(_known_inside(source)),
        collection,
        tuple(pattern for layout in PUBLIC.values() for pattern in layout.companions),
    ),
    "classes": Layout(has_classes, classes, MASKS),
    "images": Layout(lambda source: True, images, MASKS),
}

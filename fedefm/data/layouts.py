"""The folder layouts that ``fedefm data ingest`` knows.

To support another public set, write its reader in ``fedefm.data.public_sets``, add one line to
``PUBLIC``, and its name to ``fedefm.data.choices``; ``auto`` takes the first that matches, so the
generic ones come last.
"""

from collections.abc import Sequence
from pathlib import Path

from fedefm.data.found import Found
from fedefm.data.plain_folders import (
    classes,
    has_classes,
    image_files,
    images,
    is_without_image,
    masks_of_nothing,
)
from fedefm.data.public_sets import (
    arcade,
    busi,
    camus,
    cathaction,
    chase,
    dca1,
    decathlon,
    drive,
    dsb_nuclei,
    endovascular,
    guide3d,
    hc18,
    isic,
    nih_chest,
    path_list,
    ranzcr,
    sennet,
    tn3k,
    vessel12,
    xa_angiogram,
)
from fedefm.data.public_sets.layout import About, Layout


def find_layout(source: Path) -> str:
    """The name of the first layout that fits the folder."""
    return next(name for name, layout in LAYOUTS.items() if layout.matches(source))


def passed_over(source: Path, layout: str, found: Sequence[Found]) -> list[Path]:
    """Image files below ``source`` that a layout neither takes nor knows as companions."""
    used = {path for item in found for path in (item.image, item.mask)}
    aside = used | {*masks_without_image(source, layout, found)}
    return [
        path
        for path in image_files(source)
        if path not in aside
        and not _is_companion(path, LAYOUTS[layout])
        and not is_without_image(path)
    ]


def masks_without_image(source: Path, layout: str, found: Sequence[Found]) -> list[Path]:
    """What lies in folders for masks and belongs to nothing found, where names tell masks."""
    if layout not in PLAIN:
        return []
    return masks_of_nothing(source, {path for item in found for path in (item.image, item.mask)})


def _is_companion(path: Path, layout: Layout) -> bool:
    lowered = Path(path.as_posix().lower())  # a folder may be Masks as well as masks
    return any(lowered.match(pattern.lower()) for pattern in layout.companions)


def collection(source: Path) -> list[Found]:
    """A folder of folders, each in the layout of a public set."""
    return [found for folder, layout in _known_inside(source) for found in layout.find(folder)]


def _known_inside(source: Path) -> list[tuple[Path, Layout]]:
    folders = sorted(path for path in source.iterdir() if path.is_dir()) if source.is_dir() else []
    known = ((folder, _public_layout(folder)) for folder in folders)
    return [(folder, layout) for folder, layout in known if layout]


def _public_layout(folder: Path) -> Layout | None:
    return next((layout for layout in PUBLIC.values() if layout.matches(folder)), None)


PUBLIC: dict[str, Layout] = {
    "chase-db1": chase.LAYOUT,
    "nih-cxr-mini": nih_chest.LAYOUT,
    "dsb2018-nuclei": dsb_nuclei.LAYOUT,
    "hc18-fetal-head": hc18.LAYOUT,
    "msd-task04-hippocampus": decathlon.HIPPOCAMPUS,
    "isic-skin-mini": isic.LAYOUT,
    "xa-dicom": xa_angiogram.LAYOUT,
    "cathaction": cathaction.LAYOUT,
    "endovascular": endovascular.LAYOUT,
    "guide3d": guide3d.LAYOUT,
    "ranzcr-clip": ranzcr.LAYOUT,
    "arcade": arcade.LAYOUT,
    "dca1": dca1.LAYOUT,
    "drive": drive.LAYOUT,
    "msd": decathlon.LAYOUT,
    "vessel12": vessel12.LAYOUT,
    "sennet": sennet.LAYOUT,
    "busi": busi.LAYOUT,
    "camus": camus.LAYOUT,
    "tn3k": tn3k.LAYOUT,
}

PLAIN = ("classes", "images")

LAYOUTS: dict[str, Layout] = PUBLIC | {
    "collection": Layout(
        lambda source: bool(_known_inside(source)),
        collection,
        tuple(pattern for layout in PUBLIC.values() for pattern in layout.companions),
        About("a folder of folders, each in one of the layouts above", "", "those of each set", ""),
    ),
    "list": path_list.LAYOUT,
    "classes": Layout(
        has_classes,
        classes,
        about=About(
            "<class>/... or <split>/<class>/...: the folder's name is the label",
            "",
            "your own",
            "as stored; found by the usual names, such as masks/a.png or a_mask.png",
        ),
    ),
    "images": Layout(
        lambda source: True,
        images,
        about=About(
            "any folder of images, or one file; train, val and test at its top set the split",
            "",
            "your own",
            "as stored; found by the usual names, such as masks/a.png or a_mask.png",
        ),
    ),
}

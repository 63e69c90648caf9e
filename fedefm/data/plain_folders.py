"""Folders without a convention of their own: images anywhere, or one folder a class.

Masks are found by the usual names, and nothing in a folder for masks ever is an image; a leading
folder ``train``, ``val`` or ``test`` sets the split.
DICOM images are called by their modality, since folders of exports are called after people.
"""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from pydicom.errors import InvalidDicomError

from fedefm.data.dicom_header import facts_of
from fedefm.data.found import Found
from fedefm.data.readers import count_frames, is_image_file
from fedefm.errors import DataError

MASK_FOLDERS = ("masks", "labels", "mask", "label", "masks_png", "1st_manual", "labelstr")
MASK_ENDINGS = ("_mask", "_gt", "_seg", "_label", "_segmentation")
DICOM_ENDINGS = (".dcm", ".dicom", ".ima")
SPLIT_FOLDERS = {"train": "train", "training": "train", "val": "validation"} | {
    "valid": "validation",
    "validation": "validation",
    "test": "test",
    "testing": "test",
}


def classes(source: Path) -> list[Found]:
    """``<class>/...``, or ``<split>/<class>/...``: the folder's name is the label."""
    found = []
    for item in images(source):
        parts = item.image.relative_to(source).parts
        name = parts[1] if item.split and len(parts) > 2 else parts[0]
        if len(parts) > 1:
            found.append(replace(item, label=name))
    return found


def images(source: Path) -> list[Found]:
    """Every image below a folder (or one file), with the masks that lie beside them."""
    base = source if source.is_dir() else source.parent
    found = []
    for path, mask in with_masks(source).items():
        if (known := _person_kind_frames(path)) is None:
            continue
        patient, kind, frames = known
        top = path.relative_to(base).parts[0].lower()
        item = Found(
            path,
            patient,
            kind or base.resolve().name or "images",
            mask=mask,
            split=SPLIT_FOLDERS.get(top, "") if path.parent != base else "",
        )
        found += [replace(item, frame=frame) for frame in frames]
    return found


def with_masks(source: Path) -> dict[Path, Path | None]:
    """Every image below a folder (or one file), with the mask that lies beside it; masks apart."""
    base = source if source.is_dir() else source.parent
    files, listing = image_files(source), Listing()
    masks = {path: mask_beside(path, base, listing) for path in files}
    taken = set(masks.values())
    return {
        path: mask
        for path, mask in masks.items()
        if path not in taken and not in_mask_folder(path, base)
    }


class Listing:
    """The names of what lies in a folder, looked up once: a mask may have a hundred names."""

    def __init__(self) -> None:
        self._names: dict[Path, frozenset[str]] = {}
        self._mask_folders: dict[Path, list[Path]] = {}

    def of(self, folder: Path) -> frozenset[str]:
        """Nothing, where there is no such folder or it cannot be read."""
        if folder not in self._names:
            try:
                self._names[folder] = frozenset(path.name for path in folder.iterdir())
            except OSError:
                self._names[folder] = frozenset()
        return self._names[folder]

    def mask_folders(self, home: Path) -> list[Path]:
        """The folders for masks in ``home``, which may be ``Masks`` as well as ``masks``."""
        if home not in self._mask_folders:
            places = {name: name.lower() for name in self.of(home)}
            known = sorted(name for name in places if places[name] in MASK_FOLDERS)
            known.sort(key=lambda name: MASK_FOLDERS.index(places[name]))
            self._mask_folders[home] = [home / name for name in known]
        return self._mask_folders[home]


def image_files(source: Path) -> list[Path]:
    """Every file below a folder (or one file) that the readers know, whether image or mask."""
    base = source if source.is_dir() else source.parent
    paths = [source] if source.is_file() else sorted(source.rglob("*"))
    return [path for path in paths if not _hidden(path, base) and is_image_file(path)]


def is_without_image(path: Path) -> bool:
    """Whether a file is DICOM that holds no image: a report, a plan, a directory."""
    try:
        return facts_of(path) is None
    except Exception:  # not DICOM, or too broken to say
        return False


def mask_beside(path: Path, base: Path, listing: Listing) -> Path | None:
    """The mask of an image by the usual names: beside it with an ending, or in a folder for masks.

    Such a folder lies beside the image, or beside the folder of the image.
    """
    stem = path.name[:-7] if path.name.lower().endswith(".nii.gz") else path.stem
    places = [(path.parent, ending) for ending in MASK_ENDINGS]
    homes = [path.parent]
    if path.parent != base or path.parent.name.lower() == "images":
        homes.append(path.parent.parent)
    for home in homes:
        places += [(folder, end) for folder in listing.mask_folders(home) for end in ("", "_mask")]
    for folder, ending in places:
        names = listing.of(folder)
        for suffix in (".png", path.suffix, ".gif", ".tif", ".npy", ".nii.gz", ".bmp"):
            name = f"{stem}{ending}{suffix}"
            if name in names and (folder / name) != path and (folder / name).is_file():
                return folder / name
    return None


def in_mask_folder(path: Path, base: Path) -> bool:
    """Whether a file below ``base`` lies in a folder for masks, however deep."""
    folders = path.relative_to(base).parts[:-1]
    return any(folder.lower() in MASK_FOLDERS for folder in folders)


def masks_of_nothing(source: Path, known: Collection[Path | None]) -> list[Path]:
    """What lies in a folder for masks and is none of the ``known`` images and masks."""
    base = source if source.is_dir() else source.parent
    return [
        path for path in image_files(source) if path not in known and in_mask_folder(path, base)
    ]


def _hidden(path: Path, base: Path) -> bool:
    return any(part.startswith(".") for part in path.relative_to(base).parts)


def _person_kind_frames(path: Path) -> tuple[str, str, range] | None:
    """As a DICOM header says; other images say neither whose nor what. None: there is no image."""
    try:
        facts = facts_of(path)
    except InvalidDicomError:
        return "", "dicom" if path.suffix.lower() in DICOM_ENDINGS else "", _frames(path)
    except Exception:  # too broken to say: reading the image will tell
        return "", "dicom", _frames(path)
    return (facts.patient, facts.kind, range(facts.frames)) if facts else None


def _frames(path: Path) -> range:
    try:
        return range(count_frames(path))
    except DataError:  # reading the image will tell
        return range(1)


def has_classes(source: Path) -> bool:
    """Two or more folders of pictures side by side, none for masks; DICOM is sorted by patient."""
    if not source.is_dir():
        return False
    folders = [path for path in source.iterdir() if path.is_dir() and path.name[0] != "."]
    names = {path.name.lower() for path in folders}
    if names & {"images", *MASK_FOLDERS}:
        return False
    if names & set(SPLIT_FOLDERS):
        return any(has_classes(path) for path in folders)
    return sum(any(map(_is_picture, path.iterdir())) for path in folders) >= 2


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".gif", ".pgm", ".bmp")

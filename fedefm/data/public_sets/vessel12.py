"""VESSEL12: CT of the chest in MetaImage, ``VESSEL12_NN.mhd`` with its ``.raw``, and lung masks."""

from pathlib import Path

from fedefm.data.found import Found
from fedefm.data.public_sets.layout import About, Layout, files_in, has_one_of
from fedefm.data.public_sets.volumes import slices_of
from fedefm.errors import DataError

PATTERNS = ("VESSEL12_*.mhd", "*/VESSEL12_*.mhd", "*/*/VESSEL12_*.mhd")


def find(source: Path) -> list[Found]:
    """Every slice of every scan. Raises DataError where two files are one scan, or one mask."""
    files = [path for pattern in PATTERNS for path in files_in(source, pattern)]
    masks = _by_name([path for path in files if _is_mask(path)])
    scans = _by_name([path for path in files if not _is_mask(path)])
    return [
        found
        for name, scan in sorted(scans.items())
        for found in slices_of(Found(scan, name, "vessel12", mask=masks.get(name)))
    ]


def _is_mask(path: Path) -> bool:
    """Lung masks lie in ``Lungmasks`` or ``VESSEL12_01-20_Lungmasks``, named as the scans are."""
    return path.parent.name.lower().endswith("masks")


def _by_name(paths: list[Path]) -> dict[str, Path]:
    named: dict[str, Path] = {}
    for path in paths:
        if named.setdefault(path.stem, path) != path:
            raise DataError(f"{path} and {named[path.stem]} are both {path.stem}; remove one")
    return named


LAYOUT = Layout(
    has_one_of(*PATTERNS[:2]),  # three levels up there may be other sets, too
    find,
    ("*masks/VESSEL12_*.mhd",),
    About(
        "23 CT scans of the chest",
        "https://vessel12.grand-challenge.org; the files are at https://zenodo.org/records/8055066",
        "only for taking part in the challenge",
        "1 = lung, not vessel: dense masks of the vessels are not public",
    ),
)

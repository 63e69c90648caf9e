"""CathAction, segmentation: ``{train,test}/images/imageN.jpg`` with ``labels/maskN.png``."""

from pathlib import Path

from fedefm.data.found import Found
from fedefm.data.public_sets.layout import About, Layout, files_in, has, number_of
from fedefm.errors import DataError

NOTE = (
    "CathAction does not say which frames are of one video: frames beside each other look alike, "
    "so only its own split into train and test tells how a model does on what it has not seen"
)


def find(source: Path) -> list[Found]:
    """Raises DataError where a mask has no image of its number, or two have one number."""
    return [
        Found(image, "", "cathaction", mask=mask, split=split, note=NOTE)
        for split in ("train", "test")
        for image, mask in _pairs(source / split)
    ]


def _pairs(folder: Path) -> list[tuple[Path, Path | None]]:
    images = _numbered(folder / "images", "*.jpg")
    masks = _numbered(folder / "labels", "*.png")
    lost = sorted(masks.keys() - images.keys())
    if lost:
        raise DataError(f"{folder}/images has no image of the number {_shown(lost[0])} of a mask")
    return [(images[number], masks.get(number)) for number in sorted(images)]


def _numbered(folder: Path, pattern: str) -> dict[tuple[int, ...], Path]:
    numbered: dict[tuple[int, ...], Path] = {}
    for path in files_in(folder, pattern):
        number = number_of(path)
        if numbered.setdefault(number, path) != path:
            raise DataError(
                f"two files in {folder} have the number {_shown(number)}; masks are paired by it"
            )
    return numbered


def _shown(number: tuple[int, ...]) -> str:
    return ".".join(map(str, number)) or "(none)"


LAYOUT = Layout(
    has("train/images/image*.jpg", "train/labels/mask*.png"),
    find,
    ("labels/*.png",),
    About(
        "25,000 frames of catheters and guidewires in phantoms and animals, with masks",
        "https://airvlab.github.io/cathaction (request form)",
        "CC BY-NC-SA",
        "catheter and guidewire, values as published",
    ),
)

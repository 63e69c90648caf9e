"""ISIC: skin lesions; nothing is known of the people, so each image is one."""

from pathlib import Path

from fedefm.data.found import Found
from fedefm.data.public_sets.layout import About, Layout, files_in, has


def find(source: Path) -> list[Found]:
    return [
        Found(image, f"isic/{image.stem}", "isic-skin", mask=source / "masks" / f"{image.stem}.png")
        for image in files_in(source / "images", "ISIC_*.jpg")
    ]


LAYOUT = Layout(
    has("images/ISIC_*.jpg", "masks"),
    find,
    ("masks/ISIC_*.png",),
    About(
        "photographs of skin lesions, masks/ISIC_*.png beside images/ISIC_*.jpg",
        "https://challenge.isic-archive.com/data/",
        "CC0 for the 2017 challenge; look at the terms of each year",
        "1 = lesion",
    ),
)

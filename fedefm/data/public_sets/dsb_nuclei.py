"""Data Science Bowl 2018: nuclei in two stainings, masks that number each nucleus."""

from pathlib import Path

from fedefm.data.found import Found
from fedefm.data.public_sets.layout import About, Layout, files_in, has


def find(source: Path) -> list[Found]:
    return [
        Found(
            image,
            f"dsb2018/{image.stem}",
            f"dsb2018-{staining}",
            mask=source / staining / "labels" / image.name,
            instances=True,
        )
        for staining in ("fluorescence", "histology")
        for image in files_in(source / staining / "images", "*.png")
    ]


LAYOUT = Layout(
    has("fluorescence/images", "histology/images"),
    find,
    ("fluorescence/labels/*.png", "histology/labels/*.png"),
    About(
        "microscopy of cell nuclei, sorted by staining, one file of numbered nuclei an image",
        "https://bbbc.broadinstitute.org/BBBC038",
        "CC0 1.0",
        "1 = nucleus; the numbers of the nuclei are joined",
    ),
)

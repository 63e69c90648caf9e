"""NIH ChestX-ray, two of its classes: ``<class>/<person>_<visit>.png``."""

from pathlib import Path

from fedefm.data.found import Found
from fedefm.data.public_sets.layout import About, Layout, files_in, has


def find(source: Path) -> list[Found]:
    return [
        Found(image, f"nih-cxr/{image.stem.split('_')[0]}", "nih-cxr", label=folder)
        for folder in ("No_findings", "Pneumonia")
        for image in files_in(source / folder, "*.png")
    ]


LAYOUT = Layout(
    has("No_findings", "Pneumonia"),
    find,
    about=About(
        "chest X-rays in folders No_findings and Pneumonia, from NIH ChestX-ray8",
        "https://nihcc.app.box.com/v/ChestXray-NIHCC",
        "free to use, with attribution to the NIH Clinical Center",
        "none",
    ),
)

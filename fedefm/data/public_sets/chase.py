"""CHASE_DB1: retinas, ``Image_<person><L or R>.jpg``, with the vessels as two people saw them."""

from pathlib import Path

from fedefm.data.found import Found
from fedefm.data.public_sets.layout import About, Layout, files_in, has_one_of, unpacked


def find(source: Path) -> list[Found]:
    return [
        Found(
            image,
            f"chase-db1/{image.stem[6:8]}",
            "chase-db1",
            mask=image.with_name(f"{image.stem}_1stHO.png"),
        )
        for image in files_in(unpacked(source, "CHASEDB1"), "Image_*.jpg")
    ]


LAYOUT = Layout(
    has_one_of("CHASEDB1/Image_01L.jpg", "Image_01L.jpg"),
    find,
    ("Image_*HO.png",),
    About(
        "28 photographs of the retina, both eyes of 14 people",
        "https://researchdata.kingston.ac.uk/96/",
        "CC BY 4.0",
        "1 = vessel, by the first observer",
    ),
)

"""DCA1: X-ray angiograms of coronary arteries, ``N.pgm`` with ``N_gt.pgm`` beside."""

from pathlib import Path

from fedefm.data.found import Found
from fedefm.data.public_sets.layout import About, Layout, files_in, has, if_there, unpacked

FOLDER = "Database_134_Angiograms"


def find(source: Path) -> list[Found]:
    return [
        Found(image, "", "dca1", mask=if_there(image.with_name(f"{image.stem}_gt.pgm")))
        for image in files_in(unpacked(source, FOLDER), "*.pgm")
        if image.stem.isdigit()
    ]


LAYOUT = Layout(
    lambda source: has("1.pgm", "1_gt.pgm")(unpacked(source, FOLDER)),
    find,
    ("*_gt.pgm",),
    About(
        "134 X-ray angiograms of coronary arteries, 300 x 300 px",
        "http://personal.cimat.mx:8181/~ivan.cruz/DB_Angiograms_files/DB_Angiograms_134.zip",
        "not stated where we looked",
        "1 = artery",
    ),
)

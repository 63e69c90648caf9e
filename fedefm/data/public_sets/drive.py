"""DRIVE: ``{training,test}/images/NN_*.tif``; ``mask/`` is the round field of view, not a label."""

from pathlib import Path

from fedefm.data.found import Found
from fedefm.data.public_sets.layout import About, Layout, files_in, has, if_there, unpacked

SPLITS = {"training": "train", "test": "test"}


def find(source: Path) -> list[Found]:
    return [
        Found(
            image,
            f"drive/{number}",
            "drive",
            mask=if_there(root / folder / "1st_manual" / f"{number}_manual1.gif"),
            split=split,
        )
        for root in [unpacked(source, "DRIVE")]
        for folder, split in SPLITS.items()
        for image in files_in(root / folder / "images", f"*_{folder}.tif")
        for number in [image.stem.split("_")[0]]
    ]


LAYOUT = Layout(
    lambda source: has("training/images/*_training.tif")(unpacked(source, "DRIVE")),
    find,
    ("mask/*_mask.gif", "1st_manual/*.gif", "2nd_manual/*.gif"),
    About(
        "40 photographs of the retina, 20 for training (21-40) and 20 for test (01-20)",
        "https://drive.grand-challenge.org",
        "research and education only, no redistribution",
        "1 = vessel, by the first observer",
    ),
)

"""Medical Segmentation Decathlon, any task: ``TaskNN_Name/{imagesTr,labelsTr}/*.nii.gz``."""

from collections.abc import Iterator
from pathlib import Path

from fedefm.data.found import Found
from fedefm.data.public_sets.layout import About, Layout, files_in, has, has_one_of
from fedefm.data.public_sets.volumes import slices_of
from fedefm.data.readers import count_frames

COMPANIONS = ("labelsTr/*.nii.gz", "imagesTs/*.nii.gz")


def find(source: Path) -> list[Found]:
    """Every slice of every volume with a mask; volumes of the challenge's test have none.

    Of volumes with several channels (tasks 1 and 5) only the first channel is taken.
    """
    return [found for task in _tasks(source) for found in _task(task)]


def hippocampus(source: Path) -> list[Found]:
    """Of task 4 alone the central slice of each person's volume, which is small."""
    task = source / "Task04_Hippocampus"
    return [
        Found(
            image,
            f"msd-hippocampus/{image.name}",
            "msd-hippocampus",
            frame=count_frames(image) // 2,
            mask=task / "labelsTr" / image.name,
        )
        for image in files_in(task / "imagesTr", "hippocampus_*.nii.gz")
    ]


def _tasks(source: Path) -> list[Path]:
    inside = [path for path in sorted(source.glob("Task[0-9][0-9]_*")) if path.is_dir()]
    return inside or [source]


def _task(folder: Path) -> Iterator[Found]:
    name = folder.resolve().name.lower()
    for image in files_in(folder / "imagesTr", "*.nii.gz"):
        mask = folder / "labelsTr" / image.name
        patient = f"msd/{name}/{image.name}"
        yield from slices_of(Found(image, patient, f"msd-{name}", mask=mask))


LAYOUT = Layout(
    has_one_of("Task[0-9][0-9]_*/imagesTr/*.nii.gz", "imagesTr/*.nii.gz"),
    find,
    COMPANIONS,
    About(
        "volumes of CT and MR in ten tasks; Task08_HepaticVessel holds the vessels of the liver",
        "http://medicaldecathlon.com",
        "CC BY-SA 4.0",
        "as the task's dataset.json says, such as 1 = vessel and 2 = tumor in task 8",
    ),
)

HIPPOCAMPUS = Layout(
    lambda source: (
        has("Task04_Hippocampus/imagesTr")(source)
        and not has("Task04_Hippocampus/dataset.json")(source)
    ),
    hippocampus,
    COMPANIONS,
    About(
        "Medical Segmentation Decathlon, task 4 without its dataset.json: a central slice each, "
        "where --layout msd takes all",
        "http://medicaldecathlon.com",
        "CC BY-SA 4.0",
        "1 = anterior, 2 = posterior part of the hippocampus",
    ),
)

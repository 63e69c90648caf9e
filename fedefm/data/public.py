"""Public image sets: where their images, masks and patients are. One small function a set.

Each takes the set's folder as it is published and opens no more than it must.
"""

from pathlib import Path

from fedefm.data.found import Found
from fedefm.data.readers import count_frames

XA_BLOCK = 8  # frames
XA_NOTE = (
    f"the corpus xa-fluoroscopy is one person, whose blocks of {XA_BLOCK} frames stand for "
    "patients: test figures on it speak of a person seen in training"
)


def chase(source: Path) -> list[Found]:
    """CHASE_DB1: retinas, ``Image_<person><L or R>.jpg``, with the first observer's vessels."""
    return [
        Found(
            image, f"chase-db1/{image.stem[6:8]}", "chase-db1", mask=_sibling(image, "_1stHO.png")
        )
        for image in _images(source / "CHASEDB1", "Image_*.jpg")
    ]


def nih_chest(source: Path) -> list[Found]:
    """NIH ChestX-ray: ``<class>/<person>_<visit>.png``."""
    return [
        Found(image, f"nih-cxr/{image.stem.split('_')[0]}", "nih-cxr", label=folder)
        for folder in ("No_findings", "Pneumonia")
        for image in _images(source / folder, "*.png")
    ]


def dsb_nuclei(source: Path) -> list[Found]:
    """Data Science Bowl 2018: nuclei in two stainings, masks that number each nucleus."""
    return [
        Found(
            image,
            f"dsb2018/{image.stem}",
            f"dsb2018-{domain}",
            mask=source / domain / "labels" / image.name,
            instances=True,
        )
        for domain in ("fluorescence", "histology")
        for image in _images(source / domain / "images", "*.png")
    ]


def fetal_head(source: Path) -> list[Found]:
    """HC18: fetal heads in ultrasound, ``<person>_HC.png``, with filled outlines beside."""
    return [
        Found(image, f"hc18/{image.stem[:3]}", "hc18-fetal-head", mask=masks / image.name)
        for masks in [source / "filled_masks"]
        for image in _images(source / "training_set", "*HC.png")
    ]


def hippocampus(source: Path) -> list[Found]:
    """Medical Segmentation Decathlon, task 4: the central slice of each person's volume."""
    task = source / "Task04_Hippocampus"
    return [
        Found(
            image,
            f"msd-hippocampus/{image.name}",
            "msd-hippocampus",
            frame=count_frames(image) // 2,
            mask=task / "labelsTr" / image.name,
        )
        for image in _images(task / "imagesTr", "hippocampus_*.nii.gz")
    ]


def skin(source: Path) -> list[Found]:
    """ISIC: skin lesions; nothing is known of the people, so each image is one."""
    return [
        Found(image, f"isic/{image.stem}", "isic-skin", mask=source / "masks" / f"{image.stem}.png")
        for image in _images(source / "images", "ISIC_*.jpg")
    ]


def angiogram(source: Path) -> list[Found]:
    """One public X-ray angiogram of 96 frames, of one person.

    To be a corpus of its own it has to be divided, so blocks of frames stand for patients.
    """
    image = source / "HasFragmentSequence_XA_96fr.dcm"
    return [
        Found(image, f"xa/{frame // XA_BLOCK}", "xa-fluoroscopy", frame=frame, note=XA_NOTE)
        for frame in range(count_frames(image))
    ]


def _images(folder: Path, pattern: str) -> list[Path]:
    return sorted(path for path in folder.glob(pattern) if not path.name.startswith("."))


def _sibling(image: Path, ending: str) -> Path:
    return image.with_name(image.stem + ending)

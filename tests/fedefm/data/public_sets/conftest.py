"""Every public set in small: made here, in the layout of its publisher, nothing of it real."""

import csv
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

Build = Callable[[Path], object]
SIDE = 24


def noise(path: Path) -> np.random.Generator:
    """Of its own for each file: copies in two splits would be a fault of the set."""
    return np.random.default_rng(zlib.crc32("/".join(path.parts[-4:]).encode()))


def gray(path: Path) -> Path:
    """A picture of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = noise(path).integers(0, 256, (6, 6), dtype=np.uint8)
    Image.fromarray(coarse).resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(path)
    return path


def mask(path: Path, values: NDArray[Any] | None = None) -> Path:
    """A square of 255, or what is given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if values is None:
        values = np.zeros((SIDE, SIDE), np.uint8)
        values[8:16, 8:16] = 255
    if path.suffix == ".npy":
        np.save(path, values)
    elif path.name.endswith(".nii.gz"):
        nibabel.Nifti1Image(values, np.eye(4)).to_filename(path)
    else:
        Image.fromarray(values).save(path)
    return path


def volume(path: Path, shape: tuple[int, ...], top: int = 1000) -> Path:
    values = noise(path).integers(0, top, shape).astype(np.int16)
    return mask(path, values)


def table(path: Path, *rows: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)  # type: ignore[arg-type]
    return path


def as_json(path: Path, value: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def chase_db1(root: Path) -> None:
    for eye in ("01L", "01R", "02L"):
        gray(root / "CHASEDB1" / f"Image_{eye}.jpg")
        mask(root / "CHASEDB1" / f"Image_{eye}_1stHO.png")
        mask(root / "CHASEDB1" / f"Image_{eye}_2ndHO.png")


def nih_cxr_mini(root: Path) -> None:
    gray(root / "No_findings" / "00000001_000.png")
    gray(root / "No_findings" / "00000001_001.png")
    gray(root / "Pneumonia" / "00000002_000.png")


def dsb2018_nuclei(root: Path) -> None:
    for staining in ("fluorescence", "histology"):
        gray(root / staining / "images" / f"{staining[0]}.png")
        numbers = np.arange(SIDE * SIDE, dtype=np.uint16).reshape(SIDE, SIDE)
        mask(root / staining / "labels" / f"{staining[0]}.png", numbers)


def hc18_fetal_head(root: Path) -> None:
    ring = np.zeros((SIDE, SIDE), np.uint8)
    ring[6:18, 6:18] = 255
    ring[7:17, 7:17] = 0
    for name in ("010_HC", "010_2HC", "011_HC"):
        gray(root / "training_set" / f"{name}.png")
        mask(root / "training_set" / f"{name}_Annotation.png", ring)
    gray(root / "test_set" / "000_HC.png")
    table(
        root / "training_set_pixel_size_and_HC.csv",
        ("filename", "pixel size(mm)", "head circumference (mm)"),
        ("010_HC.png", "0.069", "44.3"),
        ("010_2HC.png", "0.07", "44.4"),
    )


def msd_task04_hippocampus(root: Path) -> None:
    for name in ("hippocampus_001.nii.gz", "hippocampus_003.nii.gz"):
        volume(root / "Task04_Hippocampus" / "imagesTr" / name, (SIDE, SIDE, 5))
        volume(root / "Task04_Hippocampus" / "labelsTr" / name, (SIDE, SIDE, 5), 3)


def isic_skin_mini(root: Path) -> None:
    gray(root / "images" / "ISIC_0000001.jpg")
    mask(root / "masks" / "ISIC_0000001.png")


def xa_dicom(root: Path) -> None:
    from pydicom.data import get_testdata_file

    root.mkdir(exist_ok=True)
    run = Path(str(get_testdata_file("examples_ybr_color.dcm")))  # 30 frames
    (root / "HasFragmentSequence_XA_96fr.dcm").write_bytes(run.read_bytes())


def cathaction(root: Path) -> None:
    for split, numbers in (("train", (1, 2, 10)), ("test", (1, 2))):
        for number in numbers:
            gray(root / split / "images" / f"image{number}.jpg")
            values = np.full((SIDE, SIDE), number % 3, np.uint8)
            mask(root / split / "labels" / f"mask{number}.png", values)


def endovascular(root: Path) -> None:
    three = np.arange(SIDE * SIDE).reshape(SIDE, SIDE) % 3
    soft = np.zeros((SIDE, SIDE), np.uint8)
    soft[4:9], soft[9] = 255, 70  # the edge of a smoothed mask
    for split in ("train", "test"):
        for domain in ("phantom", "animal"):
            gray(root / f"{domain}_{split}" / "images" / "a.b.png")
            mask(root / f"{domain}_{split}" / "masks" / "a.npy", three)
        gray(root / f"sim_{split}" / "images" / "7.png")
        mask(root / f"sim_{split}" / "masks" / "7_mask.png", soft)
        gray(root / f"real_{split}" / "images" / "8.png")
        mask(root / f"real_{split}" / "masks" / "8.png", soft)


def guide3d(root: Path) -> None:
    def view(camera: int, number: int) -> dict[str, object]:
        name = f"1-bca-angle-5-{camera}/{number:03d}.png"
        gray(root / name)
        return {"image": name, "points": [[2, 3], [12, 14], [20, 14]]}

    frames = [{"frame_number": n, "cameraA": view(1, n), "cameraB": view(2, n)} for n in range(2)]
    as_json(root / "raw.json", [{"task": "1-bca-angle-5-1", "frame_count": 2, "frames": frames}])


UIDS = ("1.2.826.1", "1.2.826.2", "1.2.826.3", "1.2.826.4")


def ranzcr_clip(root: Path) -> None:
    for uid in UIDS:
        gray(root / "train" / f"{uid}.jpg")
    gray(root / "test" / "1.2.826.9.jpg")
    table(
        root / "train.csv",
        ("StudyInstanceUID", "ETT - Normal", "NGT - Abnormal", "CVC - Normal", "PatientID"),
        (UIDS[0], 1, 0, 1, "ec89415d1"),
        (UIDS[1], 0, 0, 0, "ec89415d1"),
        (UIDS[2], 0, 1, 0, "bf4c6da3c"),
        (UIDS[3], 0, 0, 1, "3fc1c97e5"),
    )
    table(
        root / "train_annotations.csv",
        ("StudyInstanceUID", "label", "data"),
        (UIDS[0], "CVC - Normal", "[[2, 2], [20, 2]]"),
        (UIDS[0], "ETT - Normal", "[[12, 5], [12, 18], [30, 18]]"),
        (UIDS[3], "CVC - Normal", "[[5, 5]]"),
    )


def coco(outlines: list[list[list[float]]]) -> dict[str, Any]:
    """Annotations of two images of 24 x 24; the outlines are all of the first."""
    return {
        "images": [
            {"id": 1, "file_name": "1.png", "height": SIDE, "width": SIDE},
            {"id": 2, "file_name": "2.png", "height": SIDE, "width": SIDE},
        ],
        "categories": [{"id": 1, "name": "1"}],
        "annotations": [
            {"id": n, "image_id": 1, "category_id": 1, "segmentation": outline}
            for n, outline in enumerate(outlines)
        ],
    }


SQUARES = [[[2, 2, 8, 2, 8, 8, 2, 8]], [[12, 12, 20, 12, 20, 16, 12, 16]]]


def arcade(root: Path) -> None:
    for task in ("syntax", "stenosis"):
        for part in ("train", "val", "test"):
            folder = root / "arcade" / task / part
            gray(folder / "images" / "1.png")
            gray(folder / "images" / "2.png")
            as_json(folder / "annotations" / f"{part}.json", coco(SQUARES))


def dca1(root: Path) -> None:
    for number in (1, 2):
        gray(root / "Database_134_Angiograms" / f"{number}.pgm")
        mask(root / "Database_134_Angiograms" / f"{number}_gt.pgm")


def drive(root: Path) -> None:
    field = np.full((SIDE, SIDE), 255, np.uint8)
    for folder, number in (("training", "21"), ("training", "22"), ("test", "01")):
        ending = "training" if folder == "training" else "test"
        gray(root / folder / "images" / f"{number}_{ending}.tif")
        mask(root / folder / "mask" / f"{number}_{ending}_mask.gif", field)
        mask(root / folder / "1st_manual" / f"{number}_manual1.gif")
    mask(root / "test" / "2nd_manual" / "01_manual2.gif")


def msd(root: Path) -> None:
    task = root / "Task08_HepaticVessel"
    for name in ("hepaticvessel_001.nii.gz", "hepaticvessel_002.nii.gz"):
        volume(task / "imagesTr" / name, (SIDE, SIDE, 3))
        volume(task / "labelsTr" / name, (SIDE, SIDE, 3), 3)
    (task / "imagesTr" / "._hepaticvessel_001.nii.gz").write_bytes(b"what macOS leaves")
    volume(task / "imagesTs" / "hepaticvessel_003.nii.gz", (SIDE, SIDE, 3))
    brain = root / "Task01_BrainTumour"
    volume(brain / "imagesTr" / "BRATS_001.nii.gz", (SIDE, SIDE, 3, 4))
    volume(brain / "labelsTr" / "BRATS_001.nii.gz", (SIDE, SIDE, 3), 4)


def meta(path: Path, kind: str, values: NDArray[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    size = " ".join(map(str, values.shape[::-1]))
    header = f"ObjectType = Image\nNDims = 3\nDimSize = {size}\nElementType = {kind}\n"
    path.write_text(f"{header}ElementDataFile = {path.stem}.raw\n")
    path.with_suffix(".raw").write_bytes(values.tobytes())


def vessel12(root: Path) -> None:
    scan = np.random.default_rng(0).integers(-1000, 1000, (4, SIDE, SIDE)).astype("<i2")
    lung = (scan > 0).astype(np.uint8)
    for folder, masks, number in (
        ("Scans", "Lungmasks", "21"),
        ("VESSEL12_01-05", "VESSEL12_01-20_Lungmasks", "01"),
    ):
        meta(root / folder / f"VESSEL12_{number}.mhd", "MET_SHORT", scan)
        meta(root / masks / f"VESSEL12_{number}.mhd", "MET_UCHAR", lung)


def sennet(root: Path) -> None:
    for kidney in ("kidney_1_dense", "kidney_1_voi", "kidney_2", "kidney_3_sparse"):
        for number in range(2):
            gray(root / "train" / kidney / "images" / f"{number:04d}.tif")
            mask(root / "train" / kidney / "labels" / f"{number:04d}.tif")
    everything = np.full((SIDE, SIDE), 255, np.uint8)
    mask(root / "train" / "kidney_3_dense" / "labels" / "0001.tif", everything)
    gray(root / "test" / "kidney_5" / "images" / "0000.tif")


def busi(root: Path) -> None:
    folder = root / "Dataset_BUSI_with_GT"
    for name in ("benign (1)", "benign (10)"):
        gray(folder / "benign" / f"{name}.png")
        mask(folder / "benign" / f"{name}_mask.png")
    corner = np.zeros((SIDE, SIDE), np.uint8)
    corner[:3, :3] = 255
    mask(folder / "benign" / "benign (10)_mask_1.png", corner)
    gray(folder / "malignant" / "malignant (1).png")
    mask(folder / "malignant" / "malignant (1)_mask.png")
    gray(folder / "normal" / "normal (1).png")
    mask(folder / "normal" / "normal (1)_mask.png", np.zeros((SIDE, SIDE), np.uint8))


def camus(root: Path) -> None:
    for patient in ("patient0001", "patient0002"):
        for view in ("2CH", "4CH"):
            stem = root / "database_nifti" / patient / f"{patient}_{view}"
            for phase in ("ED", "ES"):
                volume(stem.with_name(f"{stem.name}_{phase}.nii.gz"), (SIDE, 20))
                volume(stem.with_name(f"{stem.name}_{phase}_gt.nii.gz"), (SIDE, 20), 4)
            volume(stem.with_name(f"{stem.name}_half_sequence.nii.gz"), (SIDE, 20, 3))
            volume(stem.with_name(f"{stem.name}_half_sequence_gt.nii.gz"), (SIDE, 20, 3), 4)
    (root / "database_split").mkdir()
    (root / "database_split" / "subgroup_training.txt").write_text("patient0001\n")
    (root / "database_split" / "subgroup_testing.txt").write_text("patient0002\r\n")


def tn3k(root: Path) -> None:
    rows = {
        "trainval": [("0000.jpg", 1), ("0001.jpg", 0), ("0002.jpg", 0)],
        "test": [("0000.jpg", 1)],
    }
    for part, labels in rows.items():
        for name, _ in labels:
            gray(root / "tn3k" / f"{part}-image" / name)
            mask(root / "tn3k" / f"{part}-mask" / name)  # JPEG: shades beside its two values
        table(root / "tn3k" / f"label4{part}.csv", *labels)
    as_json(root / "tn3k" / "tn3k-trainval-fold0.json", {"train": [0, 1], "val": [2]})


def collection(root: Path) -> None:
    isic_skin_mini(root / "skin")
    dca1(root / "hearts")


def a_list(root: Path) -> Path:
    gray(root / "silo" / "a.png")
    gray(root / "silo" / "b c.png")
    return table(root / "silo1.csv", ("path", "label"), ("silo/a.png", 0), ("silo/b c.png", 7))


def classes(root: Path) -> None:
    gray(root / "train" / "wire" / "a.png")
    gray(root / "train" / "none" / "b.png")
    gray(root / "test" / "wire" / "c.png")


def images(root: Path) -> None:
    gray(root / "a.png")
    mask(root / "a_mask.png")


FIXTURES: dict[str, Build] = {
    "chase-db1": chase_db1,
    "nih-cxr-mini": nih_cxr_mini,
    "dsb2018-nuclei": dsb2018_nuclei,
    "hc18-fetal-head": hc18_fetal_head,
    "msd-task04-hippocampus": msd_task04_hippocampus,
    "isic-skin-mini": isic_skin_mini,
    "xa-dicom": xa_dicom,
    "cathaction": cathaction,
    "endovascular": endovascular,
    "guide3d": guide3d,
    "ranzcr-clip": ranzcr_clip,
    "arcade": arcade,
    "dca1": dca1,
    "drive": drive,
    "msd": msd,
    "vessel12": vessel12,
    "sennet": sennet,
    "busi": busi,
    "camus": camus,
    "tn3k": tn3k,
    "collection": collection,
    "list": a_list,
    "classes": classes,
    "images": images,
}


@pytest.fixture
def build(tmp_path: Path) -> Callable[[str], Path]:
    """Makes the set of a layout and gives the folder, or the file, that one names to ingest it."""

    def make(layout: str) -> Path:
        root = tmp_path / "set"
        made = FIXTURES[layout](root)
        return made if isinstance(made, Path) else root

    return make


@pytest.fixture
def fixtures() -> dict[str, Build]:
    return FIXTURES

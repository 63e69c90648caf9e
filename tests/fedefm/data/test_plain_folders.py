from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.data import get_testdata_file

from fedefm.data.found import by_pattern
from fedefm.data.plain_folders import (
    Listing,
    classes,
    has_classes,
    images,
    mask_beside,
    masks_of_nothing,
)
from fedefm.errors import DataError


def draw(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        if name.endswith(".nii.gz"):
            volume = nibabel.Nifti1Image(np.zeros((4, 4, 1), np.uint8), np.eye(4))
            nibabel.save(volume, folder / name)
            continue
        Image.new("L", (4, 4)).save(folder / name)
    return folder


def test_every_image_below_a_folder_is_found_and_nothing_else(tmp_path: Path) -> None:
    draw(tmp_path / "angio", "b.png", "deep/er/a.jpg", ".hidden/c.png", "._d.png")
    (tmp_path / "angio" / "notes.txt").write_text("notes")
    found = images(tmp_path / "angio")
    assert [item.image.name for item in found] == ["b.png", "a.jpg"]
    assert {item.corpus for item in found} == {"angio"}
    assert {item.patient for item in found} == {""}
    assert len({item.person for item in found}) == 2


def test_one_file_is_a_source_too(tmp_path: Path) -> None:
    draw(tmp_path, "b.png", "c.png")
    assert [item.image.name for item in images(tmp_path / "b.png")] == ["b.png"]


def test_all_frames_of_a_stack_are_found(tmp_path: Path) -> None:
    np.save(tmp_path / "stack.npy", np.zeros((5, 8, 8), np.uint8))
    assert [item.frame for item in images(tmp_path)] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("a.png", "a_mask.png"),
        ("7.pgm", "7_gt.pgm"),
        ("a.jpg", "a_seg.png"),
        ("images/a.jpg", "masks/a.png"),
        ("images/a.png", "labels/a.png"),
        ("train/images/a.png", "train/masks/a_mask.png"),
        ("a.png", "masks/a.png"),
        ("a.png", "Masks/a_mask.png"),
        ("P1/a.png", "P1/masks/a.png"),
        ("imagesTr/a.nii.gz", "labelsTr/a.nii.gz"),
        ("1.2.840.1.png", "1.2.840.1_mask.png"),
    ],
)
def test_masks_are_found_by_the_usual_names(tmp_path: Path, image: str, mask: str) -> None:
    draw(tmp_path, image, mask, "1.2.840.2.png", "other.png")
    found = {item.image: item.mask for item in images(tmp_path)}
    assert found[tmp_path / image] == tmp_path / mask
    assert found[tmp_path / "other.png"] is None
    assert found[tmp_path / "1.2.840.2.png"] is None
    assert tmp_path / mask not in found


def test_masks_without_an_image_are_not_images(tmp_path: Path) -> None:
    draw(tmp_path, "images/a.png", "masks/a.png", "masks/lost.png")
    assert [item.image.name for item in images(tmp_path)] == ["a.png"]
    assert mask_beside(tmp_path / "masks" / "lost.png", tmp_path, Listing()) is None


@pytest.mark.parametrize(
    "lost", ["masks/lost.png", "P1/masks/lost.png", "labels/P1/lost.png", "Mask/lost.png"]
)
def test_what_lies_in_a_folder_for_masks_is_never_an_image(tmp_path: Path, lost: str) -> None:
    draw(tmp_path, "a.png", "P1/a.png", lost)
    assert {item.image.name for item in images(tmp_path)} == {"a.png"}
    assert masks_of_nothing(tmp_path, {tmp_path / "a.png"}) == [tmp_path / lost]


def test_a_folder_of_masks_that_is_named_itself_holds_images(tmp_path: Path) -> None:
    draw(tmp_path, "masks/a.png", "masks/P1/b.png")
    assert [item.image.name for item in images(tmp_path / "masks")] == ["b.png", "a.png"]


def test_folders_are_classes(tmp_path: Path) -> None:
    draw(tmp_path, "cat/1.png", "cat/deep/2.png", "größe/3.png", "stray.png")
    assert has_classes(tmp_path)
    assert [item.label for item in classes(tmp_path)] == ["cat", "cat", "größe"]


def test_folders_for_splits_set_the_split(tmp_path: Path) -> None:
    draw(tmp_path, "train/cat/1.png", "train/dog/2.png", "val/cat/3.png", "test/dog/4.png")
    assert has_classes(tmp_path)
    found = {item.image.name: (item.split, item.label) for item in classes(tmp_path)}
    assert found == {
        "1.png": ("train", "cat"),
        "2.png": ("train", "dog"),
        "3.png": ("validation", "cat"),
        "4.png": ("test", "dog"),
    }


def test_images_and_masks_side_by_side_are_not_classes(tmp_path: Path) -> None:
    assert not has_classes(draw(tmp_path / "a", "images/1.png", "masks/1.png"))
    assert not has_classes(draw(tmp_path / "b", "only/1.png"))
    assert not has_classes(draw(tmp_path / "c", "1.png"))


def test_the_patient_is_the_one_in_the_dicom_header(tmp_path: Path) -> None:
    dataset = pydicom.dcmread(str(get_testdata_file("CT_small.dcm")))
    for name, patient in (("a.dcm", "A"), ("no suffix", "A"), ("c.dcm", "C"), ("d.dcm", "")):
        dataset.PatientID = patient
        dataset.save_as(tmp_path / name)
    found = {item.image.name: item.patient for item in images(tmp_path)}
    assert found["a.dcm"] == found["no suffix"] == "PatientID/A"
    assert found["c.dcm"] == "PatientID/C"
    assert found["d.dcm"] == f"StudyInstanceUID/{dataset.StudyInstanceUID}"


def test_a_pattern_reads_the_patient_from_the_path(tmp_path: Path) -> None:
    draw(tmp_path, "miller/1.png", "miller/2.png", "smith/1.png")
    found = by_pattern(images(tmp_path), tmp_path, r"^([^/]+)/")
    assert [item.patient for item in found] == ["miller", "miller", "smith"]


def test_dicom_without_an_image_is_passed_over(tmp_path: Path) -> None:
    for name in ("CT_small.dcm", "test-SR.dcm", "rtplan.dcm"):
        (tmp_path / name).write_bytes(Path(str(get_testdata_file(name))).read_bytes())
    assert [item.image.name for item in images(tmp_path)] == ["CT_small.dcm"]


@pytest.mark.parametrize(
    ("pattern", "reason"), [("(", "is not valid"), ("x", "one group"), ("(x)", "finds no patient")]
)
def test_a_pattern_that_does_not_fit_is_refused(tmp_path: Path, pattern: str, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        by_pattern(images(draw(tmp_path, "1.png")), tmp_path, pattern)

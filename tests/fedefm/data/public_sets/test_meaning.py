"""What single sets mean by their files: whose image, which mask, which split."""

from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from fedefm.data.found import Found
from fedefm.data.ingest import ingest
from fedefm.data.kinds import SEPARATOR, names_in
from fedefm.data.layouts import LAYOUTS
from fedefm.data.manifest import read_manifest
from fedefm.data.public_sets import ranzcr
from fedefm.data.readers import read_image, read_mask

Make = Callable[[str], Path]
SIDE = 24


def found_in(build: Make, name: str) -> dict[str, Found]:
    """What a layout finds, by the image's path below the set."""
    source = build(name)
    return {item.image.relative_to(source).as_posix(): item for item in LAYOUTS[name].find(source)}


def splits(found: dict[str, Found]) -> dict[str, str]:
    return {name: item.split for name, item in found.items()}


def test_cathaction_masks_are_paired_by_number_not_by_the_order_of_names(build: Make) -> None:
    found = found_in(build, "cathaction")
    for name, item in found.items():
        number = int("".join(filter(str.isdigit, Path(name).stem)))
        assert item.mask is not None
        assert (read_mask(item.mask) == number % 3).all()
    assert splits(found)["train/images/image10.jpg"] == "train"
    assert splits(found)["test/images/image2.jpg"] == "test"


def test_cathaction_s_frames_of_humans_need_a_pattern_and_no_reader(tmp_path: Path) -> None:
    source = tmp_path / "human_dataset_train"
    rng = np.random.default_rng(0)
    for video in ("JFQ_1", "JFQ_2"):
        for frame in range(2):
            name = f"{video}_img-{frame:04d}"
            for place, pixels in (
                (f"img/{name}.jpg", rng.integers(0, 256, (SIDE, SIDE), dtype=np.uint8)),
                (f"mask/{name}_mask.png", np.eye(SIDE, dtype=np.uint8) * 255),
            ):
                (source / place).parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(source / place)
    made = ingest(source, tmp_path / "out", patient_pattern="([^/]+)_img-")
    assert made.layout == "images"
    assert [made.rows[0].patient_id == row.patient_id for row in made.rows] == [
        True,
        True,
        False,
        False,
    ]
    for row in made.rows:
        labels = read_mask(tmp_path / "out" / row.mask_path)
        np.testing.assert_array_equal(labels, np.eye(SIDE))


@pytest.mark.parametrize("name", ["cathaction", "endovascular"])
def test_what_nobody_says_of_mask_values_is_said_so(name: str) -> None:
    masks = LAYOUTS[name].about.masks
    assert "publisher" in masks
    assert "finetune --classes" in masks


def test_fedefm_s_own_sets_have_three_classes_or_two(build: Make, tmp_path: Path) -> None:
    found = found_in(build, "endovascular")
    assert {item.corpus for item in found.values()} == {
        "eiphantom",
        "cathanimal",
        "eisimulation",
        "endovascular-real",
    }
    made = ingest(build("endovascular"), tmp_path / "out")
    for row in read_manifest(made.manifest).rows:
        values = set(np.unique(read_mask(tmp_path / "out" / row.mask_path)))
        assert values == ({0, 1, 2} if row.corpus in ("eiphantom", "cathanimal") else {0, 1})
    assert splits(found)["sim_test/images/7.png"] == "test"


def test_ranzcr_images_have_all_their_labels_and_their_own_patient(build: Make) -> None:
    found = found_in(build, "ranzcr-clip")
    labels = {name: names_in(item.label) for name, item in found.items()}
    assert labels["train/1.2.826.1.jpg"] == ("ETT - Normal", "CVC - Normal")
    assert labels["train/1.2.826.2.jpg"] == ()
    assert labels["train/1.2.826.3.jpg"] == ("NGT - Abnormal",)
    assert ranzcr.SEPARATOR == SEPARATOR
    patients = [item.patient for item in found.values()]
    assert patients[0] == patients[1] != patients[2]


def test_ranzcr_tubes_are_drawn_along_their_polylines(build: Make) -> None:
    found = found_in(build, "ranzcr-clip")
    drawn = found["train/1.2.826.1.jpg"].drawn
    assert drawn is not None
    mask = drawn()
    assert mask[2, 2:21].all()
    assert mask[5:19, 12].all()
    assert mask[18, 12:].all()
    assert not mask[8:15, :9].any()
    assert found["train/1.2.826.2.jpg"].drawn is None


def test_guide3d_wires_are_drawn_and_both_cameras_are_one_patient(build: Make) -> None:
    found = found_in(build, "guide3d")
    assert len({item.patient for item in found.values()}) == 1
    for item in found.values():
        assert item.drawn is not None
        mask = item.drawn()
        assert mask[14, 12:21].all()
        assert mask.sum() < 80


def test_arcade_outlines_are_filled_and_images_without_any_are_empty(build: Make) -> None:
    found = found_in(build, "arcade")
    first = found["arcade/syntax/train/images/1.png"].drawn
    second = found["arcade/syntax/train/images/2.png"].drawn
    assert first is not None
    assert second is not None
    expected = np.zeros((SIDE, SIDE), int)
    expected[2:9, 2:9] = expected[12:17, 12:21] = 1
    np.testing.assert_array_equal(first(), expected)
    assert not second().any()
    assert splits(found)["arcade/stenosis/val/images/1.png"] == "validation"


def test_drive_takes_the_vessels_and_not_the_field_of_view(build: Make) -> None:
    found = found_in(build, "drive")
    assert {item.split for item in found.values()} == {"train", "test"}
    for item in found.values():
        assert item.mask is not None
        mask = read_mask(item.mask)
        assert 0 < mask.mean() < 0.5
        assert mask.max() == 1


def test_decathlon_slices_stay_with_their_masks_and_channels_are_the_first(
    build: Make, tmp_path: Path
) -> None:
    found = LAYOUTS["msd"].find(build("msd"))
    assert {item.corpus for item in found} == {"msd-task08_hepaticvessel", "msd-task01_braintumour"}
    made = ingest(tmp_path / "set", tmp_path / "out")
    rows = read_manifest(made.manifest).rows
    for item, row in zip(found, rows, strict=True):
        assert item.mask is not None
        labels = np.asarray(nibabel.load(item.mask).dataobj)  # type: ignore[attr-defined]
        drawn = read_mask(tmp_path / "out" / row.mask_path)
        np.testing.assert_array_equal(drawn, np.rot90(labels[:, :, item.frame]))
        volume = np.asarray(nibabel.load(item.image).dataobj)  # type: ignore[attr-defined]
        channel = volume[..., 0] if volume.ndim == 4 else volume
        seen = read_image(tmp_path / "out" / row.path).ravel()
        order = np.argsort(np.rot90(channel[:, :, item.frame]), axis=None)
        assert (np.diff(seen[order]) >= 0).all()


def test_a_kidney_is_one_person_and_dense_labels_come_first(build: Make) -> None:
    found = found_in(build, "sennet")
    by_folder = {Path(name).parts[1]: item.patient for name, item in found.items()}
    assert by_folder["kidney_1_dense"] == by_folder["kidney_1_voi"] != by_folder["kidney_2"]
    masks = [found[f"train/kidney_3_sparse/images/000{n}.tif"].mask for n in (0, 1)]
    assert [mask.parts[-3] for mask in masks if mask] == ["kidney_3_sparse", "kidney_3_dense"]


def test_vessel12_scans_have_the_lung_masks_of_their_name(build: Make) -> None:
    for item in LAYOUTS["vessel12"].find(build("vessel12")):
        assert item.mask is not None
        assert item.mask.stem == item.image.stem == item.patient
        # read_image is monotonic in the voxels, so that lungs, above zero here, are the brighter
        lung = read_mask(item.mask, item.frame) == 1
        image = read_image(item.image, item.frame)
        assert image[lung].min() >= image[~lung].max()


def test_several_lesions_of_one_breast_are_one_mask(build: Make) -> None:
    found = found_in(build, "busi")
    several = found["Dataset_BUSI_with_GT/benign/benign (10).png"]
    one = found["Dataset_BUSI_with_GT/benign/benign (1).png"]
    assert several.mask is None
    assert several.drawn is not None
    assert one.mask is not None
    difference = several.drawn() - read_mask(one.mask)
    assert difference[:3, :3].all()
    assert difference.sum() == 9
    assert {item.label for item in found.values()} == {"benign", "malignant", "normal"}


def test_camus_patients_are_in_the_split_that_its_own_lists_say(build: Make) -> None:
    found = found_in(build, "camus")
    assert {(item.patient, item.split) for item in found.values()} == {
        ("camus/patient0001", "train"),
        ("camus/patient0002", "test"),
    }
    for item in found.values():
        assert item.mask is not None
        assert item.mask.name == item.image.name.replace(".nii.gz", "_gt.nii.gz")


def test_camus_sectors_have_their_narrow_end_on_top(build: Make) -> None:
    """Their files have two axes: to the right, and down from the probe."""
    for item in LAYOUTS["camus"].find(build("camus")):
        assert item.mask is not None
        labels = np.asarray(nibabel.load(item.mask).dataobj)
        np.testing.assert_array_equal(read_mask(item.mask), labels.T)
        stored = np.asarray(nibabel.load(item.image).dataobj).T
        assert (np.diff(read_image(item.image).ravel()[np.argsort(stored, axis=None)]) >= 0).all()


def test_tn3k_images_have_their_label_and_the_split_of_their_folder(build: Make) -> None:
    found = found_in(build, "tn3k")
    assert {name: (item.label, item.split) for name, item in found.items()} == {
        "tn3k/trainval-image/0000.jpg": ("malignant", "train"),
        "tn3k/trainval-image/0001.jpg": ("benign", "train"),
        "tn3k/trainval-image/0002.jpg": ("benign", "train"),
        "tn3k/test-image/0000.jpg": ("malignant", "test"),
    }


def test_tn3k_without_its_tables_has_masks_and_no_labels(build: Make, tmp_path: Path) -> None:
    source = build("tn3k")
    for table in source.glob("tn3k/label4*.csv"):
        table.unlink()
    made = ingest(source, tmp_path / "out")
    assert {(row.label, bool(row.mask_path)) for row in made.rows} == {("", True)}


def test_tn3k_masks_have_two_values_though_jpeg_has_left_them_more(build: Make) -> None:
    source = build("tn3k")
    nodule = np.zeros((SIDE, SIDE), np.uint8)
    nodule[3:13, 5:18] = 255  # its border runs through JPEG's blocks
    Image.fromarray(nodule).save(source / "tn3k/test-mask/0000.jpg")
    (item,) = (one for one in LAYOUTS["tn3k"].find(source) if one.split == "test")
    assert item.drawn is not None
    assert len(np.unique(read_mask(source / "tn3k/test-mask/0000.jpg"))) > 2
    np.testing.assert_array_equal(item.drawn(), nodule > 0)


def test_outlines_of_heads_are_filled_and_pixels_have_a_size(build: Make, tmp_path: Path) -> None:
    found = found_in(build, "hc18-fetal-head")
    assert [item.spacing_mm for item in found.values()] == [0.07, 0.069, None]
    assert len({item.patient for item in found.values()}) == 2
    made = ingest(tmp_path / "set", tmp_path / "out")
    for row in read_manifest(made.manifest).rows:
        assert read_mask(tmp_path / "out" / row.mask_path).sum() == 12 * 12


def test_all_of_one_person_stay_together_where_the_set_says_who_it_is(build: Make) -> None:
    for name, people in (("chase-db1", [1, 1, 2]), ("nih-cxr-mini", [1, 1, 2])):
        patients = [item.patient for item in LAYOUTS[name].find(build(name))]
        assert [sorted(set(patients)).index(patient) + 1 for patient in patients] == people


WITHOUT_PATIENTS = ("cathaction", "endovascular", "arcade", "guide3d", "xa-dicom", "busi", "tn3k")


@pytest.mark.parametrize("name", WITHOUT_PATIENTS)
def test_sets_that_do_not_say_whose_their_images_are_say_so(build: Make, name: str) -> None:
    assert all(item.note for item in LAYOUTS[name].find(build(name)))

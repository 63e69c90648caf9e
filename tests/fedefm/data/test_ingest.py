from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from PIL import Image
from pydicom.data import get_testdata_file

from fedefm.data.check import check_manifest
from fedefm.data.choices import Files
from fedefm.data.file_numbers import LISTING_NAME
from fedefm.data.found import Found
from fedefm.data.frame_choice import FrameChoice
from fedefm.data.ingest import ingest
from fedefm.data.layouts import LAYOUTS, Layout
from fedefm.data.manifest import read_manifest
from fedefm.data.pseudonyms import KEY_NAME, read_key
from fedefm.data.readers import read_image, read_mask
from fedefm.errors import DataError


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Two images of Miller with masks, one of Smith without."""
    rng = np.random.default_rng(0)
    for name in ("miller_1", "miller_2", "smith_1"):
        path = tmp_path / "angio" / f"{name}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (9, 7), dtype=np.uint8)).save(path)
        if "miller" in name:
            mask = Image.fromarray(rng.integers(0, 3, (9, 7), dtype=np.uint8))
            mask.save(path.with_name(f"{name}_mask.png"))
    return tmp_path / "angio"


@pytest.mark.parametrize("files", ["link", "png"])
def test_a_folder_becomes_a_manifest_in_order(source: Path, tmp_path: Path, files: str) -> None:
    made = ingest(source, tmp_path / "out", files="png" if files == "png" else "link")
    manifest = read_manifest(made.manifest)
    assert manifest.rows == made.rows
    assert check_manifest(manifest, hashes=True) == []
    assert [bool(row.mask_path) for row in manifest.rows] == [True, True, False]
    assert {row.corpus for row in manifest.rows} == {"angio"}
    assert made.without_patient == 3
    for row, name in zip(manifest.rows, ("miller_1", "miller_2", "smith_1"), strict=True):
        same = read_image(manifest.folder / row.path)
        np.testing.assert_allclose(same, read_image(source / f"{name}.png"), atol=0.002)
        if row.mask_path:
            mask = read_mask(manifest.folder / row.mask_path)
            assert np.array_equal(mask, read_mask(source / f"{name}_mask.png"))


def test_names_and_patients_stay_behind(source: Path, tmp_path: Path) -> None:
    made = ingest(source, tmp_path / "out", patient_pattern=r"^([a-z]+)_")
    first, second, third = made.rows
    assert first.patient_id == second.patient_id != third.patient_id
    assert made.without_patient == 0
    everything = [str(path.relative_to(tmp_path)) for path in (tmp_path / "out").rglob("*")]
    everything.append(made.manifest.read_text())
    assert not any("miller" in text or "smith" in text for text in everything)


def test_the_key_decides_on_the_pseudonyms(source: Path, tmp_path: Path) -> None:
    ingest(source, tmp_path / "one", patient_pattern=r"^([a-z]+)_")
    key = read_key(tmp_path / "one" / KEY_NAME)
    again = ingest(source, tmp_path / "two", patient_pattern=r"^([a-z]+)_", key=key)
    fresh = ingest(source, tmp_path / "three", patient_pattern=r"^([a-z]+)_")
    first = [row.patient_id for row in read_manifest(tmp_path / "one" / "manifest.csv").rows]
    assert [row.patient_id for row in again.rows] == first
    assert not {row.patient_id for row in fresh.rows} & set(first)
    assert (tmp_path / "three" / KEY_NAME).stat().st_mode & 0o777 == 0o600


def test_classes_and_splits_of_folders_are_kept(source: Path, tmp_path: Path) -> None:
    for name in ("train/wire/a", "train/none/b", "test/wire/c"):
        path = tmp_path / "set" / f"{name}.png"
        path.parent.mkdir(parents=True)
        Image.new("L", (5, 5), 9).save(path)
    made = ingest(tmp_path / "set", tmp_path / "out", corpus="Größe 図")
    assert made.layout == "classes"
    assert {(r.corpus, r.label, r.split) for r in read_manifest(made.manifest).rows} == {
        ("Größe 図", "wire", "train"),
        ("Größe 図", "none", "train"),
        ("Größe 図", "wire", "test"),
    }


def test_dicom_headers_stay_behind_unless_files_are_linked(tmp_path: Path) -> None:
    (tmp_path / "export").mkdir()
    for number in (1, 2):
        dataset = pydicom.dcmread(str(get_testdata_file("CT_small.dcm")))
        dataset.PatientID = "Miller"
        dataset.save_as(tmp_path / "export" / f"IM{number}")
    made = ingest(tmp_path / "export", tmp_path / "out")
    assert len({row.patient_id for row in made.rows}) == 1
    for path in (tmp_path / "out").rglob("*.*"):
        assert not path.is_file() or b"Miller" not in path.read_bytes()
    linked = ingest(tmp_path / "export", tmp_path / "linked", files="link")
    assert [row.path for row in linked.rows] == [
        "images/ct/000001.dcm",
        "images/ct/000002.dcm",
    ]


def test_frames_of_one_file_are_placed_once(tmp_path: Path) -> None:
    np.save(tmp_path / "stack.npy", np.random.default_rng(0).random((4, 6, 5)))
    made = ingest(tmp_path / "stack.npy", tmp_path / "out")
    assert len({row.path for row in made.rows}) == 1
    assert [row.frame for row in made.rows] == [0, 1, 2, 3]
    converted = ingest(tmp_path / "stack.npy", tmp_path / "png", files="png")
    assert len({row.path for row in converted.rows}) == 4
    assert {row.frame for row in converted.rows} == {0}
    assert check_manifest(read_manifest(converted.manifest)) == []


def test_numbered_objects_become_object_or_not(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = np.arange(63, dtype=np.uint16).reshape(9, 7) * 10
    Image.fromarray(numbers).save(source / "numbers.png")
    found = [Found(source / "miller_1.png", "m", "c", mask=source / "numbers.png", instances=True)]
    monkeypatch.setitem(LAYOUTS, "known", Layout(lambda path: True, lambda path: found))
    made = ingest(source, tmp_path / "out", "known")
    mask = read_mask(tmp_path / "out" / made.rows[0].mask_path)
    assert np.array_equal(mask, numbers > 0)


class Diagonal:
    """A mask that no file holds."""

    def __call__(self) -> NDArray[np.int64]:
        return np.eye(9, 7, dtype=np.int64) * 2


@pytest.mark.parametrize("files", ["link", "png"])
def test_masks_that_no_file_holds_are_drawn(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: Files
) -> None:
    found = [Found(source / "miller_1.png", "m", "c", drawn=Diagonal())]
    monkeypatch.setitem(LAYOUTS, "known", Layout(lambda path: True, lambda path: found))
    made = ingest(source, tmp_path / "out", "known", files=files)
    mask = read_mask(tmp_path / "out" / made.rows[0].mask_path)
    assert np.array_equal(mask, Diagonal()())
    assert check_manifest(read_manifest(made.manifest)) == []


def test_everything_unusable_is_named_and_nothing_is_written(source: Path, tmp_path: Path) -> None:
    (source / "miller_1.png").write_bytes(b"broken")
    Image.new("L", (3, 3)).save(source / "miller_2_mask.png")
    with pytest.raises(DataError) as caught:
        ingest(source, tmp_path / "out", show_paths=True)
    assert "miller_1.png cannot be read" in str(caught.value)
    assert "miller_2.png: the mask has 3 x 3 pixels and the image 7 x 9" in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["angio"]


def test_unusable_files_are_left_out_when_asked(source: Path, tmp_path: Path) -> None:
    (source / "miller_1.png").write_bytes(b"broken")
    made = ingest(source, tmp_path / "out", skip_unreadable=True)
    assert len(made.rows) == 2
    assert len(made.skipped) == 1
    for path in source.glob("*[0-9].png"):
        path.write_bytes(b"broken")
    with pytest.raises(DataError, match="3 problems"):
        ingest(source, tmp_path / "none", skip_unreadable=True)


def test_a_patient_in_two_splits_is_refused(tmp_path: Path) -> None:
    for split in ("train", "test"):
        (tmp_path / "set" / split).mkdir(parents=True)
        Image.new("L", (4, 4)).save(tmp_path / "set" / split / "miller_1.png")
    with pytest.raises(DataError, match="its patient is in split 'train' here and in 'test'"):
        ingest(tmp_path / "set", tmp_path / "out", patient_pattern="/([a-z]+)_")


def test_sources_without_images_are_named(tmp_path: Path, source: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("x")
    for path, layout, reason in (
        (tmp_path / "none", "auto", "does not exist"),
        (tmp_path / "empty", "auto", "holds no images in the layout 'images'"),
        (tmp_path / "notes.txt", "auto", "holds no images"),
        (source, "chase-db1", "holds no images in the layout 'chase-db1'"),
        (source, "nonsense", "layout 'nonsense' is not known; known are auto, chase-db1"),
    ):
        with pytest.raises(DataError, match=reason):
            ingest(path, tmp_path / "out", layout)
    assert not (tmp_path / "out").exists()


def test_a_full_target_is_refused_before_it_is_touched(source: Path, tmp_path: Path) -> None:
    read: list[tuple[int, int]] = []
    with pytest.raises(DataError, match="not empty"):
        ingest(source, source, progress=lambda *step: read.append(step))
    assert read == []
    assert len(list(source.iterdir())) == 5


def draw(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4)).save(folder / name)
    return folder


NIH = ("No_findings/1_0.png", "Pneumonia/2_0.png")
LOST = {  # files, the layout that auto takes them for, what that layout would lose
    "a third class": ((*NIH, "Edema/3_0.png"), "nih-cxr-mini", "Edema/3_0.png"),
    "a folder beside a known set": (
        (*(f"known/{name}" for name in NIH), "mine/a.png"),
        "collection",
        "mine/a.png",
    ),
    "an image beside classes": (("cat/1.png", "dog/2.png", "stray.png"), "classes", "stray.png"),
}


@pytest.mark.parametrize("kind", LOST)
def test_auto_refuses_to_lose_images(tmp_path: Path, kind: str) -> None:
    files, layout, lost = LOST[kind]
    folder = draw(tmp_path / "set", *files)
    with pytest.raises(DataError, match=rf"{layout}.*pass over 1 of its .*\({lost}\)") as caught:
        ingest(folder, tmp_path / "out", show_paths=True)
    with pytest.raises(DataError, match=rf"{layout}.*pass over 1 .*--show-paths") as silent:
        ingest(folder, tmp_path / "out")
    assert lost not in str(silent.value)
    assert f"--layout {layout}" in str(caught.value)
    assert not (tmp_path / "out").exists()
    made = ingest(folder, tmp_path / "out", layout)
    assert (len(made.rows), made.passed_over) == (len(files) - 1, 1)
    everything = ingest(folder, tmp_path / "all", "images")
    assert (len(everything.rows), everything.passed_over) == (len(files), 0)


def test_auto_names_the_first_of_many_images_even_if_corrupt(tmp_path: Path) -> None:
    folder = draw(tmp_path / "set", *NIH, *(f"Edema/{n}_0.png" for n in range(5)))
    (folder / "Edema/0_0.png").write_bytes(b"broken")
    first = r"pass over 5 .*\(Edema/0_0.png, Edema/1_0.png, Edema/2_0.png and 2 more\)"
    with pytest.raises(DataError, match=first):
        ingest(folder, tmp_path / "out", skip_unreadable=True, show_paths=True)


def test_companions_and_files_that_are_no_images_are_not_lost(tmp_path: Path) -> None:
    names = ("Image_01L.jpg", "Image_01L_1stHO.png", "Image_01L_2ndHO.png")
    chase = draw(tmp_path / "chase", *(f"CHASEDB1/{name}" for name in names))
    (chase / "README.md").write_text("notes")
    report = Path(str(get_testdata_file("test-SR.dcm"))).read_bytes()
    (chase / "report.dcm").write_bytes(report)
    assert ingest(chase, tmp_path / "one").passed_over == 0
    plain = draw(tmp_path / "plain", "images/a.png", "Masks/a.png", "Masks/of no image.png")
    assert ingest(plain, tmp_path / "two").passed_over == 0


@pytest.mark.parametrize("home", ["", "P1/"])
def test_masks_in_a_folder_beside_their_images_are_taken(tmp_path: Path, home: str) -> None:
    folder = draw(tmp_path / "set", f"{home}a.png", f"{home}masks/a.png", f"{home}masks/lost.png")
    made = ingest(folder, tmp_path / "out")
    (row,) = made.rows
    assert row.mask_path
    (line,) = made.report
    assert line.outcome == "left out"
    assert "no image that is taken has its name" in line.reason
    assert "masks/lost.png" in (tmp_path / "out" / LISTING_NAME).read_text()


def test_a_mask_of_another_size_in_such_a_folder_is_noticed(tmp_path: Path) -> None:
    folder = draw(tmp_path / "set", "a.png", "masks/a.png")
    Image.new("L", (3, 3)).save(folder / "masks" / "a.png")
    with pytest.raises(DataError, match="the mask has 3 x 3 pixels and the image 4 x 4"):
        ingest(folder, tmp_path / "out")


def hippocampus(root: Path, slices: int, affine: float = 1) -> Path:
    """Task 4 as it is known without its dataset.json: volumes of 8 x 8 x ``slices``."""
    for number in (1, 3):
        for part in ("imagesTr", "labelsTr"):
            path = root / "Task04_Hippocampus" / part / f"hippocampus_00{number}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            voxels = np.arange(64 * slices, dtype=np.uint8).reshape(8, 8, slices) % 3
            nibabel.save(nibabel.Nifti1Image(voxels, np.eye(4) * affine), path)
    return root


def test_slices_that_a_layout_leaves_are_listed_by_volume(tmp_path: Path) -> None:
    source = hippocampus(tmp_path / "msd", 9)
    made = ingest(source, tmp_path / "out", choice=FrameChoice(most=5))
    assert (made.layout, len(made.rows)) == ("msd-task04-hippocampus", 2)
    assert [(line.outcome, line.frames) for line in made.report] == [("left out", "0-3 5-8")] * 2
    assert [line.frame_count for line in made.report] == [8, 8]
    assert "'msd-task04-hippocampus' does not take them" in made.report[0].reason
    assert "--max-frames 5 changed nothing" in made.notes[0]
    every = ingest(source, tmp_path / "all", layout="msd", choice=FrameChoice(most=5))
    assert (len(every.rows), every.notes) == (10, ())
    assert {line.reason for line in every.report} == {"5 of its 9 frames were chosen"}


def test_masks_of_nothing_are_not_lost_images(tmp_path: Path) -> None:
    folder = draw(tmp_path / "set", "a.png", "labels/deep/b.png")
    made = ingest(folder, tmp_path / "out")
    assert (len(made.rows), len(made.report), made.passed_over) == (1, 1, 0)
    (folder / "a.png").unlink()
    with pytest.raises(DataError, match="but folders for masks; rename those"):
        ingest(folder, tmp_path / "none")


def test_patients_that_are_blocks_of_one_person_are_told(tmp_path: Path, shared_data: Path) -> None:
    source = shared_data / "xa-dicom"
    if not source.is_dir():
        pytest.skip(f"no sample set {source}")
    made = ingest(source, tmp_path / "blocks")
    assert len({row.patient_id for row in made.rows}) == 12
    assert len(made.notes) == 1
    assert "speak of a person seen in training" in made.notes[0]
    whole = ingest(source, tmp_path / "whole", patient_pattern="(XA)")
    assert len({row.patient_id for row in whole.rows}) == 1
    assert whole.notes == ()

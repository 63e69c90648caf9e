"""An export from a hospital: who is in it stays in it."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence

from fedefm.data.check import check_manifest
from fedefm.data.file_numbers import LISTING_NAME
from fedefm.data.frame_choice import FrameChoice
from fedefm.data.ingest import Ingested, ingest
from fedefm.data.ingest_report import REPORT_NAME
from fedefm.data.manifest import read_manifest
from fedefm.data.pseudonyms import KEY_NAME
from fedefm.data.readers import read_image
from fedefm.errors import DataError


def export(path: Path, pixels: Any = None, bits: int = 8, **attributes: Any) -> Path:
    """A DICOM file with these attributes."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    dataset.SOPClassUID = attributes.pop("SOPClassUID", uid.XRayAngiographicImageStorage)
    dataset.SOPInstanceUID = attributes.pop("SOPInstanceUID", uid.generate_uid())
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    if pixels is None:
        pixels = np.random.default_rng(0).integers(0, 256, (9, 7), dtype=np.uint8)
    dataset.set_pixel_data(pixels, "MONOCHROME2", bits)
    for name, value in attributes.items():
        setattr(dataset, name, value)
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def report_of(made: Ingested) -> list[dict[str, str]]:
    with (made.manifest.parent / REPORT_NAME).open(newline="") as file:
        return list(csv.DictReader(file))


names = st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ", min_size=9, max_size=14)
uids = st.integers(10**20, 10**22).map(lambda number: f"1.2.826.0.1.{number}")


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    words=st.lists(names, min_size=12, max_size=12, unique=True),
    numbers=st.lists(uids, min_size=4, max_size=4, unique=True),
    broken=st.booleans(),
    day=st.dates(),
)
def test_nothing_that_names_a_person_is_written_or_said(
    tmp_path_factory: pytest.TempPathFactory,
    words: list[str],
    numbers: list[str],
    broken: bool,
    day: Any,
) -> None:
    folder = tmp_path_factory.mktemp("ingest")
    first, last, number, place, doctor, accession, private, below, file, series, other, text = words
    private_item = Dataset()
    private_item.PatientName = f"{first}^{last}"
    path = export(
        folder / "source" / below / f"{file}.dcm",
        PatientName=f"{last}^{first}",
        PatientID=number,
        PatientBirthDate=day.strftime("%Y%m%d"),
        InstitutionName=place,
        ReferringPhysicianName=doctor,
        AccessionNumber=accession,
        SeriesDescription=series,
        ImageComments=text,
        SOPInstanceUID=numbers[0],
        StudyInstanceUID=numbers[1],
        SeriesInstanceUID=numbers[2],
        FrameOfReferenceUID=numbers[3],
        OtherPatientIDsSequence=Sequence([private_item]),
        Modality="US",  # a doubt, which is reported
    )
    header = path.read_bytes()
    (folder / "source" / below / other).write_bytes(
        header[: len(header) - 20] if broken else header
    )
    (folder / "source" / below / f"{private}.dcm").write_bytes(header[:700])
    made = ingest(folder / "source", folder / "out", skip_unreadable=True, key=b"k" * 32)
    said = repr(made)
    with pytest.raises(DataError) as caught:
        ingest(folder / "source" / below, folder / "out", corpus="a")
    said += str(caught.value).replace(str(folder), "")
    if broken:
        with pytest.raises(DataError) as caught:
            ingest(folder / "source", folder / "again")
        said += str(caught.value)
    identifying = [*words, *numbers, day.strftime("%Y%m%d")]
    for path in (folder / "out").rglob("*"):
        said += str(path.relative_to(folder))
        if path.is_file() and path.name not in (LISTING_NAME, KEY_NAME):
            said += path.read_bytes().decode("latin-1")
    assert not [value for value in identifying if value in said]
    for private_file in (LISTING_NAME, KEY_NAME):
        assert (folder / "out" / private_file).stat().st_mode & 0o777 == 0o600
    assert below in (folder / "out" / LISTING_NAME).read_text()


SIGNS = {
    "marked": ({"BurnedInAnnotation": "YES"}, "marked as holding burned-in"),
    "secondary capture": ({"SOPClassUID": uid.SecondaryCaptureImageStorage}, "secondary capture"),
    "screen": ({"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, "picture of a screen"),
}


@pytest.mark.parametrize("sign", SIGNS)
def test_images_that_may_show_a_name_are_left_out_and_listed(tmp_path: Path, sign: str) -> None:
    attributes, reason = SIGNS[sign]
    export(tmp_path / "source" / "a.dcm", **attributes)
    export(tmp_path / "source" / "b.dcm")
    made = ingest(tmp_path / "source", tmp_path / "out")
    assert len(made.rows) == 1
    assert [(line["file"], line["outcome"]) for line in report_of(made)] == [("1", "left out")]
    assert reason in report_of(made)[0]["reason"]
    every = ingest(tmp_path / "source", tmp_path / "all", allow_burned_in=True)
    assert len(every.rows) == 2
    (line,) = report_of(every)  # who allowed it can be asked about it
    assert (line["file"], line["outcome"]) == ("1", "taken")
    assert reason in line["reason"]
    (tmp_path / "source" / "b.dcm").unlink()
    with pytest.raises(DataError, match=f"{reason}.*--allow-burned-in"):
        ingest(tmp_path / "source", tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_images_that_say_they_are_clean_are_taken(tmp_path: Path) -> None:
    clean = {"BurnedInAnnotation": "NO", "SOPClassUID": uid.SecondaryCaptureImageStorage}
    export(tmp_path / "source" / "a.dcm", **clean)
    made = ingest(tmp_path / "source", tmp_path / "out")
    assert (len(made.rows), report_of(made)) == (1, [])


def test_ultrasound_without_regions_is_taken_with_a_warning(tmp_path: Path) -> None:
    export(tmp_path / "source" / "a.dcm", Modality="US")
    made = ingest(tmp_path / "source", tmp_path / "out")
    assert len(made.rows) == 1
    assert "look for text in the preview" in report_of(made)[0]["reason"]


def test_reports_and_masks_of_others_are_listed(tmp_path: Path) -> None:
    export(tmp_path / "source" / "a.dcm")
    export(tmp_path / "source" / "b.dcm", SOPClassUID=uid.SegmentationStorage)
    made = ingest(tmp_path / "source", tmp_path / "out")
    assert len(made.rows) == 1
    assert "DICOM without an image" in report_of(made)[0]["reason"]


def test_slices_come_in_order_of_position(tmp_path: Path) -> None:
    axes = {"Modality": "CT", "SeriesInstanceUID": "1.2.3"}
    axes["ImageOrientationPatient"] = [1, 0, 0, 0, 1, 0]  # type: ignore[assignment]
    for name, position in (("a", 30), ("b", -10), ("c", 5)):
        pixels = np.full((4, 4), position + 50, np.uint8)
        path = tmp_path / "source" / f"{name}.dcm"
        export(path, pixels, ImagePositionPatient=[0, 0, position], **axes)
    made = ingest(tmp_path / "source", tmp_path / "out")
    grays = [read_image(made.manifest.parent / row.path).mean() for row in made.rows]
    np.testing.assert_allclose(grays, np.array([40, 55, 80]) / 255, atol=0.01)


def test_a_series_of_several_sizes_is_kept_and_said(tmp_path: Path) -> None:
    for name, side in (("a", 8), ("b", 8), ("c", 12)):
        pixels = np.arange(side * side, dtype=np.uint8).reshape(side, side)
        export(tmp_path / "source" / f"{name}.dcm", pixels, SeriesInstanceUID="1.2.3")
    made = ingest(tmp_path / "source", tmp_path / "out")
    assert "differ in size (2 of 8 x 8, 1 of 12 x 12)" in report_of(made)[0]["reason"]
    manifest = read_manifest(made.manifest)
    assert check_manifest(manifest) == []
    assert [read_image(manifest.folder / row.path).shape[0] for row in made.rows] == [8, 8, 12]


def run(path: Path, count: int, **attributes: Any) -> Path:
    """A run of ``count`` frames whose gray is their number."""
    frames = np.repeat(np.arange(count, dtype=np.uint8), 16).reshape(count, 4, 4)
    return export(path, frames, **attributes)


def taken(made: Ingested) -> list[int]:
    grays = [read_image(made.manifest.parent / row.path).mean() * 255 for row in made.rows]
    return [round(float(gray)) for gray in grays]


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (FrameChoice(per_second=5), [0, 3, 6, 9, 12, 15, 18]),
        (FrameChoice(per_second=6), [0, 2, 5, 8, 10, 12, 15, 18]),
        (FrameChoice(per_second=60), list(range(20))),
        (FrameChoice(most=4), [2, 7, 12, 17]),
        (FrameChoice(most=1), [10]),
        (FrameChoice(per_second=5, most=2), [3, 15]),
    ],
)
def test_frames_are_chosen_by_rate_and_number(
    tmp_path: Path, choice: FrameChoice, expected: list[int]
) -> None:
    run(tmp_path / "source" / "a.dcm", 20, CineRate=15)
    made = ingest(tmp_path / "source", tmp_path / "out", choice=choice)
    assert taken(made) == expected
    reasons = [line["reason"] for line in report_of(made)]
    all_taken = len(expected) == 20
    assert reasons == ([] if all_taken else [f"{len(expected)} of its 20 frames were chosen"])


def test_a_run_without_a_rate_is_taken_whole_and_said(tmp_path: Path) -> None:
    run(tmp_path / "source" / "a.dcm", 6)
    made = ingest(tmp_path / "source", tmp_path / "out", choice=FrameChoice(per_second=1))
    assert taken(made) == list(range(6))
    assert report_of(made)[0]["reason"] == "it does not say its frame rate"


@given(count=st.integers(1, 500), most=st.integers(1, 500), wanted=st.floats(0.1, 100))
def test_chosen_frames_are_spread_and_never_too_many(count: int, most: int, wanted: float) -> None:
    frames = list(range(count))
    some = FrameChoice(most=most).of(frames, None)
    assert len(some) == min(most, count)
    steps = np.diff(some)
    assert len(steps) == 0 or 0 < steps.max() <= steps.min() + 1
    slow = FrameChoice(per_second=wanted).of(frames, 30.0)
    assert abs(len(slow) - count * min(wanted / 30, 1)) <= 1
    assert slow[0] == 0
    assert sorted(set(slow)) == slow


def test_the_size_of_a_pixel_is_kept(tmp_path: Path) -> None:
    export(tmp_path / "source" / "a.dcm", ImagerPixelSpacing=[0.2, 0.2])
    export(tmp_path / "source" / "b.dcm", PixelSpacing=[0.5, 0.7])
    made = ingest(tmp_path / "source", tmp_path / "out")
    assert [row.spacing_mm for row in made.rows] == [0.2, None]


@pytest.mark.parametrize("modality", ["XA", "US", "MILLER", ""])
def test_folders_of_dicom_lend_their_names_to_nothing(tmp_path: Path, modality: str) -> None:
    file = export(tmp_path / "Zoé Miller" / "4711" / "a.dcm", Modality=modality)
    export(tmp_path / "Zoé Miller" / "b.dcm", Modality=modality).write_bytes(
        file.read_bytes()[:200]
    )
    made = ingest(tmp_path / "Zoé Miller", tmp_path / "out", skip_unreadable=True)
    assert {row.corpus for row in made.rows} == {
        modality.lower() if len(modality) == 2 else "dicom"
    }
    below = [path.relative_to(tmp_path) for path in (tmp_path / "out").rglob("*")]
    assert not [path for path in below if "Miller" in str(path)]
    typed = ingest(tmp_path / "Zoé Miller" / "4711", tmp_path / "typed", corpus="miller")
    assert {row.corpus for row in typed.rows} == {"miller"}


def test_what_was_taken_together_of_two_modalities_is_of_two_kinds(tmp_path: Path) -> None:
    export(tmp_path / "in" / "a.dcm", Modality="XA")
    export(tmp_path / "in" / "b.dcm", Modality="RF")
    made = ingest(tmp_path / "in", tmp_path / "out")
    assert [row.path for row in made.rows] == [
        "images/xa/000001-0000.png",
        "images/rf/000002-0000.png",
    ]


@pytest.mark.parametrize("layout", ["classes", "images"])
def test_folders_that_are_called_as_a_patient_is_are_no_labels(tmp_path: Path, layout: str) -> None:
    export(tmp_path / "in" / "MILLER" / "a.dcm", PatientName="Miller^Zoé")
    export(tmp_path / "in" / "other" / "b.dcm", PatientName="Weber^Jonas")
    if layout == "images":
        made = ingest(tmp_path / "in", tmp_path / "out", layout=layout)
        assert {row.label for row in made.rows} == {""}
        return
    with pytest.raises(DataError, match="called as a patient is") as told:
        ingest(tmp_path / "in", tmp_path / "out", layout=layout)
    assert "miller" not in str(told.value).lower()
    assert not (tmp_path / "out").exists()


def test_a_folder_of_pictures_beside_dicom_is_compared_too(tmp_path: Path) -> None:
    export(tmp_path / "Miller" / "a.dcm", PatientName="Miller^Zoé")
    Image.fromarray(np.zeros((9, 7), np.uint8)).save(tmp_path / "Miller" / "b.png")
    with pytest.raises(DataError, match="called as a patient is"):
        ingest(tmp_path / "Miller", tmp_path / "out")


def test_a_long_corpus_is_cut_for_its_folder_alone(tmp_path: Path) -> None:
    export(tmp_path / "in" / "a.dcm")
    (row,) = ingest(tmp_path / "in", tmp_path / "out", corpus="図" * 300).rows
    assert (tmp_path / "out" / row.path).is_file()
    assert row.corpus == "図" * 300

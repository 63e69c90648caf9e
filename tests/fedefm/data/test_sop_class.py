"""An image that lost the rest of its header is told, a report that never had one is left aside."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread, uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.fileset import FileSet
from pydicom.sequence import Sequence

from fedefm.data.dicom_header import facts_of
from fedefm.data.ingest import ingest
from fedefm.data.plain_folders import is_without_image
from fedefm.data.readers import read_image
from fedefm.data.unreadable import Unfit
from fedefm.errors import DataError

SYNTAXES = (uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian, uid.ExplicitVRBigEndian)
ANGIOGRAM = uid.XRayAngiographicImageStorage
WITHOUT_IMAGE = {
    "report": uid.BasicTextSRStorage,
    "plan": uid.RTPlanStorage,
    "PDF": uid.EncapsulatedPDFStorage,
    "presentation state": uid.GrayscaleSoftcopyPresentationStateStorage,
    "of the maker's own": uid.UID("1.3.12.2.1107.5.9.1"),
}


def dicom(sop_class: uid.UID, syntax: uid.UID = uid.ExplicitVRLittleEndian) -> tuple[bytes, int]:
    """A file with a sequence in its header, with pixels if it is an image, and where they begin."""
    dataset, item = Dataset(), Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.SOPClassUID = sop_class
    dataset.SOPInstanceUID = "1.2.3.4"
    dataset.file_meta.MediaStorageSOPClassUID = sop_class
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4"
    dataset.PatientName = "Miller^Anna"
    item.CodeValue = "12345"
    dataset.AnatomicRegionSequence = Sequence([item])
    dataset["AnatomicRegionSequence"].is_undefined_length = True
    if sop_class == ANGIOGRAM:
        dataset.set_pixel_data(np.zeros((64, 64), np.uint8), "MONOCHROME2", 8)
    else:
        dataset.ContentLabel = "NOTE"
    dataset.file_meta.TransferSyntaxUID = syntax
    file = BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    content = file.getvalue()
    return content, len(content) - 64 * 64


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name)
def test_an_image_cut_off_anywhere_is_never_taken_for_a_report(
    tmp_path: Path, syntax: uid.UID
) -> None:
    content, end = dicom(ANGIOGRAM, syntax)
    for length in range(132, end):
        path = tmp_path / f"{length}.dcm"
        path.write_bytes(content[:length])
        assert not is_without_image(path), length
        with pytest.raises(DataError, match=r"cut off|without pixel data|transfer syntax"):
            read_image(path)


def test_an_image_without_its_beginning_is_told(tmp_path: Path) -> None:
    content, _ = dicom(ANGIOGRAM)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "whole.dcm").write_bytes(content)
    (tmp_path / "in" / "cut.dcm").write_bytes(content[:600])
    (tmp_path / "in" / "garbage").write_bytes(bytes(128) + b"DICM" + b"Miller" * 50)
    with pytest.raises(DataError) as told:
        ingest(tmp_path / "in", tmp_path / "out")
    for number in (1, 2):
        assert f"file {number} cannot be read as an image: it" in str(told.value)
    assert "Miller" not in str(told.value)
    assert not (tmp_path / "out").exists()
    made = ingest(tmp_path / "in", tmp_path / "out", skip_unreadable=True)
    assert len(made.rows) == 1
    assert len(made.faults) == 2


@pytest.mark.parametrize("kind", WITHOUT_IMAGE)
@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name)
def test_files_that_never_had_an_image_are_none(tmp_path: Path, kind: str, syntax: uid.UID) -> None:
    (tmp_path / "a.dcm").write_bytes(dicom(WITHOUT_IMAGE[kind], syntax)[0])
    assert facts_of(tmp_path / "a.dcm") is None
    with pytest.raises(DataError, match="DICOM without an image"):
        read_image(tmp_path / "a.dcm")


@pytest.mark.parametrize("syntax", SYNTAXES, ids=lambda syntax: syntax.name)
def test_a_report_that_is_cut_off_within_a_value_is_damaged(
    tmp_path: Path, syntax: uid.UID
) -> None:
    content, _ = dicom(uid.BasicTextSRStorage, syntax)
    (tmp_path / "a.dcm").write_bytes(content[:-2])
    with pytest.raises(Unfit, match="cut off"):
        facts_of(tmp_path / "a.dcm")


def test_a_directory_holds_no_image(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(dicom(ANGIOGRAM)[0])
    image = dcmread(tmp_path / "a.dcm")
    for name in ("PatientID", "StudyInstanceUID", "SeriesInstanceUID", "StudyID", "Modality"):
        setattr(image, name, "1")
    image.StudyDate, image.StudyTime = "20260101", "1200"
    image.SeriesNumber = image.InstanceNumber = 1
    directory = FileSet()
    directory.add(image)
    directory.write(tmp_path / "disk")
    assert facts_of(tmp_path / "disk" / "DICOMDIR") is None

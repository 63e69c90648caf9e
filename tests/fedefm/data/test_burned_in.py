"""Whatever is said of burned-in text and is not plainly NO keeps an image out."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence

from fedefm.data.burned_in import doubt_of_text, sign_of_text
from fedefm.data.dicom import read_header

NO = {"BurnedInAnnotation": "NO"}


def header_of(path: Path, syntax: uid.UID = uid.ExplicitVRLittleEndian, **said: Any) -> Dataset:
    """What is read of an angiogram that says this; None takes an attribute away."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.SOPClassUID = uid.XRayAngiographicImageStorage
    dataset.SOPInstanceUID = uid.generate_uid()
    dataset.file_meta.MediaStorageSOPClassUID = said.pop("in_file_meta", dataset.SOPClassUID)
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.set_pixel_data(np.zeros((4, 4), np.uint8), "MONOCHROME2", 8)
    for name, value in said.items():
        if value is None:
            del dataset[name]
        else:
            setattr(dataset, name, value)
    dataset.save_as(path, enforce_file_format=True)
    return read_header(path)[0]


def groups_with(mark: str) -> Sequence:
    """Functional groups that say nothing of the first frame, and this deep within the second."""
    inner, outer = Dataset(), Dataset()
    inner.BurnedInAnnotation = mark
    outer.FrameAnatomySequence = Sequence([inner])
    return Sequence([Dataset(), outer])


@pytest.mark.parametrize("mark", ["YES", "yes", "Y", "no", "UNKNOWN", ["YES", "NO"], ["NO", "NO"]])
def test_a_mark_that_is_not_no_counts_as_yes(tmp_path: Path, mark: Any) -> None:
    assert "is marked" in sign_of_text(header_of(tmp_path / "a", BurnedInAnnotation=mark))


@pytest.mark.parametrize("mark", ["NO", "", None])
def test_an_angiogram_without_a_mark_is_taken(tmp_path: Path, mark: str | None) -> None:
    said = {} if mark is None else {"BurnedInAnnotation": mark}
    assert sign_of_text(header_of(tmp_path / "a", **said)) == ""


@given(mark=st.text("YESNO ytrue01", max_size=12))
def test_nothing_but_no_lets_a_capture_in(
    tmp_path_factory: pytest.TempPathFactory, mark: str
) -> None:
    said = {"SOPClassUID": uid.SecondaryCaptureImageStorage, "BurnedInAnnotation": mark}
    header = header_of(tmp_path_factory.mktemp("mark") / "a", **said)
    assert (sign_of_text(header) == "") == (mark.strip() == "NO")


@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian])
@pytest.mark.parametrize("name", ["SharedFunctional", "PerFrameFunctional"])
def test_the_mark_of_one_frame_counts_for_all(tmp_path: Path, name: str, syntax: uid.UID) -> None:
    marked = {f"{name}GroupsSequence": groups_with("YES"), **NO}
    assert "is marked" in sign_of_text(header_of(tmp_path / "a", syntax, **marked))
    free = {f"{name}GroupsSequence": groups_with("NO"), **NO}
    assert sign_of_text(header_of(tmp_path / "b", syntax, **free)) == ""


def test_a_frame_that_is_free_does_not_speak_for_a_capture(tmp_path: Path) -> None:
    said = {"SOPClassUID": uid.SecondaryCaptureImageStorage}
    groups = {"PerFrameFunctionalGroupsSequence": groups_with("NO")}
    assert "secondary capture" in sign_of_text(header_of(tmp_path / "a", **said, **groups))


@pytest.mark.parametrize("kinds", ["SCREEN SAVE", "screenshot", ["DERIVED", "", "SCREEN_SAVE"]])
def test_a_picture_of_a_screen_is_known_by_one_value_or_many(tmp_path: Path, kinds: Any) -> None:
    assert "picture of a screen" in sign_of_text(header_of(tmp_path / "a", ImageType=kinds))
    assert sign_of_text(header_of(tmp_path / "b", ImageType=kinds, **NO)) == ""


def test_a_capture_is_known_by_the_file_meta_information_alone(tmp_path: Path) -> None:
    capture = {"in_file_meta": uid.SecondaryCaptureImageStorage, "SOPClassUID": None}
    assert "secondary capture" in sign_of_text(header_of(tmp_path / "a", **capture))
    assert sign_of_text(header_of(tmp_path / "b", **capture, **NO)) == ""


@pytest.mark.parametrize(("said", "doubt"), [("YES", True), ("Y", True), ("NO", False)])
def test_a_recognizable_face_is_no_text_and_a_doubt(tmp_path: Path, said: str, doubt: bool) -> None:
    header = header_of(tmp_path / "a", RecognizableVisualFeatures=said)
    assert sign_of_text(header) == ""
    assert ("recognizably" in doubt_of_text(header)) == doubt

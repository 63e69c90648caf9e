from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, XRayAngiographicImageStorage, generate_uid

from fedefm.data import dicom_decoders
from fedefm.data.dicom_gray import windowed
from fedefm.data.dicom_header import patient_of
from fedefm.data.readers import count_frames, frame_size, read_frames, read_image
from fedefm.errors import DataError

RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)


def write(
    path: Path,
    pixels: NDArray[np.generic],
    kind: str = "MONOCHROME2",
    bits: int = 8,
    **attributes: object,
) -> Path:
    """A DICOM file of these stored values."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = XRayAngiographicImageStorage
    dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset.SOPClassUID = XRayAngiographicImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID
    dataset.PatientID = "Miller"
    dataset.set_pixel_data(pixels, kind, bits)
    for name, value in attributes.items():
        setattr(dataset, name, value)
    dataset.save_as(path, enforce_file_format=True)
    return path


def test_eight_bits_without_window_keep_their_range(tmp_path: Path) -> None:
    np.testing.assert_allclose(read_image(write(tmp_path / "a.dcm", RAMP)), RAMP / 255, atol=1e-6)


def test_monochrome1_is_inverted(tmp_path: Path) -> None:
    image = read_image(write(tmp_path / "a.dcm", RAMP, "MONOCHROME1"))
    np.testing.assert_allclose(image, 1 - RAMP / 255, atol=1e-6)


def test_stored_bits_count_not_the_container(tmp_path: Path) -> None:
    image = read_image(write(tmp_path / "a.dcm", RAMP // 4, bits=6))
    assert image.max() == 1


def test_more_bits_without_window_are_stretched(tmp_path: Path) -> None:
    values = np.linspace(100, 700, 4096).astype(np.uint16).reshape(64, 64)
    image = read_image(write(tmp_path / "a.dcm", values, bits=12))
    assert (image.min(), image.max()) == (0, 1)
    assert abs(image.mean() - 0.5) < 0.01


def test_signed_values_are_read_as_signed(tmp_path: Path) -> None:
    values = np.linspace(-1000, 1000, 4096).astype(np.int16).reshape(64, 64)
    image = read_image(write(tmp_path / "a.dcm", values, bits=16))
    assert np.all(np.diff(image.ravel()) >= 0)
    assert abs(image.ravel()[2048] - 0.5) < 0.01


@pytest.mark.parametrize("center", [300, [300, 900]])
def test_rescale_comes_before_the_first_window(tmp_path: Path, center: int | list[int]) -> None:
    values = np.arange(256, dtype=np.uint16).reshape(16, 16)
    path = write(
        tmp_path / "a.dcm",
        values,
        bits=12,
        RescaleSlope=2,
        RescaleIntercept=100,
        WindowCenter=center,
        WindowWidth=200,
    )
    expected = np.clip((values * 2.0 + 100 - 299.5) / 199 + 0.5, 0, 1)
    np.testing.assert_allclose(read_image(path), expected, atol=1e-5)


@pytest.mark.parametrize("shape", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_windows_agree_with_pydicom(tmp_path: Path, shape: str) -> None:
    values = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    path = write(
        tmp_path / "a.dcm",
        values,
        bits=12,
        WindowCenter=1500,
        WindowWidth=800,
        VOILUTFunction=shape,
    )
    dataset = pydicom.dcmread(path)
    shown = apply_voi_lut(apply_modality_lut(values, dataset), dataset)
    np.testing.assert_allclose(read_image(path), shown / 4095, atol=1e-3)


def test_a_window_of_width_one_is_a_threshold() -> None:
    np.testing.assert_array_equal(windowed(np.array([1.0, 2.0, 3.0]), 2.5, 1), [0, 0, 1])


def test_a_look_up_table_is_applied(tmp_path: Path) -> None:
    table = Dataset()
    table.LUTDescriptor = [256, 0, 8]
    table.LUTData = [255 - i for i in range(256)]
    for element in (table["LUTDescriptor"], table["LUTData"]):
        element.VR = "US"
    path = write(tmp_path / "a.dcm", RAMP, VOILUTSequence=Sequence([table]))
    np.testing.assert_allclose(read_image(path), 1 - RAMP / 255, atol=1e-6)


def test_enhanced_files_have_a_window_for_each_frame(tmp_path: Path) -> None:
    groups = []
    for center in (50, 150):
        window, group = Dataset(), Dataset()
        window.WindowCenter, window.WindowWidth = center, 20
        group.FrameVOILUTSequence = Sequence([window])
        groups.append(group)
    frames = np.full((2, 4, 4), 100, np.uint8)
    path = write(tmp_path / "a.dcm", frames, PerFrameFunctionalGroupsSequence=Sequence(groups))
    assert read_image(path, 0).min() == 1  # far above its window
    assert read_image(path, 1).max() == 0


def test_many_frames(tmp_path: Path) -> None:
    frames = np.stack([np.full((4, 6), level, np.uint8) for level in (0, 51, 255)])
    path = write(tmp_path / "export without suffix", frames)
    assert count_frames(path) == 3
    assert frame_size(path) == (4, 6)
    np.testing.assert_allclose([frame.mean() for frame in read_frames(path)], [0, 0.2, 1])


def test_color_becomes_luminance(tmp_path: Path) -> None:
    green = np.zeros((4, 4, 3), np.uint8)
    green[..., 1] = 255
    np.testing.assert_allclose(
        read_image(write(tmp_path / "a.dcm", green, "RGB")), 0.587, atol=1e-3
    )


def test_corrupt_files_are_named_and_the_patient_is_not(tmp_path: Path) -> None:
    whole = write(tmp_path / "whole.dcm", RAMP).read_bytes()
    (tmp_path / "cut.dcm").write_bytes(whole[:-100])
    (tmp_path / "head.dcm").write_bytes(whole[:200])
    dataset = pydicom.dcmread(tmp_path / "whole.dcm")
    del dataset.PixelData
    dataset.save_as(tmp_path / "report.dcm")
    for name in ("cut", "head", "report"):
        with pytest.raises(DataError, match=f"{name}.dcm cannot be read") as caught:
            read_image(tmp_path / f"{name}.dcm")
        assert "Miller" not in str(caught.value)


def test_compression_without_a_decoder_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = Path(str(get_testdata_file("JPEG2000.dcm")))
    monkeypatch.setattr(
        dicom_decoders, "get_decoder", lambda syntax: SimpleNamespace(is_available=False)
    )
    with pytest.raises(DataError, match=r"\(JPEG 2000 .*needs a decoder that is not installed"):
        read_image(path)


def test_nothing_about_the_patient_is_printed(
    tmp_path: Path, recwarn: pytest.WarningsRecorder, capfd: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "a.dcm", RAMP, StudyInstanceUID="1.2.3.4.5.67", PatientID="")
    path.write_bytes(path.read_bytes().replace(b"1.2.3.4.5.67", b"Miller, Anna"))
    assert patient_of(path) == "StudyInstanceUID/Miller, Anna"
    printed = capfd.readouterr()
    assert "Miller" not in printed.out + printed.err + "".join(str(w.message) for w in recwarn)


def test_a_real_angiogram(shared_data: Path) -> None:
    path = shared_data / "xa-dicom" / "HasFragmentSequence_XA_96fr.dcm"
    if not path.is_file():
        pytest.skip(f"{path} is not there")
    assert count_frames(path) == 96
    image = read_image(path, 95)
    assert image.shape == (512, 512)
    assert image.std() > 0.05

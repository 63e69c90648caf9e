"""Every way in which DICOM stores pixels that can be written here: syntax, bits, sign, color."""

from collections.abc import Callable
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from pydicom import uid
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut, convert_color_space
from pydicom.sequence import Sequence

from fedefm.data import dicom
from fedefm.data.dicom import DicomStack
from fedefm.data.dicom_gray import looked_up
from fedefm.data.dicom_header import facts_of
from fedefm.data.readers import count_frames, read_frames, read_image
from fedefm.errors import DataError

gdcm = pytest.importorskip("gdcm", reason="pip install 'fedefm[dicom]'")

MODALITIES = {
    "XA": uid.XRayAngiographicImageStorage,
    "XRF": uid.XRayRadiofluoroscopicImageStorage,
    "DX": uid.DigitalXRayImageStorageForPresentation,
    "CR": uid.ComputedRadiographyImageStorage,
    "US": uid.UltrasoundMultiFrameImageStorage,
    "MR": uid.MRImageStorage,
    "CT": uid.CTImageStorage,
    "SC": uid.SecondaryCaptureImageStorage,
    "enhanced XA": uid.EnhancedXAImageStorage,
    "enhanced MR": uid.EnhancedMRImageStorage,
}


def dataset_of(
    pixels: NDArray[Any], kind: str = "MONOCHROME2", bits: int = 8, **attributes: Any
) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    dataset.SOPClassUID = attributes.pop("SOPClassUID", uid.XRayAngiographicImageStorage)
    dataset.SOPInstanceUID = uid.generate_uid()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.set_pixel_data(pixels, kind, bits)
    for name, value in attributes.items():
        setattr(dataset, name, value)
    return dataset


def saved(dataset: Dataset, path: Path) -> Path:
    dataset.save_as(path, enforce_file_format=True)
    return path


def pixels_of(bits: int, signed: bool, frames: int = 1) -> NDArray[Any]:
    """Smooth values over the whole range of ``bits``, (H, W) or (frames, H, W)."""
    ramp = np.linspace(0, 2**bits - 1, frames * 48 * 40).reshape(frames, 48, 40)
    values = np.rint(ramp).astype(np.int64) - (2 ** (bits - 1) if signed else 0)
    letter = ("i" if signed else "u") + ("1" if bits <= 8 else "2")
    return values.astype(letter)[0] if frames == 1 else values.astype(letter)


def native(syntax: uid.UID) -> Callable[[Dataset, Path], None]:
    def write(dataset: Dataset, path: Path) -> None:
        dataset.file_meta.TransferSyntaxUID = syntax
        if not syntax.is_little_endian and dataset.BitsAllocated == 16:
            dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
            dataset["PixelData"].VR = "OW"
        saved(dataset, path)

    return write


def compressed(syntax: uid.UID, **options: Any) -> Callable[[Dataset, Path], None]:
    def write(dataset: Dataset, path: Path) -> None:
        dataset.compress(syntax, **options)
        saved(dataset, path)

    return write


def by_gdcm(name: str) -> Callable[[Dataset, Path], None]:
    def write(dataset: Dataset, path: Path) -> None:
        saved(dataset, path)
        reader, writer, change = gdcm.ImageReader(), gdcm.ImageWriter(), None
        reader.SetFileName(str(path))
        assert reader.Read()
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(getattr(gdcm.TransferSyntax, name)))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer.SetFile(reader.GetFile())
        writer.SetFileName(str(path))
        writer.SetImage(change.GetOutput())
        assert writer.Write()

    return write


LOSSLESS = {
    "implicit": native(uid.ImplicitVRLittleEndian),
    "explicit": native(uid.ExplicitVRLittleEndian),
    "big endian": native(uid.ExplicitVRBigEndian),
    "deflated": native(uid.DeflatedExplicitVRLittleEndian),
    "RLE": compressed(uid.RLELossless, encoding_plugin="pydicom"),
    "JPEG-LS": compressed(uid.JPEGLSLossless),
    "JPEG 2000": compressed(uid.JPEG2000Lossless),
    "JPEG lossless": by_gdcm("JPEGLosslessProcess14"),
    "JPEG lossless, first order": by_gdcm("JPEGLosslessProcess14_1"),
}


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
@pytest.mark.parametrize("syntax", LOSSLESS)
def test_lossless_pixels_come_back_as_they_were(
    tmp_path: Path, syntax: str, bits: int, signed: bool
) -> None:
    pixels = pixels_of(bits, signed)
    path = tmp_path / "a.dcm"
    LOSSLESS[syntax](dataset_of(pixels, bits=bits), path)
    np.testing.assert_array_equal(DicomStack(path).values(0), pixels)
    gray = read_image(path)
    assert (gray.min(), gray.max()) == (0, 1)
    assert np.all(np.diff(gray.ravel()) >= 0)


@pytest.mark.parametrize("syntax", LOSSLESS)
def test_each_frame_of_many_is_found(tmp_path: Path, syntax: str) -> None:
    frames = pixels_of(12, signed=False, frames=5)
    path = tmp_path / "a.dcm"
    LOSSLESS[syntax](dataset_of(frames, bits=12), path)
    stack = DicomStack(path)
    assert stack.count == 5
    for frame in (4, 0, 2):  # in any order
        np.testing.assert_array_equal(stack.values(frame), frames[frame])


@pytest.mark.parametrize("width", [7, 9])
def test_fragments_of_odd_frames_are_joined(tmp_path: Path, width: int) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (3, 5, width), dtype=np.uint8)
    dataset = dataset_of(frames)
    dataset.compress(uid.RLELossless, encoding_plugin="pydicom")
    path = saved(dataset, tmp_path / "a.dcm")
    np.testing.assert_array_equal([DicomStack(path).values(k) for k in range(3)], frames)


LOSSY = {
    "JPEG baseline": (by_gdcm("JPEGBaselineProcess1"), 8, 4),
    "JPEG-LS near-lossless": (compressed(uid.JPEGLSNearLossless, jls_error=2), 12, 2),
    "JPEG 2000": (compressed(uid.JPEG2000, j2k_cr=[4]), 12, 16),
}


@pytest.mark.parametrize("syntax", LOSSY)
def test_lossy_pixels_come_back_close(tmp_path: Path, syntax: str) -> None:
    write, bits, most = LOSSY[syntax]
    pixels = pixels_of(bits, signed=False)
    write(dataset_of(pixels, bits=bits), tmp_path / "a.dcm")
    off = np.abs(DicomStack(tmp_path / "a.dcm").values(0).astype(int) - pixels)
    assert off.max() <= most


def holding(path: Path, syntax: uid.UID, frame: bytes) -> Path:
    """A file that says it is compressed, with this in the place of its only frame."""
    dataset = dataset_of(pixels_of(8, signed=False))
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate([frame])
    dataset["PixelData"].is_undefined_length = True
    return saved(dataset, path)


COMPRESSED = (*uid.JPEGTransferSyntaxes, *uid.JPEGLSTransferSyntaxes, *uid.JPEG2000TransferSyntaxes)
DECODED = [syntax for syntax in COMPRESSED if "Part 2" not in syntax.name]


@pytest.mark.parametrize("frame", [b"QX Miller " * 30, b"\0" * 99, b"\xff"], ids=["text", "0", "1"])
@pytest.mark.parametrize("syntax", DECODED, ids=lambda syntax: syntax.name)
def test_what_is_no_compressed_frame_gets_into_no_decoder(
    tmp_path: Path, syntax: uid.UID, frame: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(DataError, match="does not begin as its compression"):
        read_image(holding(tmp_path / "a.dcm", syntax, frame))
    assert capfd.readouterr() == ("", "")  # GDCM prints the first bytes of what is no JPEG


def test_jpeg_2000_in_the_boxes_of_a_file_is_read(tmp_path: Path) -> None:
    file, pixels = BytesIO(), pixels_of(8, signed=False)
    Image.fromarray(pixels).save(file, "JPEG2000")
    path = holding(tmp_path / "a.dcm", uid.JPEG2000Lossless, file.getvalue())
    np.testing.assert_array_equal(DicomStack(path).values(0), pixels)


def test_damaged_jpeg_of_eight_bits_is_not_read_by_gdcm(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """It would print what it finds, and end the process on some of it."""
    file = BytesIO()
    Image.fromarray(pixels_of(8, signed=False)).save(file, "JPEG")
    good = file.getvalue()
    path = holding(tmp_path / "a.dcm", uid.JPEGExtended12Bit, good)
    assert read_image(path).shape == (48, 40)
    cut = holding(tmp_path / "b.dcm", uid.JPEGExtended12Bit, good[: len(good) // 2])
    with pytest.raises(DataError, match="damaged"):
        read_image(cut)
    assert capfd.readouterr() == ("", "")


def test_jpeg_of_twelve_bits_is_read_or_the_decoder_is_named() -> None:
    path = Path(str(get_testdata_file("JPGExtended.dcm")))
    if find_spec("libjpeg"):
        assert read_image(path).shape == (1024, 256)
    else:
        with pytest.raises(DataError, match=r"JPEG of 12 bits.*fedefm\[dicom-gpl\]"):
            read_image(path)


def test_color_jpeg_as_ultrasound_machines_write_it(tmp_path: Path) -> None:
    color = np.zeros((32, 32, 3), np.uint8)
    color[:, :16] = (200, 40, 40)  # flow towards the probe
    color[:, 16:] = 90
    file = BytesIO()
    Image.fromarray(color).save(file, "jpeg", quality=95, subsampling=0)
    dataset = dataset_of(color, "RGB", SOPClassUID=MODALITIES["US"])
    dataset.PixelData = encapsulate([file.getvalue()])
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = uid.JPEGBaseline8Bit
    dataset.PhotometricInterpretation = "YBR_FULL_422"
    gray = read_image(saved(dataset, tmp_path / "a.dcm"))
    assert abs(gray[5, 5] - (0.299 * 200 + 0.587 * 40 + 0.114 * 40) / 255) < 0.02
    assert abs(gray[5, 25] - 90 / 255) < 0.02


RGB = np.random.default_rng(1).integers(0, 256, (12, 16, 3), dtype=np.uint8)


@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize("kind", ["RGB", "YBR_FULL"])
def test_color_becomes_luminance(tmp_path: Path, kind: str, planar: int) -> None:
    stored = RGB if kind == "RGB" else convert_color_space(RGB, "RGB", "YBR_FULL")
    dataset = dataset_of(stored, kind)
    if planar:
        dataset.PlanarConfiguration = 1
        dataset.PixelData = stored.transpose(2, 0, 1).tobytes()
    expected = np.asarray(Image.fromarray(RGB).convert("L")) / 255
    shown = read_image(saved(dataset, tmp_path / "a.dcm"))
    np.testing.assert_allclose(shown, expected, atol=0.012)


def test_deep_color_keeps_its_range(tmp_path: Path) -> None:
    gray = np.repeat(np.uint16([[0, 1000, 2000]])[..., None], 3, axis=-1)
    shown = read_image(saved(dataset_of(gray, "RGB", 12), tmp_path / "a.dcm"))
    np.testing.assert_allclose(shown, np.float32([[0, 1000, 2000]]) / 4095, atol=1e-3)


@pytest.mark.parametrize("bits", [8, 16])
def test_palettes_are_looked_up(tmp_path: Path, bits: int) -> None:
    dataset = dataset_of(np.uint8([[0, 1, 2]]), SamplesPerPixel=1)
    dataset.PhotometricInterpretation = "PALETTE COLOR"
    top = 2**bits - 1
    for name in ("Red", "Green", "Blue"):
        table = np.array([0, top, top // 2], f"<u{bits // 8}").tobytes()
        setattr(dataset, f"{name}PaletteColorLookupTableDescriptor", [3, 0, bits])
        dataset[f"{name}PaletteColorLookupTableDescriptor"].VR = "US"
        setattr(dataset, f"{name}PaletteColorLookupTableData", table + b"\0" * (len(table) % 2))
    shown = read_image(saved(dataset, tmp_path / "a.dcm"))
    np.testing.assert_allclose(shown, [[0, 1, 0.5]], atol=0.01)


@pytest.mark.parametrize("modality", MODALITIES)
def test_every_kind_of_image_is_read(tmp_path: Path, modality: str) -> None:
    frames = pixels_of(12, signed=False, frames=2)
    dataset = dataset_of(frames, bits=12, SOPClassUID=MODALITIES[modality])
    path = saved(dataset, tmp_path / "a")
    assert count_frames(path) == 2
    assert all(frame.shape == (48, 40) for frame in read_frames(path))


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("shape", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@given(
    slope=st.sampled_from([0.5, 1, 2]),
    intercept=st.integers(-1024, 200),
    center=st.integers(-500, 3000),
    width=st.integers(2, 4000),
)
def test_grays_agree_with_pydicom(
    tmp_path_factory: pytest.TempPathFactory,
    shape: str,
    signed: bool,
    slope: float,
    intercept: int,
    center: int,
    width: int,
) -> None:
    pixels = pixels_of(12, signed)
    dataset = dataset_of(pixels, bits=12, SOPClassUID=MODALITIES["CT"], VOILUTFunction=shape)
    dataset.RescaleSlope, dataset.RescaleIntercept = slope, intercept
    dataset.WindowCenter, dataset.WindowWidth = center, width
    path = saved(dataset, tmp_path_factory.mktemp("ct") / "a.dcm")
    again = pydicom.dcmread(path)
    values = apply_modality_lut(pixels, again)
    shown = apply_voi_lut(values, again)
    # pydicom's result spans the range of rescaled values that the stored bits allow
    low = (-(2**11) if signed else 0) * slope + intercept
    high = (2**11 - 1 if signed else 2**12 - 1) * slope + intercept
    np.testing.assert_allclose(read_image(path), (shown - low) / (high - low), atol=1e-4)


def table_of(entries: NDArray[np.int64], first: int, bits: int) -> Dataset:
    table = Dataset()
    table.LUTDescriptor = [len(entries), first & 0xFFFF, bits]
    table["LUTDescriptor"].VR = "US"
    table.LUTData = entries.tolist()
    table["LUTData"].VR = "US"
    return table


@given(
    first=st.integers(0, 3000),
    count=st.integers(2, 4096),
    bits=st.sampled_from([10, 12, 16]),
    seed=st.integers(0, 99),
)
def test_look_up_tables_agree_with_pydicom(first: int, count: int, bits: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    entries = np.sort(rng.integers(0, 2**bits, count))
    values = rng.integers(0, 4096, (9, 9))
    dataset = Dataset()
    dataset.VOILUTSequence = Sequence([table_of(entries, first, bits)])
    table = dataset.VOILUTSequence[0]
    found, depth = looked_up(values, table.LUTDescriptor, table.LUTData)
    assert depth == bits
    np.testing.assert_array_equal(found, apply_voi_lut(values, dataset))


def test_eight_bit_tables_of_many_entries_do_not_wrap_around(tmp_path: Path) -> None:
    entries = np.arange(4096) // 16
    dataset = dataset_of(pixels_of(12, signed=False), bits=12, SOPClassUID=MODALITIES["DX"])
    dataset.VOILUTSequence = Sequence([table_of(entries, 0, 8)])
    shown = read_image(saved(dataset, tmp_path / "a.dcm"))
    np.testing.assert_allclose(shown, entries[dataset.pixel_array] / 255, atol=1e-6)


def test_the_modality_table_is_for_all_but_angiograms(tmp_path: Path) -> None:
    falling = table_of(np.arange(4095, -1, -1), 0, 12)
    falling.ModalityLUTType = "US"
    for modality, direction in (("DX", -1), ("XA", 1)):
        dataset = dataset_of(pixels_of(12, signed=False), bits=12, SOPClassUID=MODALITIES[modality])
        dataset.ModalityLUTSequence = Sequence([falling])
        shown = read_image(saved(dataset, tmp_path / f"{modality}.dcm"))
        assert np.all(np.diff(shown.ravel()) * direction >= 0)


@pytest.mark.parametrize(("kind", "shape"), [("MONOCHROME1", "INVERSE"), ("MONOCHROME1", None)])
def test_inverse_images_are_inverted_once(tmp_path: Path, kind: str, shape: str | None) -> None:
    dataset = dataset_of(pixels_of(8, signed=False), kind, SOPClassUID=MODALITIES["DX"])
    if shape:
        dataset.PresentationLUTShape = shape
    assert np.all(np.diff(read_image(saved(dataset, tmp_path / "a.dcm")).ravel()) <= 0)


def test_padding_is_black_and_does_not_stretch_the_image(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(1000, 1101, (40, 40)).astype(np.int16)
    pixels[:, :10] = -2000
    dataset = dataset_of(pixels, bits=16, SOPClassUID=MODALITIES["CT"])
    dataset.PixelPaddingValue = -2000
    dataset["PixelPaddingValue"].VR = "SS"
    shown = read_image(saved(dataset, tmp_path / "a.dcm"))
    assert shown[:, :10].max() == 0
    assert abs(shown[:, 10:].mean() - 0.5) < 0.05


def test_bits_outside_the_stored_ones_are_no_part_of_the_image(tmp_path: Path) -> None:
    pixels = pixels_of(12, signed=False)
    overlay = np.zeros_like(pixels)
    overlay[::3] = 1 << 13  # as old overlays are kept
    dataset = dataset_of(pixels, bits=12)
    dataset.PixelData = (pixels | overlay).tobytes()
    stored = DicomStack(saved(dataset, tmp_path / "a.dcm")).values(0)
    np.testing.assert_array_equal(stored, pixels)


def test_a_long_run_is_not_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frames = np.zeros((200, 64, 64), np.uint16)
    path = saved(dataset_of(frames, bits=16), tmp_path / "a.dcm")
    read: list[int] = []
    original = Path.open

    class Counted:
        def __init__(self, file: Any) -> None:
            self._file = file

        def __getattr__(self, name: str) -> Any:
            return getattr(self._file, name)

        def __enter__(self) -> "Counted":
            return self

        def __exit__(self, *error: object) -> None:
            self._file.close()

        def read(self, size: int = -1) -> bytes:
            content: bytes = self._file.read(size)
            read.append(len(content))
            return content

    monkeypatch.setattr(Path, "open", lambda path, *mode: Counted(original(path, *mode)))
    read_image(path, 199)
    assert sum(read) < 10 * 64 * 64 * 2


def enhanced(positions: list[float]) -> Dataset:
    dataset = dataset_of(
        np.zeros((len(positions), 4, 4), np.uint16), bits=12, SOPClassUID=MODALITIES["enhanced MR"]
    )
    dataset.Modality = "MR"
    plane, shared = Dataset(), Dataset()
    plane.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    shared.PlaneOrientationSequence = Sequence([plane])
    dataset.SharedFunctionalGroupsSequence = Sequence([shared])
    groups = []
    for position in positions:
        place, group = Dataset(), Dataset()
        place.ImagePositionPatient = [0, 0, position]
        group.PlanePositionSequence = Sequence([place])
        groups.append(group)
    dataset.PerFrameFunctionalGroupsSequence = Sequence(groups)
    return dataset


def test_frames_of_an_enhanced_file_are_ordered_by_position(tmp_path: Path) -> None:
    facts = facts_of(saved(enhanced([5, -1, 2]), tmp_path / "a.dcm"))
    assert facts
    assert facts.order == (1, 2, 0)


@pytest.mark.parametrize(
    ("attributes", "rate"),
    [
        ({"FrameTime": "40"}, 25),
        ({"FrameTimeVector": [0, 100, 100]}, 10),
        ({"CineRate": "15"}, 15),
        ({"RecommendedDisplayFrameRate": "30"}, 30),
        ({"FrameTime": "0"}, None),
        ({}, None),
    ],
)
def test_the_rate_is_read(tmp_path: Path, attributes: dict[str, Any], rate: float | None) -> None:
    dataset = dataset_of(np.zeros((3, 4, 4), np.uint8), **attributes)
    facts = facts_of(saved(dataset, tmp_path / "a.dcm"))
    assert facts
    assert facts.rate == rate


@pytest.mark.parametrize(
    ("attributes", "reason"),
    [
        ({"Rows": 60000, "Columns": 60000}, "60000 x 60000 pixels; from 1 to"),
        ({"NumberOfFrames": 2**31 - 1}, "more than can be in it"),
        ({"NumberOfFrames": 90000}, "more than can be in it"),
        ({"Rows": 0}, "0 pixels"),
    ],
)
def test_bombs_are_refused_before_they_are_opened(
    tmp_path: Path, attributes: dict[str, Any], reason: str
) -> None:
    dataset = dataset_of(np.zeros((4, 4), np.uint8), **attributes)
    with pytest.raises(DataError, match=reason):
        read_image(saved(dataset, tmp_path / "a.dcm"))


def test_a_deflated_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom, "LARGEST_INFLATED", 1 << 20)
    dataset = dataset_of(np.zeros((4096, 4096), np.uint8))
    native(uid.DeflatedExplicitVRLittleEndian)(dataset, tmp_path / "a.dcm")
    assert (tmp_path / "a.dcm").stat().st_size < 1 << 17
    with pytest.raises(DataError, match="inflates to more than"):
        read_image(tmp_path / "a.dcm")


@given(where=st.integers(140, 4000), what=st.binary(min_size=1, max_size=8))
def test_damage_anywhere_is_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, where: int, what: bytes
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    dataset = dataset_of(pixels_of(12, signed=False), bits=12, PatientName="Miller^Hans")
    content = bytearray(saved(dataset, folder / "a.dcm").read_bytes())
    content[where : where + len(what)] = what
    (folder / "a.dcm").write_bytes(content)
    said = ""
    try:
        read_image(folder / "a.dcm")
    except DataError as error:
        said = str(error)
    assert "Miller" not in said

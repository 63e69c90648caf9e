"""What lies on the disk of a hospital's data scientist: all of it made here, names included."""

import pickle
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate

from fedefm.data.fluoroscopy import simulate_frame
from fedefm.data.xray_sequence import Sequence

PATIENTS = {  # by the folder that the PACS has made for each
    "MILLER_ANNA_19480312": "4711001",
    "WEBER_JONAS_19610730": "4711002",
    "OKAFOR_NGOZI_19750102": "4711003",
    "ROSSI_PAOLO_19531119": "4711004",
    "LINDQVIST_EVA_19820521": "4711005",
    "TANAKA_KENJI_19470908": "4711006",
    "DUBOIS_CLAIRE_19690417": "4711007",
    "HAAS_LENA_19900226": "4711008",
}
RATE, FRAMES, SIDE = 15.0, 18, 96
Pixels = NDArray[Any]


def dicom(path: Path, pixels: Pixels | None, kind: str = "MONOCHROME2", **more: Any) -> Dataset:
    """A file of the patient that its folder is called after, name and date of birth included."""
    folder = path.parents[1].name
    last, first, born = folder.split("_")
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
    dataset.SOPClassUID = more.pop("SOPClassUID", uid.XRayAngiographicImageStorage)
    dataset.SOPInstanceUID = uid.generate_uid()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.PatientName = f"{last}^{first}"
    dataset.PatientID = PATIENTS[folder]
    dataset.PatientBirthDate = born
    dataset.InstitutionName = "St. Mary's Hospital"
    dataset.StudyInstanceUID = uid.generate_uid(entropy_srcs=[folder])
    dataset.SeriesInstanceUID = uid.generate_uid(entropy_srcs=[folder, path.parent.name])
    dataset.Modality = "XA"
    if pixels is not None:
        dataset.set_pixel_data(pixels, kind, 12 if pixels.dtype == np.uint16 else 8)
    for name, value in more.items():
        setattr(dataset, name, value)
    return dataset


def save(dataset: Dataset, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.save_as(path, enforce_file_format=True)
    return path


def as_jpeg(dataset: Dataset, frames: Pixels) -> Dataset:
    """The same with JPEG frames, as most angiographs store them."""
    files = []
    for frame in frames:
        file = BytesIO()
        Image.fromarray(frame).save(file, "jpeg", quality=90)
        files.append(file.getvalue())
    dataset.PixelData = encapsulate(files)
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = uid.JPEGBaseline8Bit
    return dataset


def run_of(patient: int, side: int = SIDE, frames: int = FRAMES) -> Pixels:
    """Fluoroscopy of one patient, 8 bit."""
    sequence = Sequence("cardiac", 1, patient, side, patient, RATE)
    return np.stack([np.rint(f.image * 255).astype(np.uint8) for f in sequence.frames(frames)])


def scan(patient: int) -> Pixels:
    """A sector of noise with a line of text above it, as ultrasound machines save it."""
    rng = np.random.default_rng(patient)
    coarse = Image.fromarray(rng.integers(0, 256, (12, 12), dtype=np.uint8))
    picture = coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    shape = Image.new("L", (SIDE, SIDE))
    ImageDraw.Draw(shape).pieslice((0, -70, SIDE, SIDE - 6), 50, 130, 255)
    shown = Image.composite(picture, Image.new("L", (SIDE, SIDE)), shape)
    ImageDraw.Draw(shown).text((2, 0), f"NAME {patient}", 255)
    return np.asarray(shown)


def angiograms(root: Path) -> None:
    """The export of a catheter laboratory, with what strays into one."""
    for patient, folder in enumerate(PATIENTS):
        frames, place = run_of(patient), root / folder / "CORO_20260114"
        if patient % 3 == 0:
            save(as_jpeg(dicom(place / "IM0001", frames, FrameTime=1000 / RATE), frames),
                 place / "IM0001")  # fmt: skip
        elif patient % 3 == 1:
            run = dicom(place / "IM0001", frames, CineRate=15)
            run.compress(uid.RLELossless, encoding_plugin="pydicom")
            save(run, place / "IM0001")
        else:
            deep = (frames.astype(np.uint16) << 4) + 3
            save(dicom(place / "IM0001", deep, CineRate=15), place / "IM0001")
    miller, weber, okafor = (root / folder / "CORO_20260114" for folder in [*PATIENTS][:3])
    wide = run_of(0, side=128, frames=12)
    save(dicom(miller / "IM0002", wide, FrameTime=1000 / RATE), miller / "IM0002")
    dose = {"SOPClassUID": uid.SecondaryCaptureImageStorage, "Modality": "OT"}
    save(dicom(miller / "IM0003", scan(0), **dose), miller / "IM0003")
    text = {"SOPClassUID": uid.BasicTextSRStorage, "Modality": "SR"}
    save(dicom(weber / "SR0001.dcm", None, **text), weber / "SR0001.dcm")
    cut = save(dicom(weber / "IM0002", run_of(1, frames=10)), weber / "IM0002")
    cut.write_bytes(cut.read_bytes()[:60_000])
    marked = {"SOPClassUID": uid.UltrasoundImageStorage, "Modality": "US"}
    echo = dicom(okafor / "IM0002", scan(2), BurnedInAnnotation="YES", **marked)
    save(echo, okafor / "IM0002")


def ultrasound(root: Path) -> None:
    """Two patients of the same hospital, one image marked and one that does not say."""
    kind = {"SOPClassUID": uid.UltrasoundImageStorage, "Modality": "US"}
    marked, silent = (root / folder / "ECHO_20260115" for folder in [*PATIENTS][:2])
    save(dicom(marked / "1.dcm", scan(0), BurnedInAnnotation="YES", **kind), marked / "1.dcm")
    save(dicom(silent / "1.dcm", scan(1), **kind), silent / "1.dcm")


def pictures(root: Path) -> None:
    """PNG frames and masks in folders that are called after patients."""
    for patient, folder in enumerate([*PATIENTS][:4]):
        for number in range(3):
            frame = simulate_frame("phantom", 2, 3 * patient + number, SIDE, patient)
            for kind, pixels in (
                ("images", np.rint(frame.image * 255).astype(np.uint8)),
                ("masks", frame.mask),
            ):
                place = root / folder / kind / f"{number}.png"
                place.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(place)


def volumes(root: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("scan1", "scan2"):
        root.mkdir(exist_ok=True)
        values = rng.normal(40, 300, (48, 40, 6)).astype(np.int16)
        nibabel.Nifti1Image(values, np.eye(4)).to_filename(root / f"{name}.nii.gz")
        labels = (values > 300).astype(np.uint8)
        nibabel.Nifti1Image(labels, np.eye(4)).to_filename(root / f"{name}_seg.nii.gz")


def arrays(root: Path) -> None:
    root.mkdir()
    for patient in range(2):
        np.save(root / f"run{patient}.npy", run_of(patient, frames=6))


def public_set(root: Path) -> None:
    """CHASE_DB1 as its archive unpacks: both eyes of two people, vessels by two observers."""
    root.mkdir()
    rng = np.random.default_rng(0)
    for name in ("Image_01L", "Image_01R", "Image_02L", "Image_02R"):
        eye = Image.fromarray(rng.integers(0, 256, (6, 6), dtype=np.uint8))
        eye.resize((48, 48), Image.Resampling.BICUBIC).save(root / f"{name}.jpg")
        for observer in ("1stHO", "2ndHO"):
            vessel = Image.new("L", (48, 48))
            ImageDraw.Draw(vessel).line((4, 40, 44, 8), 255, 3)
            vessel.save(root / f"{name}_{observer}.png")


def old_list(root: Path) -> None:
    for number in range(3):
        place = root / "chest" / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.effect_noise((32, 32), 60 + number).save(place)
    entries = [(f"chest/{number}.png", number % 2) for number in range(3)]
    (root / "silo1.pkl").write_bytes(pickle.dumps(entries))


SOURCES: dict[str, Callable[[Path], None]] = {
    "export": angiograms,
    "echo": ultrasound,
    "frames": pictures,
    "volumes": volumes,
    "arrays": arrays,
    "CHASEDB1": public_set,
    "old": old_list,
}


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder in which all sources lie, and in which commands are typed."""
    root = tmp_path_factory.mktemp("workplace")
    for name, make in SOURCES.items():
        make(root / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        yield root


@pytest.fixture(scope="module")
def identifying() -> list[str]:
    """What in the sources tells who somebody is, in words that no picture holds by chance."""
    words = [*PATIENTS.values(), *(word for folder in PATIENTS for word in folder.split("_"))]
    return [word for word in words if len(word) > 4]

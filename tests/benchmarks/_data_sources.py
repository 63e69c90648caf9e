"""What the data benchmark ingests: simulated runs as a hospital's system would export them.

Few distinct frames are drawn, and of those each file takes its share: what a decoder does for a
frame does not depend on whether it has met the same frame in another file.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames

from fedefm.data.fluoroscopy import DOMAINS, simulate_frame

BITS = 12  # stored in 16, as detectors give them
CENTER, WIDTH = 2048, 3600  # the window that each file names
DISTINCT = 16  # frames
SEED = 7
SYNTAXES = {
    "raw": uid.ExplicitVRLittleEndian,
    "JPEG-LS": uid.JPEGLSLossless,
    "JPEG 2000": uid.JPEG2000Lossless,
}
Pixels = NDArray[np.uint16]


@dataclass(frozen=True)
class Kind:
    """One kind of source: how many files, and how many frames are in each."""

    name: str
    write: Callable[[Path, int, int, int], None]  # folder, files, frames of a file, side
    files: int
    frames: int  # of a file
    convert: str = "auto"  # ingest's option ``files``

    @property
    def total(self) -> int:
        return self.files * self.frames


def kinds(frames: int) -> list[Kind]:
    """Every kind, with about ``frames`` frames."""
    run = min(60, frames)
    several = max(1, frames // run)
    return [
        *(Kind(f"runs, {name}", dicom(name), several, run) for name in SYNTAXES),
        *(Kind(f"single images, {name}", dicom(name), frames, 1) for name in SYNTAXES),
        Kind("PNG folder, as it is", pictures, frames, 1),
        Kind("PNG folder, written anew", pictures, frames, 1, "png"),
    ]


def dicom(syntax: str) -> Callable[[Path, int, int, int], None]:
    """What writes DICOM angiograms in a transfer syntax."""

    def write(folder: Path, files: int, frames: int, side: int) -> None:
        folder.mkdir(parents=True)
        coded = _coded(_detected(side), SYNTAXES[syntax])
        for number, some in enumerate(_shares(coded, files, frames)):
            _save(folder / f"IM{number:05d}.dcm", some, SYNTAXES[syntax], side, number)

    return write


def pictures(folder: Path, files: int, frames: int, side: int) -> None:
    """8-bit PNG files, one frame each, in a folder for each patient."""
    shown = [(image >> (BITS - 8)).astype(np.uint8) for image in _detected(side)]
    for number, some in enumerate(_shares(shown, files * frames, 1)):
        home = folder / f"patient-{number // 20:04d}"
        home.mkdir(parents=True, exist_ok=True)
        Image.fromarray(some[0]).save(home / f"{number:05d}.png", compress_level=1)


def _detected(side: int) -> list[Pixels]:
    """Frames as a detector would give them."""
    domains = list(islice(cycle(DOMAINS), DISTINCT))
    images = [simulate_frame(name, SEED, k, side).image for k, name in enumerate(domains)]
    return [np.rint(image * (2**BITS - 1)).astype(np.uint16) for image in images]


def _shares(items: Sequence[object], files: int, each: int) -> Iterator[list[object]]:
    endless = cycle(items)
    for _ in range(files):
        yield list(islice(endless, each))


def _coded(images: Sequence[Pixels], syntax: uid.UID) -> list[bytes]:
    """Each frame's bytes in the transfer syntax."""
    if not syntax.is_encapsulated:
        return [image.tobytes() for image in images]
    whole = _header(uid.ExplicitVRLittleEndian, images[0].shape[0], 0)
    whole.set_pixel_data(np.stack(images), "MONOCHROME2", BITS)
    whole.compress(syntax)
    return list(generate_frames(whole.PixelData, number_of_frames=len(images)))


def _save(path: Path, frames: list[bytes], syntax: uid.UID, side: int, number: int) -> None:
    header = _header(syntax, side, number)
    header.NumberOfFrames = len(frames)
    header.PixelData = encapsulate(frames) if syntax.is_encapsulated else b"".join(frames)
    header["PixelData"].VR = "OB" if syntax.is_encapsulated else "OW"
    header.save_as(path, enforce_file_format=True)


def _header(syntax: uid.UID, side: int, number: int) -> Dataset:
    """What such a file says beside its pixels; three files are of one patient."""
    header = Dataset()
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = syntax
    header.SOPClassUID = uid.XRayAngiographicImageStorage
    header.SOPInstanceUID = uid.generate_uid(entropy_srcs=[f"image {number}"])
    header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID
    header.file_meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID
    header.StudyInstanceUID = uid.generate_uid(entropy_srcs=[f"study {number // 3}"])
    header.SeriesInstanceUID = uid.generate_uid(entropy_srcs=[f"series {number // 3}"])
    header.PatientName, header.PatientID = f"Nobody^{number // 3}", f"P{number // 3:06d}"
    header.Modality, header.BurnedInAnnotation = "XA", "NO"
    header.InstanceNumber, header.FrameTime = number, 1000 / 15
    header.WindowCenter, header.WindowWidth = CENTER, WIDTH
    header.Rows = header.Columns = side
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.BitsAllocated, header.BitsStored, header.HighBit = 16, BITS, BITS - 1
    header.PixelRepresentation = 0
    return header

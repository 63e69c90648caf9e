"""DICOM files of a patient whose name must not get anywhere, and a segmenter of bright pixels."""

from pathlib import Path

import numpy as np
import pytest
import torch
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, XRayAngiographicImageStorage, generate_uid

from fedefm.finetune.checkpoint import TrainedSegmenter
from fedefm.predict.highdicom_seg import Algorithm

CLASSES = ("background", "catheter", "guidewire")


class Bright(torch.nn.Module):
    """Calls bright pixels a catheter and dark ones a guidewire."""

    def __init__(self):
        super().__init__()
        self.bias = torch.nn.Parameter(torch.zeros(1))
        self.info = {"image_size": "32", "backbone": "resnet_micro"}

    def forward(self, x):
        return torch.cat([torch.ones_like(x), x + self.bias, -x], dim=1)


@pytest.fixture
def segmenter():
    return TrainedSegmenter(Bright(), CLASSES)


@pytest.fixture
def algorithm():
    return Algorithm("FedEFM segmenter on resnet10", "0.1.0", "ab" * 32)


@pytest.fixture
def patient():
    """Everything that would give the patient away."""
    return ("Müller", "M\\xfc", "Jürgen", "0815-4711", "19500101")


@pytest.fixture
def write_dicom():
    return _write_dicom


@pytest.fixture
def run_of():
    return _run_of


def _write_dicom(
    path: Path, pixels: np.ndarray, sop_class: UID = XRayAngiographicImageStorage, **attributes
) -> Path:
    """A DICOM file of 8-bit ``pixels`` (H, W) or (N, H, W) with a patient and a study."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, generate_uid()
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.PatientName, dataset.PatientID = "Müller^Jürgen", "0815-4711"
    dataset.PatientBirthDate, dataset.PatientSex = "19500101", "M"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = generate_uid(), generate_uid()
    dataset.StudyDate, dataset.StudyTime = "20240102", "030405"
    dataset.StudyID, dataset.AccessionNumber = "7", "A7"
    dataset.ReferringPhysicianName = ""
    dataset.Modality = "XA"
    for name, value in attributes.items():
        setattr(dataset, name, value)
    dataset.set_pixel_data(pixels, "MONOCHROME2", 8)
    dataset.save_as(path, enforce_file_format=True)
    return path


def _run_of(count: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    """Frames with a bright bar that moves, the first one without."""
    rng = np.random.default_rng(seed)
    frames = rng.integers(110, 130, (count, height, width), dtype=np.uint8)
    for k in range(1, count):
        column = 3 + 2 * k % (width - 8)
        frames[k, :, column : column + 3] = 250
    return frames

import logging
import shutil
import subprocess
import sys

import highdicom
import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.uid import CTImageStorage, UltrasoundImageStorage, generate_uid

from fedefm.errors import DataError
from fedefm.predict.dicom_codes import OURS, coded
from fedefm.predict.dicom_frames import MarkedFrame, _packed
from fedefm.predict.dicom_seg import segmentation

CLASSES = ("background", "catheter", "guidewire")


def marked(path, masks):
    """Frames of one file with these masks."""
    return [
        MarkedFrame(path, k, tuple((mask == c).any() for c in (1, 2)), lambda mask=mask: mask)
        for k, mask in enumerate(masks)
    ]


def random_masks(count, height, width, seed=0):
    """Thin lines of both devices; the first frame has none, the second no guidewire."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((count, height, width), np.uint8)
    for k in range(1, count):
        masks[k, rng.integers(height)] = 1
        if k > 1:
            masks[k, :, rng.integers(width)] = 2
    return masks


def read_back(seg, path):
    """As a PACS would: from the file."""
    seg.save_as(path, enforce_file_format=True)
    return highdicom.seg.segread(path)


def standard_errors(path):
    """What dciodvfy of dicom3tools finds wrong; nothing where it is not installed."""
    if shutil.which("dciodvfy") is None:
        return []
    told = subprocess.run(["dciodvfy", path], capture_output=True, text=True, errors="replace")
    return [line for line in told.stderr.splitlines() if line.startswith("Error")]


@pytest.mark.parametrize(("height", "width"), [(16, 24), (13, 11)])
def test_the_masks_of_a_run_come_back_pixel_by_pixel(
    height, width, write_dicom, algorithm, tmp_path
):
    masks = random_masks(5, height, width)
    path = write_dicom(tmp_path / "run.dcm", np.zeros((5, height, width), np.uint8), FrameTime="33")
    seg = read_back(
        segmentation(marked(path, masks), CLASSES, algorithm, 1), tmp_path / "run.seg.dcm"
    )
    source = pydicom.dcmread(path)
    pixels = seg.get_pixels_by_source_frame(
        source.SOPInstanceUID,
        [1, 2, 3, 4, 5],
        combine_segments=True,
        assert_missing_frames_are_empty=True,
    )
    assert np.array_equal(pixels, masks)
    plain = pydicom.dcmread(tmp_path / "run.seg.dcm")
    assert plain.pixel_array.shape == (4 + 3, height, width)  # no empty frames
    assert standard_errors(tmp_path / "run.seg.dcm") == []
    (instance,) = seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    assert instance.ReferencedSOPInstanceUID == source.SOPInstanceUID
    assert instance.ReferencedSOPClassUID == source.SOPClassUID
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == source.SeriesInstanceUID


def test_single_frames_of_a_series_are_one_seg_that_points_at_each(
    write_dicom, algorithm, tmp_path
):
    masks, series, study = random_masks(4, 16, 16), generate_uid(), generate_uid()
    paths = [
        write_dicom(
            tmp_path / f"{k}.dcm",
            np.zeros((16, 16), np.uint8),
            UltrasoundImageStorage,
            SeriesInstanceUID=series,
            StudyInstanceUID=study,
        )
        for k in range(4)
    ]
    frames = [marked(path, [mask])[0] for path, mask in zip(paths, masks, strict=True)]
    seg = read_back(segmentation(frames, CLASSES, algorithm, 1), tmp_path / "seg.dcm")
    uids = [pydicom.dcmread(path).SOPInstanceUID for path in paths]
    pixels = seg.get_pixels_by_source_instance(
        uids, combine_segments=True, assert_missing_frames_are_empty=True
    )
    assert np.array_equal(pixels, masks)
    assert standard_errors(tmp_path / "seg.dcm") == []


@pytest.mark.parametrize("alike", [False, True])
def test_planes_keep_their_place_in_space_unless_they_share_one(
    alike, write_dicom, algorithm, tmp_path
):
    masks, shared = random_masks(4, 16, 16), [generate_uid() for _ in range(3)]
    paths = [
        write_dicom(
            tmp_path / f"{k}.dcm",
            np.zeros((16, 16), np.uint8),
            CTImageStorage,
            StudyInstanceUID=shared[0],
            SeriesInstanceUID=shared[1],
            FrameOfReferenceUID=shared[2],
            PositionReferenceIndicator="",
            ImagePositionPatient=[0, 0, 0 if alike else 2.5 * k],
            ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
            PixelSpacing=[0.5, 0.5],
            SliceThickness=2.5,
        )
        for k in range(4)
    ]
    frames = [marked(path, [mask])[0] for path, mask in zip(paths, masks, strict=True)]
    seg = read_back(segmentation(frames, CLASSES, algorithm, 1), tmp_path / "seg.dcm")
    assert ("FrameOfReferenceUID" in seg) is not alike
    uids = [pydicom.dcmread(path).SOPInstanceUID for path in paths]
    pixels = seg.get_pixels_by_source_instance(
        uids, combine_segments=True, assert_missing_frames_are_empty=True
    )
    assert np.array_equal(pixels, masks)


def test_it_says_what_was_found_by_what_and_whose_it_is(write_dicom, algorithm, tmp_path):
    path = write_dicom(tmp_path / "run.dcm", np.zeros((3, 16, 16), np.uint8))
    names = ("background", "catheter", "guide wire", "Führungsdraht")
    frames = marked(path, random_masks(3, 16, 16))
    frames = [MarkedFrame(f.path, f.frame, (*f.found, False), f.mask) for f in frames]
    seg = read_back(segmentation(frames, names, algorithm, 2), tmp_path / "seg.dcm")
    catheter, wire, other = seg.SegmentSequence
    assert catheter.SegmentedPropertyTypeCodeSequence[0].CodeValue == "19923001"
    assert wire.SegmentedPropertyTypeCodeSequence[0].CodeValue == "272224001"
    assert other.SegmentedPropertyTypeCodeSequence[0].CodingSchemeDesignator == OURS
    assert other.SegmentLabel == "Führungsdraht"
    made_by = catheter.SegmentationAlgorithmIdentificationSequence[0]
    assert made_by.AlgorithmName == algorithm.name
    assert made_by.AlgorithmVersion == algorithm.version
    assert algorithm.sha256 in made_by.AlgorithmParameters
    source = pydicom.dcmread(path)
    for name in ("PatientName", "PatientID", "StudyInstanceUID", "AccessionNumber"):
        assert seg[name].value == source[name].value
    assert seg.SeriesInstanceUID != source.SeriesInstanceUID
    assert seg.Modality == "SEG"


def test_a_run_without_a_device_is_a_seg_of_empty_frames(write_dicom, algorithm, tmp_path):
    path = write_dicom(tmp_path / "run.dcm", np.zeros((2, 16, 16), np.uint8))
    frames = marked(path, np.zeros((2, 16, 16), np.uint8))
    seg = read_back(segmentation(frames, CLASSES, algorithm, 1), tmp_path / "seg.dcm")
    assert not seg.pixel_array.any()


def test_one_device_is_one_segment(write_dicom, algorithm, tmp_path):
    path = write_dicom(tmp_path / "run.dcm", np.zeros((3, 16, 16), np.uint8))
    masks = np.minimum(random_masks(3, 16, 16), 1)
    frames = [MarkedFrame(path, k, (mask.any(),), lambda m=mask: m) for k, mask in enumerate(masks)]
    seg = read_back(segmentation(frames, CLASSES[:2], algorithm, 1), tmp_path / "seg.dcm")
    uid = pydicom.dcmread(path).SOPInstanceUID
    found = seg.get_pixels_by_source_frame(uid, [1, 2, 3], assert_missing_frames_are_empty=True)
    assert np.array_equal(found[..., 0], masks)
    assert standard_errors(tmp_path / "seg.dcm") == []


def test_nothing_of_the_patient_is_printed_logged_or_warned_of(
    write_dicom, algorithm, patient, tmp_path, caplog, capfd, recwarn
):
    caplog.set_level(logging.DEBUG)
    path = write_dicom(tmp_path / "run.dcm", np.zeros((2, 16, 16), np.uint8), PatientName="Müller")
    segmentation(marked(path, random_masks(2, 16, 16)), CLASSES, algorithm, 1)
    told = caplog.text + "".join(capfd.readouterr()) + "".join(str(w.message) for w in recwarn)
    assert not [word for word in patient if word in told]


def test_a_source_that_a_seg_cannot_point_at_is_one_sentence(write_dicom, algorithm, tmp_path):
    path = write_dicom(
        tmp_path / "Miller.dcm", np.zeros((2, 16, 16), np.uint8), StudyInstanceUID=""
    )
    with pytest.raises(DataError, match="no StudyInstanceUID") as told:
        segmentation(marked(path, random_masks(2, 16, 16)), CLASSES, algorithm, 1)
    assert "Miller" not in str(told.value)


@pytest.mark.parametrize("value", [b"1.1.1950", b"Mueller?"])
def test_a_value_that_dicom_does_not_allow_is_one_sentence_without_it(
    write_dicom, algorithm, tmp_path, value
):
    path = write_dicom(tmp_path / "run.dcm", np.zeros((2, 16, 16), np.uint8))
    path.write_bytes(path.read_bytes().replace(b"19500101", value))
    with pytest.raises(DataError, match="a value that DICOM does not allow") as told:
        segmentation(marked(path, random_masks(2, 16, 16)), CLASSES, algorithm, 1)
    assert value.decode() not in str(told.value)
    assert told.value.__suppress_context__


def test_without_highdicom_the_extra_is_named(write_dicom, algorithm, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "highdicom", None)
    path = write_dicom(tmp_path / "run.dcm", np.zeros((2, 16, 16), np.uint8))
    with pytest.raises(DataError, match=r"pip install 'fedefm\[dicom\]'"):
        segmentation(marked(path, random_masks(2, 16, 16)), CLASSES, algorithm, 1)


@settings(max_examples=40)
@given(st.integers(1, 5), st.integers(1, 9), st.integers(1, 9), st.integers(0, 99))
def test_bits_are_packed_without_gaps_between_frames(count, height, width, seed):
    frames = np.random.default_rng(seed).integers(0, 2, (count, height, width)).astype(bool)
    packed = np.frombuffer(_packed(iter(frames)), np.uint8)
    bits = np.unpackbits(packed, bitorder="little")
    assert np.array_equal(bits[: frames.size].astype(bool), frames.ravel())
    assert len(packed) % 2 == 0
    assert len(packed) <= frames.size // 8 + 2


def test_codes_do_not_depend_on_how_a_class_is_written_and_differ_between_classes():
    assert coded("Guide Wire") == coded("guidewire") == coded("guide-wire")
    one, other = coded("sheath")[1], coded("stent")[1]
    assert one.value != other.value
    assert len(one.value) <= 16

import csv
import logging
import os
import socket
import sys
from dataclasses import replace
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.uid import UltrasoundImageStorage, generate_uid

from fedefm.errors import DataError
from fedefm.finetune.result import as_json
from fedefm.finetune.tiling import segment_large
from fedefm.predict.job import predict


def bar(height, width):
    image = np.full((height, width), 40, np.uint8)
    image[:, width // 4 : width // 2] = 250
    return image


@pytest.fixture
def folder(tmp_path):
    source = tmp_path / "in"
    (source / "sub").mkdir(parents=True)
    Image.fromarray(bar(50, 80)).save(source / "a.png")
    np.save(source / "sub" / "stack.npy", np.stack([bar(64, 64)] * 2))
    return source


def read_index(out):
    with (out / "index.csv").open() as file:
        return list(csv.DictReader(file))


def test_masks_are_of_the_original_size_and_where_the_device_is(segmenter):
    masks = segment_large(segmenter, [bar(50, 80) / 255, bar(200, 100) / 255])
    assert [mask.shape for mask in masks] == [(50, 80), (200, 100)]
    for mask in masks:
        width = mask.shape[1]
        assert (mask[:, width // 4 + 4 : width // 2 - 4] == 1).all()
        assert (mask[:, width // 2 + 4 :] == 0).all()


def test_every_frame_gets_a_mask_an_overlay_and_a_line(segmenter, folder, tmp_path):
    out = tmp_path / "out"
    done = []
    summary = predict(segmenter, folder, out, lambda n, total: done.append((n, total)))
    lines = read_index(out)
    assert [(line["image"], line["frame"]) for line in lines] == [
        ("a.png", "0"),
        ("sub/stack.npy", "0"),
        ("sub/stack.npy", "1"),
    ]
    for line in lines:
        mask = np.asarray(Image.open(out / line["mask"]))
        assert mask.shape == (int(line["height"]), int(line["width"]))
        assert (mask == 1).sum() == int(line["catheter_pixels"]) > 0
        assert line["guidewire_pixels"] == "0"
        assert Image.open(out / line["overlay"]).width >= int(line["width"])
    assert summary.images == summary.marked == 3
    assert done == [(1, 2), (2, 2)]


def test_frames_without_a_device_are_not_counted_as_marked(segmenter, tmp_path):
    (tmp_path / "in").mkdir()
    Image.fromarray(bar(32, 32)).save(tmp_path / "in" / "a.png")
    Image.fromarray(np.full((32, 32), 40, np.uint8)).save(tmp_path / "in" / "b.png")
    summary = predict(segmenter, tmp_path / "in", tmp_path / "out")
    assert (summary.images, summary.marked) == (2, 1)


def test_a_manifest_names_the_frames(segmenter, folder, tmp_path):
    header = "path,frame,patient_id,corpus,label,mask_path,split,sha256"
    (folder / "m.csv").write_text(f"{header}\nsub/stack.npy,1,p,c,,,,\n")
    predict(segmenter, folder / "m.csv", tmp_path / "out")
    assert [(line["image"], line["frame"]) for line in read_index(tmp_path / "out")] == [
        ("sub/stack.npy", "1")
    ]


def test_masks_that_lie_beside_their_images_are_not_segmented(segmenter, folder, tmp_path):
    Image.fromarray(bar(50, 80) // 250).save(folder / "a_mask.png")
    for name in ("images", "masks"):
        (folder / name).mkdir()
        Image.fromarray(bar(50, 80)).save(folder / name / "b.png")
    predict(segmenter, folder, tmp_path / "out")
    named = {line["image"] for line in read_index(tmp_path / "out")}
    assert named == {"a.png", "images/b.png", "sub/stack.npy"}


def test_one_image_may_be_named_alone(segmenter, folder, tmp_path):
    assert predict(segmenter, folder / "a.png", tmp_path / "out").images == 1


def test_what_cannot_be_read_is_named_and_the_rest_is_done(segmenter, folder, tmp_path):
    (folder / "broken.png").write_bytes(b"nothing")
    (folder / "notes.txt").write_text("no image, so no trouble")
    summary = predict(segmenter, folder, tmp_path / "out")
    assert summary.images == 3
    assert list(summary.unreadable) == ["broken.png"]
    assert "broken.png" in summary.unreadable["broken.png"]


def test_of_a_file_that_is_cut_off_all_whole_frames_are_done(
    segmenter, algorithm, write_dicom, run_of, tmp_path
):
    path = write_dicom(tmp_path / "run.dcm", run_of(4, 40, 40))
    path.write_bytes(path.read_bytes()[: -(40 * 40 + 100)])
    summary = predict(segmenter, path, tmp_path / "out", algorithm=algorithm)
    assert [line["frame"] for line in read_index(tmp_path / "out")] == ["0", "1"]
    (reason,) = summary.unreadable.values()
    assert reason.endswith("(2 of its 4 frames)")
    assert len(summary.segmentations) == 1


@pytest.mark.parametrize(
    "name", [b"caf\xe9.png", b"=cmd.png", b"a\nb.png", b" .png", b"\x1b[31m.png"]
)
def test_odd_names_are_only_names(segmenter, tmp_path, name):
    source = tmp_path / "in"
    source.mkdir()
    Image.fromarray(bar(20, 20)).save(tmp_path / "plain.png")
    (tmp_path / "plain.png").rename(source / os.fsdecode(name))
    predict(segmenter, source, tmp_path / "out")
    (line,) = read_index(tmp_path / "out")
    assert (tmp_path / "out" / line["mask"]).is_file()
    assert not line["image"].startswith("=")
    assert line["image"].isprintable()


def test_names_of_classes_are_no_formulas(segmenter, folder, tmp_path):
    named = replace(segmenter, classes=("background", "=cmd|' /C calc'!A0", "other"))
    predict(named, folder, tmp_path / "out")
    header = (tmp_path / "out" / "index.csv").read_text().splitlines()[0]
    assert not [cell for cell in next(csv.reader([header])) if cell.startswith("=")]


def test_nothing_readable_is_one_sentence_naming_each_and_leaves_nothing(segmenter, tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    for name in ("y.dcm", "x.png"):
        (source / name).write_bytes(b"nothing")
    with pytest.raises(
        DataError, match=r"(?s)no readable image.*x\.png.*DICOM file 1 of 1"
    ) as told:
        predict(segmenter, source, tmp_path / "out")
    assert "y.dcm" not in str(told.value)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_an_empty_or_missing_folder_is_one_sentence(segmenter, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no images in"):
        predict(segmenter, tmp_path / "empty", tmp_path / "out")
    with pytest.raises(DataError, match="does not exist"):
        predict(segmenter, tmp_path / "absent", tmp_path / "out")


@pytest.mark.parametrize("name", ["pipe", "pipe.png", "pipe.dcm", "pipe.csv"])
def test_pipes_sockets_and_devices_are_no_images_and_hold_nothing_up(
    segmenter, folder, tmp_path, name
):
    os.mkfifo(tmp_path / name)
    with pytest.raises(DataError, match=r"is no file or folder of images|is a pipe"):
        predict(segmenter, tmp_path / name, tmp_path / "out")
    with pytest.raises(DataError, match="/dev/zero is no file or folder of images"):
        predict(segmenter, Path("/dev/zero"), tmp_path / "out")
    os.mkfifo(folder / name)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(os.path.relpath(folder / "socket.png"))
    assert predict(segmenter, folder, tmp_path / "out").images == 3


def test_results_are_never_overwritten(segmenter, folder, tmp_path):
    predict(segmenter, folder, tmp_path / "out")
    with pytest.raises(DataError, match="exists already"):
        predict(segmenter, folder, tmp_path / "out")


def test_files_that_differ_only_in_png_keep_their_own_mask(segmenter, tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    np.save(source / "a.npy", bar(40, 40))
    Image.fromarray(bar(60, 60)).save(source / "a.npy.png")
    predict(segmenter, source, tmp_path / "out")
    lines = read_index(tmp_path / "out")
    assert len({line["mask"] for line in lines}) == 2
    for line in lines:
        assert Image.open(tmp_path / "out" / line["mask"]).height == int(line["height"])


@pytest.fixture
def export_of_a_pacs(write_dicom, run_of, tmp_path):
    """A run in one file, a series of three files out of order, a broken file, and a picture."""
    source = tmp_path / "in"
    source.mkdir()
    write_dicom(source / "Mueller_run.dcm", run_of(4, 40, 40), FrameTime="33")
    series, study = generate_uid(), generate_uid()
    for k, image in enumerate(run_of(3, 48, 40)):
        write_dicom(
            source / f"Mueller_{3 - k}.dcm",
            image,
            UltrasoundImageStorage,
            SeriesInstanceUID=series,
            StudyInstanceUID=study,
            InstanceNumber=k + 1,
        )
    (source / "Mueller_broken.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"nothing")
    Image.fromarray(bar(50, 80)).save(source / "mine.png")
    return source


def test_dicom_runs_get_numbers_a_gif_and_a_seg(segmenter, algorithm, export_of_a_pacs, tmp_path):
    out = tmp_path / "out"
    summary = predict(segmenter, export_of_a_pacs, out, algorithm=algorithm)
    assert summary.images == 4 + 3 + 1
    assert summary.notes == []
    lines = read_index(out)
    assert [(line["image"], line["frame"]) for line in lines] == [
        *(("dicom-0001", str(k)) for k in range(3)),
        *(("dicom-0003", str(k)) for k in range(4)),
        ("mine.png", "0"),
    ]
    assert sorted(summary.animations) == ["clips/dicom-0001.gif", "clips/dicom-0003.gif"]
    assert all(Image.open(out / name).n_frames > 1 for name in summary.animations)
    assert (out / "identified").stat().st_mode & 0o777 == 0o700
    with (out / "identified" / "sources.csv").open() as file:
        sources = list(csv.DictReader(file))
    assert [(row["image"], Path(row["file"]).name) for row in sources] == [
        *(("dicom-0001", f"Mueller_{k}.dcm") for k in (3, 2, 1)),  # by instance number
        ("dicom-0003", "Mueller_run.dcm"),
    ]
    seg = highdicom.seg.segread(out / "identified" / "dicom-0003.seg.dcm")
    masks = [np.asarray(Image.open(out / line["mask"])) for line in lines[3:7]]
    pixels = seg.get_pixels_by_source_frame(
        sources[3]["SOPInstanceUID"],
        [1, 2, 3, 4],
        combine_segments=True,
        assert_missing_frames_are_empty=True,
    )
    assert np.array_equal(pixels, np.stack(masks))
    assert np.stack(masks).any()


def test_only_what_is_identified_leads_back_to_a_patient(
    segmenter, algorithm, export_of_a_pacs, patient, tmp_path, capfd, caplog
):
    caplog.set_level(logging.DEBUG)
    out = tmp_path / "out"
    summary = predict(segmenter, export_of_a_pacs, out, algorithm=algorithm)
    uids = [
        str(pydicom.dcmread(path)[name].value)
        for path in export_of_a_pacs.glob("Mueller_*.dcm")
        if "broken" not in path.name
        for name in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
    ]
    words = [*patient, "Mueller", *uids]
    told = as_json(replace(summary, folder=Path())) + caplog.text + "".join(capfd.readouterr())
    for path in out.rglob("*"):
        if (out / "identified") not in (path, *path.parents):
            told += path.relative_to(out).as_posix()
            told += path.read_bytes().decode("latin-1") if path.is_file() else ""
    assert not [word for word in words if word in told]
    assert list(summary.unreadable) == ["DICOM file 4 of 5, ordered by name"]


def test_without_an_algorithm_or_highdicom_there_is_no_seg_and_all_else(
    segmenter, algorithm, export_of_a_pacs, tmp_path, monkeypatch
):
    silent = predict(segmenter, export_of_a_pacs, tmp_path / "a")
    assert (silent.segmentations, silent.notes) == ([], [])
    monkeypatch.setitem(sys.modules, "highdicom", None)
    told = predict(segmenter, export_of_a_pacs, tmp_path / "b", algorithm=algorithm)
    assert told.segmentations == []
    assert len(told.notes) == 1
    assert "fedefm[dicom]" in told.notes[0]
    assert told.images == silent.images


def test_decoding_one_frame_and_batches_are_timed_apart(segmenter, folder, tmp_path):
    latency = predict(segmenter, folder, tmp_path / "out").latency
    assert latency.frames == 3
    assert latency.batch_size == 3
    assert 0 < latency.one_frame_ms_median <= latency.one_frame_ms_p95
    assert latency.decode_ms_median > 0
    assert latency.batch_frames_per_s > 0
    assert "95th percentile" in latency.sentence()


def test_links_out_of_the_folder_are_left_out_and_not_named(segmenter, folder, tmp_path):
    outside = tmp_path / "other"
    outside.mkdir()
    Image.fromarray(bar(30, 30)).save(outside / "secret.png")
    (folder / "miller_anna.png").symlink_to(outside / "secret.png")
    (folder / "again.png").symlink_to(folder / "a.png")  # within: as good as a copy
    summary = predict(segmenter, folder, tmp_path / "out")
    assert [line["image"] for line in read_index(tmp_path / "out")][:2] == ["a.png", "again.png"]
    assert list(summary.unreadable) == ["links"]
    assert summary.unreadable["links"].startswith("1 image is a link to what lies outside")
    assert "miller" not in str(summary)


def test_a_folder_of_nothing_but_links_is_refused(segmenter, tmp_path):
    outside, source = tmp_path / "other", tmp_path / "in"
    outside.mkdir(), source.mkdir()
    Image.fromarray(bar(30, 30)).save(outside / "a.png")
    (source / "a.png").symlink_to(outside / "a.png")
    with pytest.raises(DataError, match=r"no images in .*; 1 image is a link"):
        predict(segmenter, source, tmp_path / "out")
    assert not (tmp_path / "out").exists()

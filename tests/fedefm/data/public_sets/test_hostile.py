"""Tables and JSON of a set that somebody spoiled: each ends in a sentence, and nothing is made."""

import csv
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedefm.data.ingest import ingest
from fedefm.data.public_sets.tables import LARGEST_BYTES, inside, read_json, read_table
from fedefm.errors import DataError

Make = Callable[[str], Path]


def table(path: Path, *rows: object) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)  # type: ignore[arg-type]


def refused(source: Path, layout: str, reason: str) -> None:
    """Ingest says ``reason`` in one line, and leaves nothing."""
    out = source.parent / "out"
    with pytest.raises(DataError, match=reason) as caught:
        ingest(source, out, layout)
    assert "\n" not in str(caught.value)
    assert "Miller" not in str(caught.value)
    assert not out.exists()


HEADER = ("StudyInstanceUID", "ETT - Normal", "PatientID")
TRAIN = {
    "no patients": ([("StudyInstanceUID", "ETT - Normal"), ("1.2.826.1", 1)], "no column 'Pat"),
    "a column twice": ([(*HEADER, "PatientID"), ("1.2.826.1", 1, "p", "p")], "a column twice"),
    "a short row": ([HEADER, ("1.2.826.1", 1)], "line 2 has 2 cells instead of 3"),
    "a label that is none": ([HEADER, ("1.2.826.1", "yes", "p")], "neither 0 nor 1"),
    "NaN": ([HEADER, ("1.2.826.1", "nan", "p")], "neither 0 nor 1"),
    "an image twice": ([HEADER, ("1.2.826.1", 1, "p"), ("1.2.826.1", 0, "p")], "an image twice"),
    "a path": ([HEADER, ("../../Miller", 1, "p")], "names a file that is not inside"),
    "an absolute path": ([HEADER, ("/etc/Miller", 1, "p")], "names a file that is not inside"),
    "a separator": ([("StudyInstanceUID", "a|b", "PatientID")], "'|' in its name"),
    "no rows": ([HEADER], "holds no images"),
    "an image that is not there": (
        [HEADER, ("9.9", 1, "p")],
        "row 2 names a file that is not there",
    ),
}


@pytest.mark.parametrize("kind", TRAIN)
def test_a_spoiled_table_of_labels_is_refused(build: Make, kind: str) -> None:
    rows, reason = TRAIN[kind]
    source = build("ranzcr-clip")
    table(source / "train.csv", *rows)
    (source / "train_annotations.csv").unlink()
    refused(source, "ranzcr-clip", reason.replace("|", r"\|"))


TUBES = {
    "code": "__import__('os').system('true')",
    "nothing": "",
    "NaN": "[[NaN, 1]]",
    "infinity": "[[1e999, 1]]",
    "far away": "[[1e9, 1]]",
    "three numbers": "[[1, 2, 3]]",
    "texts": '[["1", "2"]]',
    "an object": '{"x": 1}',
    "no points": "[]",
    "depth": "[" * 100_000,
    "a number of many digits": f"[[{'9' * 5000}, 1]]",
}


@pytest.mark.parametrize("kind", TUBES)
def test_a_spoiled_polyline_is_refused(build: Make, kind: str) -> None:
    source = build("ranzcr-clip")
    table(
        source / "train_annotations.csv",
        ("StudyInstanceUID", "label", "data"),
        ("1.2.826.1", "ETT - Normal", TUBES[kind]),
    )
    refused(
        source, "ranzcr-clip", r"train_annotations\.csv (has a tube that|has a point)|a tube in"
    )


def test_tubes_of_an_image_that_is_not_listed_are_refused(build: Make) -> None:
    source = build("ranzcr-clip")
    with (source / "train_annotations.csv").open("a") as file:
        file.write('Miller,ETT - Normal,"[[1, 2]]"\n')
    refused(source, "ranzcr-clip", r"has tubes of images not in train\.csv")


Change = Callable[[dict[str, Any]], object]


def outline(value: object) -> Change:
    return lambda coco: coco["annotations"][0].update(segmentation=value)


ARCADE: dict[str, tuple[str | Change, str]] = {
    "no JSON": ("{", "is not JSON"),
    "NaN": (outline([[float("nan")] * 6]), "is not JSON: NaN is not a number"),
    "a list": ("[]", "no list 'images'"),
    "depth": ("[" * 200_000, "nested too deeply|is not JSON"),
    "no annotations": ((lambda coco: coco.pop("annotations")), "no list 'annotations'"),
    "images that are none": ((lambda coco: coco.update(images=[1])), "entry in 'images'"),
    "an id that is text": (
        (lambda coco: coco["images"][0].update(id="1")),
        "without a whole number 'id'",
    ),
    "one id for two": ((lambda coco: coco["images"][1].update(id=1)), "one id to two"),
    "an outline of no image": (
        (lambda coco: coco["annotations"][0].update(image_id=9)),
        "an outline for image 9, which it does not list",
    ),
    "a path": (
        (lambda coco: coco["images"][0].update(file_name="../../Miller.png")),
        "image 1 names a file that is not inside",
    ),
    "a path that is none": (
        (lambda coco: coco["images"][0].update(file_name="a\0b")),
        "image 1 names a file that is not inside",
    ),
    "a name without end": (
        (lambda coco: coco["images"][0].update(file_name="a" * 100_000)),
        "image 1 names a file that is not inside",
    ),
    "no size": ((lambda coco: coco["images"][0].pop("width")), "without whole numbers"),
    "another size": (
        (lambda coco: coco["images"][0].update(width=10**9)),
        "has 24 x 24 pixels, and its polygons were drawn on 1000000000 x 24",
    ),
    "run lengths": (outline({"counts": "abc", "size": [24, 24]}), "no list of polygons"),
    "an odd number": (outline([[1, 2, 3]]), "not a list of x, y"),
    "texts": (outline([["1", "2"]]), "a point that is not two numbers"),
    "far away": (outline([[0, 0, 1e9, 0, 5, 5]]), "a point that is not two numbers"),
    "beyond all numbers": (outline([[0, 0, 10**400, 0, 5, 5]]), "two numbers|is not JSON"),
    "a polygon without end": (outline([[1, 2] * 100_001]), "one to 100,000 points"),
}


@pytest.mark.parametrize("kind", ARCADE)
def test_spoiled_polygons_are_refused(build: Make, kind: str) -> None:
    how, reason = ARCADE[kind]
    source = build("arcade")
    annotations = source / "arcade/syntax/train/annotations/train.json"
    coco = json.loads(annotations.read_text())
    if callable(how):
        how(coco)
    annotations.write_text(how if isinstance(how, str) else json.dumps(coco))
    refused(source, "arcade", reason)


GUIDE3D = {
    "an object": ("{}", "not a list of videos"),
    "a list of numbers": ("[1]", "not a list of videos"),
    "no frames": ('[{"task": "a"}]', "without a task or frames"),
    "a frame that is none": ('[{"task": "a", "frames": [1]}]', "without cameraA and cameraB"),
    "one camera": (
        '[{"task": "a", "frames": [{"cameraA": {"image": "1-bca-angle-5-1/000.png", '
        '"points": [[1, 2]]}}]}]',
        "without cameraA and cameraB",
    ),
    "a path": (
        '[{"task": "a", "frames": [{"cameraA": {"image": "../Miller.png", "points": [[1, 2]]}, '
        '"cameraB": {}}]}]',
        "a frame in .* names a file that is not inside",
    ),
}


@pytest.mark.parametrize("kind", GUIDE3D)
def test_spoiled_videos_are_refused(build: Make, kind: str) -> None:
    text, reason = GUIDE3D[kind]
    source = build("guide3d")
    (source / "raw.json").write_text(text)
    refused(source, "guide3d", reason)


SIZES = ("filename", "pixel size(mm)", "head circumference (mm)")


@pytest.mark.parametrize("size", ["nan", "inf", "0", "-1", "", "=1+1", "1" * 400])
def test_a_pixel_size_that_is_none_is_refused(build: Make, size: str) -> None:
    source = build("hc18-fetal-head")
    table(source / "training_set_pixel_size_and_HC.csv", SIZES, ("010_HC.png", size, 1))
    refused(source, "hc18-fetal-head", "must be millimeters above 0")


NODULES = {
    "another label": ("0000.jpg,2\n", "label that is neither 0 nor 1"),
    "a name as a label": ("0000.jpg,Miller\n", "label that is neither 0 nor 1"),
    "a header": ("image,label\n0000.jpg,1\n", "label that is neither 0 nor 1"),
    "one cell": ("0000.jpg\n", "line 1 has 1 cells instead of 2"),
    "three cells": ("0000.jpg,1\nMiller,1,1\n", "line 2 has 3 cells instead of 2"),
    "an image twice": ("0000.jpg,1\n0000.jpg,0\n", "line 2 names an image a second time"),
    "no CSV": ('"0000.jpg,1\n', "is not CSV"),
    "no text": ("0000.jpg,\0\n", "not UTF-8 text"),
}


@pytest.mark.parametrize("kind", NODULES)
def test_spoiled_labels_of_nodules_are_refused(build: Make, kind: str) -> None:
    text, reason = NODULES[kind]
    source = build("tn3k")
    (source / "tn3k" / "label4test.csv").write_text(text)
    refused(source, "tn3k", reason)


def test_masks_that_cannot_be_paired_are_refused(build: Make) -> None:
    source = build("cathaction")
    labels = source / "train" / "labels"
    shutil.copy(labels / "mask1.png", labels / "mask77.png")
    refused(source, "cathaction", r"no image of the number 77 of a mask")


def test_two_images_of_one_number_are_refused(build: Make) -> None:
    source = build("cathaction")
    images = source / "train" / "images"
    shutil.copy(images / "image1.jpg", images / "image01.jpg")
    refused(source, "cathaction", "two files in .* have the number 1;")


def test_two_scans_of_one_name_are_refused(build: Make) -> None:
    source = build("vessel12")
    (source / "VESSEL12_21.mhd").write_text("x")
    refused(source, "vessel12", "are both VESSEL12_21; remove one")


def test_a_patient_in_two_official_splits_is_refused(build: Make) -> None:
    source = build("camus")
    (source / "database_split" / "subgroup_validation.txt").write_text("patient0001\n")
    refused(source, "camus", "lists a patient who is in another split")


def test_a_list_of_patients_that_is_no_text_is_refused(build: Make) -> None:
    source = build("camus")
    (source / "database_split" / "subgroup_training.txt").write_bytes(b"\xff\xfe\x00")
    refused(source, "camus", "is not text")


LISTS = {
    "a path": "path,label\n../Miller.png,1\n",
    "an absolute path": "path,label\n/etc/Miller.png,1\n",
    "no path": "path,label\n,1\n",
    "an image twice": "path,label\nsilo/a.png,1\nsilo/a.png,2\n",
    "a row too long": "path,label\nsilo/a.png,1,2\n",
    "no rows": "path,label\n",
    "a quote without end": 'path,label\n"silo/a.png,1\n',
    "an image that is not there": "path,label\nsilo/lost.png,1\n",
}


@pytest.mark.parametrize("kind", LISTS)
def test_a_spoiled_list_is_refused(build: Make, kind: str) -> None:
    source = build("list")
    source.write_text(LISTS[kind])
    out = source.parent / "out"
    with pytest.raises(DataError) as caught:
        ingest(source, out)
    assert "Miller" not in str(caught.value)
    assert not out.exists()


def test_a_link_that_leaves_the_set_is_not_followed(build: Make, tmp_path: Path) -> None:
    source = build("list")
    listed, secret = source.parent / "silo" / "a.png", tmp_path / "secret.png"
    listed.rename(secret)
    listed.symlink_to(secret)
    refused(source, "list", "row 2 names a file that is not inside")


def test_files_that_are_no_text_or_too_large_or_not_there_are_named(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"a\0b")
    (tmp_path / "latin").write_bytes(b"path,label\n\xe9.png,1\n")
    with (tmp_path / "large").open("wb") as file:
        file.truncate(LARGEST_BYTES + 1)
    for name, reason in (
        ("binary", "not UTF-8 text"),
        ("latin", "not UTF-8 text"),
        ("large", "larger than 256 MiB"),
        ("none", "cannot be read"),
        (".", "cannot be read"),
    ):
        with pytest.raises(DataError, match=reason):
            read_table(tmp_path / name, ("path",))
        with pytest.raises(DataError, match=reason):
            read_json(tmp_path / name)


def test_a_loop_of_links_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(DataError, match="not inside"):
        inside(tmp_path, "a/x.png", "row 2")


@pytest.mark.timeout(20)  # reading it would never end
def test_a_pipe_in_the_place_of_a_table_is_refused(build: Make) -> None:
    source = build("ranzcr-clip")
    (source / "train_annotations.csv").unlink()
    os.mkfifo(source / "train_annotations.csv")
    refused(source, "ranzcr-clip", "pipe or a device")

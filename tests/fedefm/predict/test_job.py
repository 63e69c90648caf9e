import csv

import numpy as np
import pytest
import torch
from PIL import Image

from fedefm.errors import DataError
from fedefm.finetune.checkpoint import TrainedSegmenter
from fedefm.finetune.tiling import segment_large
from fedefm.predict.job import predict

CLASSES = ("background", "catheter", "guidewire")


class Bright(torch.nn.Module):
    """Calls bright pixels class 1."""

    def __init__(self):
        super().__init__()
        self.bias = torch.nn.Parameter(torch.zeros(1))
        self.info = {"image_size": "32", "backbone": "resnet_micro"}

    def forward(self, x):
        return torch.cat([torch.ones_like(x), x + self.bias, torch.full_like(x, -9)], dim=1)


@pytest.fixture
def segmenter():
    return TrainedSegmenter(Bright(), CLASSES)


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
    assert summary.images == 3
    assert done == [(1, 2), (2, 2)]


def test_a_manifest_names_the_frames(segmenter, folder, tmp_path):
    header = "path,frame,patient_id,corpus,label,mask_path,split,sha256"
    (folder / "m.csv").write_text(f"{header}\nsub/stack.npy,1,p,c,,,,\n")
    predict(segmenter, folder / "m.csv", tmp_path / "out")
    assert [(line["image"], line["frame"]) for line in read_index(tmp_path / "out")] == [
        ("sub/stack.npy", "1")
    ]


def test_one_image_may_be_named_alone(segmenter, folder, tmp_path):
    assert predict(segmenter, folder / "a.png", tmp_path / "out").images == 1


def test_what_cannot_be_read_is_named_and_the_rest_is_done(segmenter, folder, tmp_path):
    (folder / "broken.png").write_bytes(b"nothing")
    (folder / "notes.txt").write_text("no image, so no trouble")
    summary = predict(segmenter, folder, tmp_path / "out")
    assert summary.images == 3
    assert list(summary.unreadable) == ["broken.png"]
    assert "broken.png" in summary.unreadable["broken.png"]


def test_nothing_readable_is_one_sentence_naming_each_and_leaves_nothing(segmenter, tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    for name in ("y.dcm", "x.png"):
        (source / name).write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"(?s)no readable image.*x\.png.*DICOM file 1 of 1") as told:
        predict(segmenter, source, tmp_path / "out")
    assert "y.dcm" not in str(told.value)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_an_empty_or_missing_folder_is_one_sentence(segmenter, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no images in"):
        predict(segmenter, tmp_path / "empty", tmp_path / "out")
    with pytest.raises(DataError, match="does not exist"):
        predict(segmenter, tmp_path / "absent", tmp_path / "out")


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

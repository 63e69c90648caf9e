"""Numbers as labels: read as positions in a given range, refused without naming anybody's."""

import pytest
import torch
from PIL import Image

from fedefm.data.manifest import Row, read_manifest, write_manifest
from fedefm.data.targets import FINENESS, TargetFrames, load_targets
from fedefm.data.unlabeled import labels_told, refuse_labels
from fedefm.errors import DataError


@pytest.fixture
def manifest_of(tmp_path):
    def make(*labels, mask=""):
        rows = []
        for k, label in enumerate(labels):
            Image.new("L", (8, 8), 20 * k).save(tmp_path / f"{k}.png")
            rows.append(Row(f"{k}.png", 0, f"patient-{k}", "c", label, mask, "train"))
        write_manifest(tmp_path / "manifest.csv", rows)
        return read_manifest(tmp_path / "manifest.csv")

    return make


def test_numbers_are_positions_in_the_range(manifest_of):
    frames = load_targets(manifest_of("40", "200", "360", "1.2e2"), "train", 40, 360, 8)
    assert (frames.labels / FINENESS).tolist() == pytest.approx([0, 0.5, 1, 0.25])
    kept = frames.subset(torch.tensor([2, 0]))
    assert isinstance(kept, TargetFrames)
    assert kept.labels.tolist() == [FINENESS, 0]
    random = frames.random_batch(50, torch.Generator().manual_seed(1)).labels
    assert 0 <= int(random.min()) < int(random.max()) <= FINENESS


@pytest.mark.parametrize("label", ["", "wide", "nan", "inf", "39.9", "361", "1|2"])
def test_what_is_no_number_of_the_range_is_refused_and_not_told(manifest_of, label):
    with pytest.raises(DataError, match="row 3") as refused:
        load_targets(manifest_of("100", label), "train", 40, 360, 8)
    assert "patient-1" not in str(refused.value)
    assert not label or label not in str(refused.value).split(": ", 1)[1].replace("40 to 360", "")


def test_images_without_labels_pass_and_others_are_counted(manifest_of):
    refuse_labels(manifest_of("", ""), "the pool")
    assert "of 2 rows 1 have a label and 0 a mask" in labels_told(manifest_of("", "a"))
    with pytest.raises(DataError, match="the pool"):
        refuse_labels(manifest_of("a"), "the pool")

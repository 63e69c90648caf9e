import csv
import json

import numpy as np
import pytest
from PIL import Image
from safetensors import SafetensorError

import fedefm.model.checkpoint as checkpoint
from fedefm.config import FinetuneConfig
from fedefm.errors import ConfigError, DataError
from fedefm.finetune.checkpoint import read_trained_segmenter
from fedefm.finetune.job import FinetuneJob, run_finetuning
from fedefm.finetune.segment import Segmentation
from fedefm.finetune.start import Start

CLASSES = ("background", "catheter", "guidewire")


def job(manifest, target, **changes):
    settings = {
        "start": Start(None, "resnet_micro", 32),
        "config": FinetuneConfig(steps=4, batch_size=2, learning_rate=0.05),
        "task": Segmentation(CLASSES),
    }
    return FinetuneJob(manifest, target, **(settings | changes))


def rewrite(manifest, change):
    with manifest.open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        change(row)
    with manifest.open("w") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def test_a_manifest_becomes_a_model_with_card_result_events_and_examples(lines_manifest, tmp_path):
    target = tmp_path / "out"
    report = run_finetuning(job(lines_manifest, target))
    names = {path.name for path in target.iterdir()}
    assert names == {
        "model.safetensors",
        "model_card.md",
        "result.json",
        "events.jsonl",
        "examples",
    }
    assert (report.scored_on, report.scores.images, report.scores.patients) == ("test", 2, 1)
    assert (report.result.train_images, report.result.train_patients) == (8, 4)
    assert len(list((target / "examples").glob("*_row_?.png"))) == 2
    assert read_trained_segmenter(target / "model.safetensors").classes == CLASSES
    result = json.loads((target / "result.json").read_text())
    assert result["report"]["scores"]["mean_dice"]["low"] is None  # one patient: no interval
    assert "| lines | training | 8 | 4 |" in (target / "model_card.md").read_text()


def test_no_patient_is_named_in_anything_written(lines_manifest, tmp_path):
    run_finetuning(job(lines_manifest, tmp_path / "out"))
    for path in (tmp_path / "out").rglob("*"):
        assert path.is_dir() or b"secret-" not in path.read_bytes()


def test_without_a_test_split_the_scores_are_called_those_of_validation(lines_manifest, tmp_path):
    def no_test(row):
        row["split"] = row["split"].replace("test", "train")

    rewrite(lines_manifest, no_test)
    assert run_finetuning(job(lines_manifest, tmp_path / "out")).scored_on == "validation"


def test_without_any_split_everything_trains_and_nothing_is_claimed(lines_manifest, tmp_path):
    def no_split(row):
        row["split"] = ""

    rewrite(lines_manifest, no_split)
    report = run_finetuning(job(lines_manifest, tmp_path / "out"))
    assert (report.scores, report.result.train_images) == (None, 12)
    assert "Measured" not in (tmp_path / "out" / "model_card.md").read_text()


def no_mask(row):
    row["mask_path"] = ""


def only_test(row):
    row["split"] = "test"


@pytest.mark.parametrize(
    ("change", "sentence"), [(no_mask, "has no mask"), (only_test, "no rows for training")]
)
def test_a_manifest_that_cannot_teach_leaves_nothing(lines_manifest, tmp_path, change, sentence):
    rewrite(lines_manifest, change)
    with pytest.raises(DataError, match=sentence):
        run_finetuning(job(lines_manifest, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_mask_value_without_a_class_is_one_sentence(lines_manifest, tmp_path):
    mask = lines_manifest.parent / "03_mask.png"
    Image.fromarray(np.full((40, 40), 9, np.uint8)).save(mask)
    with pytest.raises(DataError, match="value 9"):
        run_finetuning(job(lines_manifest, tmp_path / "out"))


def test_an_impossible_device_is_one_sentence(lines_manifest, tmp_path):
    with pytest.raises(ConfigError, match="device 'abacus' cannot be used"):
        run_finetuning(job(lines_manifest, tmp_path / "out", device="abacus"))


def test_a_full_disk_is_one_sentence_and_leaves_nothing(lines_manifest, tmp_path, monkeypatch):
    full = "Error while serializing: I/O error: No space left on device (os error 28)"

    def refuse(tensors, target, metadata=None):
        target.write_bytes(b"half")
        raise SafetensorError(full)

    monkeypatch.setattr(checkpoint, "save_file", refuse)
    (tmp_path / "new").mkdir()
    with pytest.raises(DataError, match=r"out cannot be written: No space left on device; make"):
        run_finetuning(job(lines_manifest, tmp_path / "new" / "out"))
    assert not list((tmp_path / "new").iterdir())

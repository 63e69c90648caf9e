"""Fine-tuning and evaluation tell how far angles of progression are off, where there are any."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from fedefm.data.dataset import FrameDataset, resize_mask
from fedefm.data.manifest import Row, write_manifest
from fedefm.finetune.segment import Segmentation
from nvflare_jobs.commands import evaluate, finetune
from tests.fedefm.finetune.scans import Scan, draw

CLASSES = "background,fetal_head,pubic_symphysis"
SIZE = 256
# Of each patient, split, angle in the truth and in the prediction; None: no symphysis in it.
PATIENTS = (
    ("train", 110, 110),
    ("validation", 115, 115),
    ("test", 95, 120),
    ("test", 125, 110),
    ("test", 130, None),
    ("test", None, 105),
)

Marks = np.ndarray[Any, np.dtype[np.int64]]


def marks(angle: int | None) -> Marks:
    """256 x 400 pixels, so that a resized frame is no longer true to scale; the head is 1."""
    drawn = draw(Scan(angle=angle or 110, turned=30))
    named = np.array([0, 2 if angle else 0, 1])[drawn]
    return np.pad(named, ((0, 0), (100, 44)))


@pytest.fixture
def births(tmp_path: Path) -> Path:
    """Transperineal scans as they never are: each structure has a gray of its own."""
    rows = []
    for k, (split, angle, _) in enumerate(PATIENTS):
        truth = marks(angle)
        Image.fromarray((60 + 80 * truth).astype(np.uint8)).save(tmp_path / f"{k}.png")
        Image.fromarray(truth.astype(np.uint8)).save(tmp_path / f"{k}_mask.png")
        rows.append(Row(f"{k}.png", 0, f"p{k}", "births", "", f"{k}_mask.png", split))
    write_manifest(tmp_path / "manifest.csv", rows)
    return tmp_path / "manifest.csv"


@pytest.fixture
def answered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Models that say what ``PATIENTS`` has them say."""
    said = {
        resize_mask(marks(true), SIZE, SIZE).numpy().tobytes(): resize_mask(
            marks(found), SIZE, SIZE
        ).numpy()
        for _, true, found in PATIENTS
    }

    def answers(task: Segmentation, model: Any, dataset: FrameDataset) -> Any:
        assert dataset.masks is not None
        return np.stack([said[mask.numpy().tobytes()] for mask in dataset.masks])

    monkeypatch.setattr(Segmentation, "answers", answers)


def call(*words: Any) -> str:
    app = typer.Typer(pretty_exceptions_enable=False)
    finetune.register(app)
    evaluate.register(app)
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.usefixtures("answered")
def test_both_commands_tell_the_error_and_how_many_angles_there_are_not(
    births: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    order = ["--scratch", "--backbone", "resnet_micro", "--image-size", SIZE, "--steps", 1]
    told = call("finetune", births, *order, "--classes", CLASSES, "--out", out)
    card = (out / "model_card.md").read_text()
    for shown in (" ".join(told.split()), card):
        assert "error of the angle of progression in degrees" in shown
        assert "in 1 of 3 images" in shown
        assert "in 1 of 4 images, left out" in shown
    tuned = json.loads((out / "result.json").read_text())["report"]["scores"]
    model = out / "model.safetensors"
    angle = json.loads(call("evaluate", model, births, "--json"))["scores"]["angle"]
    assert tuned["angle"] == angle
    assert angle["image_errors"][:2] == pytest.approx([25, 15], abs=1.5)
    assert angle["image_errors"][2:] == [None, None]
    assert angle["error"]["value"] == pytest.approx(np.mean(angle["image_errors"][:2]))
    assert angle["error"]["low"] <= angle["error"]["value"] <= angle["error"]["high"]
    assert (angle["error"]["patients"], angle["missed"], angle["without"]) == (2, 1, 1)
    assert f"error of the angle of progression in degrees | {angle['error']['value']:.3f} [" in card


def test_other_segmenters_have_no_angle(births: Path, tmp_path: Path) -> None:
    order = ["--scratch", "--backbone", "resnet_micro", "--image-size", 32, "--steps", 1]
    told = call(
        "finetune", births, *order, "--classes", "background,head,bone", "--out", tmp_path / "out"
    )
    assert "angle" not in told
    assert (
        json.loads((tmp_path / "out/result.json").read_text())["report"]["scores"]["angle"] is None
    )

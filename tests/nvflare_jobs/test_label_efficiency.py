"""The recipe of the guide for fine-tuning with 1, 5, 10, 20 and 100 % of the labels, as it is."""

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from fedefm.data.manifest import Row, write_manifest
from fedefm.model.checkpoint import save_checkpoint
from fedefm.model.mae import build_masked_autoencoder
from nvflare_jobs.commands import evaluate, finetune

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "data-scientist.md"
SAY = 'fedefm() { echo "$@"; }\n'


def recipe() -> str:
    lines = GUIDE.read_text(encoding="utf-8").splitlines()
    (line,) = [line for line in lines if line.startswith("for share in")]
    return line


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the recipe names: 20 patients to train on, 3 and 2 to judge."""
    (tmp_path / "lesions").mkdir()
    rng, rows = np.random.default_rng(0), []
    for k in range(25):
        mask = np.zeros((32, 32), np.uint8)
        mask[k % 20 : k % 20 + 8, 4:20] = 1
        image = (80 + 90 * mask + rng.normal(0, 9, mask.shape)).astype(np.uint8)
        Image.fromarray(image).save(tmp_path / "lesions" / f"{k}.png")
        Image.fromarray(mask).save(tmp_path / "lesions" / f"{k}_mask.png")
        split = "train" if k < 20 else ("validation" if k < 23 else "test")
        rows.append(Row(f"{k}.png", 0, f"p{k}", "lesions", "", f"{k}_mask.png", split))
    write_manifest(tmp_path / "lesions" / "manifest.csv", rows)
    model = build_masked_autoencoder("vit_micro", 32, seed=1)
    (tmp_path / "runs" / "ultrafedfm").mkdir(parents=True)
    save_checkpoint(tmp_path / "runs" / "ultrafedfm" / "model.safetensors", model, model.info)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_five_models_of_more_and_more_patients_are_judged_by_the_same_images(place: Path) -> None:
    said = subprocess.run(
        ["bash", "-c", SAY + recipe()], capture_output=True, text=True, check=True
    ).stdout
    app = typer.Typer(pretty_exceptions_enable=False)
    finetune.register(app)
    evaluate.register(app)
    for order in said.splitlines():
        words = [*order.split(), "--steps", "2", "--batch-size", "2"]
        result = CliRunner().invoke(app, words, catch_exceptions=False)
        assert result.exit_code == 0, result.output
    reports: list[dict[str, Any]] = [
        json.loads((place / "labels" / share / "result.json").read_text())["report"]
        for share in ("0.01", "0.05", "0.1", "0.2", "1")
    ]
    assert [report["result"]["train_patients"] for report in reports] == [1, 1, 2, 4, 20]
    assert {(report["scored_on"], report["scores"]["images"]) for report in reports} == {
        ("test", 2)
    }
    assert all(report["trained_from"].startswith("foundation") for report in reports)

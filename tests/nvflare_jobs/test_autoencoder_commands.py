"""What `fedefm evaluate`, `export` and `predict` make of a masked autoencoder."""

import json
from pathlib import Path
from typing import Any

import pytest

from fedefm.config import RunConfig
from fedefm.model.checkpoint import save_checkpoint
from fedefm.model.mae import MASKING, read_masked_autoencoder
from fedefm.train.run import run_in_process

Fedefm = Any  # runs the console script


@pytest.fixture(scope="module")
def trained(make_run: Any, four_hospitals: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of an autoencoder that was not masked as it is by default."""
    told = make_run(scenario="client_server", algorithm="fedavg").model_dump(exclude={"model"})
    model = {"backbone": "vit_micro", "image_size": 32}
    masking = {"mask_ratio": 0.5, "masking": "random"}
    run = RunConfig.model_validate({**told, "model": model, "masking": masking})
    return run_in_process(run, four_hospitals, tmp_path_factory.mktemp("trained") / "run")


def test_evaluate_finds_what_the_run_found(
    fedefm: Fedefm, trained: Path, four_hospitals: Path
) -> None:
    code, out, _ = fedefm("evaluate", trained / "model.safetensors", four_hospitals, "--json")
    assert code == 0
    told, metrics = json.loads(out), json.loads((trained / "result.json").read_text())["metrics"]
    explained = told["scores"]["explained"]
    assert explained["value"] == pytest.approx(metrics["global_explained"], abs=1e-6)
    assert explained["low"] == pytest.approx(metrics["global_explained_low"], abs=1e-6)
    assert explained["high"] == pytest.approx(metrics["global_explained_high"], abs=1e-6)
    assert told["scores"]["images"] == metrics["test_images"]
    sites = [one["explained"]["value"] for one in told["by_site"].values()]
    assert len(set(sites)) > 1
    assert sum(sites) / 4 == pytest.approx(metrics["mean_site_explained"], abs=1e-6)
    assert set(told["by_corpus"]) == {"bars", "disk", "square"}
    assert fedefm("evaluate", trained / "model.safetensors", four_hospitals, "--json")[1] == out


def test_evaluate_shows_it_to_people(fedefm: Fedefm, trained: Path, four_hospitals: Path) -> None:
    manifest = four_hospitals / "hosp-a" / "manifest.csv"
    code, out, _ = fedefm("evaluate", trained / "model.safetensors", manifest)
    assert code == 0
    assert "explained variance" in out
    for corpus in ("bars", "disk", "square"):
        assert corpus in out


def test_the_card_says_what_was_hidden(trained: Path) -> None:
    card = (trained / "model_card.md").read_text()
    assert "| hidden | 50% of the patches, at random, the others made worse half of the time |" in (
        card
    )


def test_evaluate_refuses_one_that_does_not_say_how_it_was_masked(
    fedefm: Fedefm, trained: Path, four_hospitals: Path, tmp_path: Path
) -> None:
    model = read_masked_autoencoder(trained / "model.safetensors")
    del model.info[MASKING]
    save_checkpoint(tmp_path / "old.safetensors", model, model.info)
    code, out, err = fedefm("evaluate", tmp_path / "old.safetensors", four_hospitals)
    assert (code, out) == (2, "")
    assert "does not say how its patches were hidden" in err


def test_export_hands_the_encoder_on(fedefm: Fedefm, trained: Path, tmp_path: Path) -> None:
    source, target = trained / "model.safetensors", tmp_path / "handover"
    code, out, _ = fedefm("export", source, target, "--onnx", "--no-program", "--json")
    assert code == 0
    told = json.loads(out)
    assert 0 <= told["onnx_differences"]["backbone.onnx"] <= 1e-4
    assert told["files"] == ["backbone.onnx", "model.safetensors", "model_card.md"]
    assert sorted(path.name for path in target.iterdir()) == told["files"]
    assert (target / "model_card.md").read_text() == (trained / "model_card.md").read_text()
    assert (target / "model.safetensors").read_bytes() == source.read_bytes()


def test_predict_says_that_it_marks_nothing(
    fedefm: Fedefm, trained: Path, four_hospitals: Path, tmp_path: Path
) -> None:
    code, out, err = fedefm(
        "predict", trained / "model.safetensors", four_hospitals / "hosp-a", tmp_path / "marked"
    )
    assert (code, out) == (2, "")
    assert "is no segmenter (it holds a masked autoencoder on vit_micro)" in err
    assert "make one with 'fedefm finetune'" in err
    assert not (tmp_path / "marked").exists()

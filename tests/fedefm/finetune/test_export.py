from pathlib import Path

import onnx
import onnxruntime
import pytest
import torch

import fedefm
from fedefm.errors import DataError, ModelError
from fedefm.finetune.bootstrap import Interval
from fedefm.finetune.card import DataUse, ModelCard, named_scores
from fedefm.finetune.checkpoint import TrainedSegmenter, read_trained_segmenter, save_classifier
from fedefm.finetune.checkpoint import save_trained_segmenter as save
from fedefm.finetune.evaluate import FoundationScores
from fedefm.finetune.export import export
from fedefm.model.checkpoint import save_checkpoint
from fedefm.model.foundation import build_foundation
from fedefm.model.mae import build_masked_autoencoder, read_masked_autoencoder
from fedefm.model.segmenter import build_segmenter
from tests.full_disk import files_at_most

CLASSES = ("background", "catheter", "guidewire")
CARD = ModelCard(
    task="segmentation of catheter and guidewire",
    backbone="resnet_micro",
    image_size=32,
    classes=CLASSES,
    trained_from="foundation checkpoint sha256:0123",
    data=(DataUse(name="angio | 2024", used_for="training", images=120, patients=12),),
    scores={"mean Dice": "0.800 [0.750, 0.850]"},
    scored_on="the test split",
)


def saved_segmenter(tmp_path, card=CARD):
    model = build_segmenter("resnet_micro", 3, 32, seed=1)
    save(tmp_path / "s.safetensors", TrainedSegmenter(model, CLASSES, card))
    return tmp_path / "s.safetensors"


def test_the_card_says_what_from_what_data_how_good_and_that_nothing_was_protected():
    text = CARD.markdown()
    for fact in ("sha256:0123", "| 120 | 12 |", "0.800 [0.750, 0.850]", "test split"):
        assert fact in text
    assert "Not protected." in text
    assert "angio \\| 2024" in text  # a name cannot break the table
    guarded = CARD.model_copy(update={"privacy": "epsilon 3 per patient"}).markdown()
    assert "epsilon 3 per patient" in guarded
    assert "Not protected." not in guarded


def test_undefined_scores_are_called_not_measured():
    nan = float("nan")
    scores = FoundationScores(
        4, 2, Interval(0.5, 0.25, 1, 2), {"a": Interval(nan, nan, nan, 0)}, ()
    )
    lines = named_scores(scores)
    assert lines == {"accuracy": "0.500 [0.250, 1.000]", "accuracy, a": "not measured"}


def test_the_exported_program_needs_no_code_of_ours_and_gives_the_same_masks(tmp_path):
    source = saved_segmenter(tmp_path)
    names = export(source, tmp_path / "out")
    assert list(names) == ["model.pt2", "model.safetensors", "model_card.md"]
    program = torch.export.load(tmp_path / "out" / "model.pt2").module()
    model = read_trained_segmenter(tmp_path / "out" / "model.safetensors").model.eval()
    for batch in (1, 5):
        images = torch.randn(batch, 1, 32, 32)
        torch.testing.assert_close(program(images), model(images), rtol=1e-4, atol=1e-5)


def test_the_card_travels_inside_the_checkpoint(tmp_path):
    export(saved_segmenter(tmp_path), tmp_path / "out", program=False)
    assert (tmp_path / "out" / "model_card.md").read_text() == CARD.markdown()


def test_a_model_without_a_card_gets_one_that_claims_nothing(tmp_path):
    export(saved_segmenter(tmp_path, card=None), tmp_path / "a", program=False)
    model = build_foundation("resnet_micro", ("x", "y"), 32, "frozen", seed=1)
    save_checkpoint(tmp_path / "f.safetensors", model, model.info)
    export(tmp_path / "f.safetensors", tmp_path / "b", program=False)
    save_classifier(tmp_path / "c.safetensors", model)
    export(tmp_path / "c.safetensors", tmp_path / "c", program=False)
    for folder in ("a", "b", "c"):
        assert "**Unknown.**" in (tmp_path / folder / "model_card.md").read_text()


def test_onnx_is_written_for_model_and_backbone_with_its_difference(tmp_path):
    written = export(saved_segmenter(tmp_path), tmp_path / "out", program=False, onnx=True)
    assert list(written) == ["backbone.onnx", "model.onnx", "model.safetensors", "model_card.md"]
    assert all(0 <= written[name] <= 1e-4 for name in ("model.onnx", "backbone.onnx"))
    assert written["model_card.md"] is None
    facts = {p.key: p.value for p in onnx.load(tmp_path / "out" / "model.onnx").metadata_props}
    assert facts["classes"] == ", ".join(CLASSES)
    assert "standardized" in facts["input"]


def test_of_a_masked_autoencoder_the_encoder_is_handed_on(tmp_path):
    model = build_masked_autoencoder("vit_micro", 32, seed=1)
    save_checkpoint(tmp_path / "m.safetensors", model, model.info)
    written = export(tmp_path / "m.safetensors", tmp_path / "out", onnx=True)
    wanted = ["backbone.onnx", "backbone.pt2", "model.safetensors", "model_card.md"]
    assert list(written) == wanted
    assert 0 <= written["backbone.onnx"] <= 1e-4
    assert "masked autoencoder" in (tmp_path / "out" / "model_card.md").read_text()
    encoder = read_masked_autoencoder(tmp_path / "out" / "model.safetensors").eval()
    program = torch.export.load(tmp_path / "out" / "backbone.pt2").module()
    session = onnxruntime.InferenceSession(tmp_path / "out" / "backbone.onnx")
    for batch in (1, 3):
        images = torch.randn(batch, 1, 32, 32)
        with torch.inference_mode():
            features = encoder.dense_features(images)
        assert features.shape == (batch, 4, 4, 96)
        torch.testing.assert_close(program(images), features, rtol=1e-4, atol=1e-4)
        (given,) = session.run(None, {"images": images.numpy()})
        torch.testing.assert_close(torch.from_numpy(given), features, rtol=1e-4, atol=1e-4)


def test_what_is_handed_on_tells_no_paths_of_the_house(tmp_path):
    written = export(saved_segmenter(tmp_path), tmp_path / "out", onnx=True)
    houses = [str(Path(module.__file__).parents[1]).encode() for module in (fedefm, torch)]
    for name in written:
        content = (tmp_path / "out" / name).read_bytes()
        assert not [house for house in houses if house in content], name


def test_a_file_that_is_no_model_leaves_nothing_behind(tmp_path):
    (tmp_path / "x").write_bytes(b"no model")
    with pytest.raises(ModelError):
        export(tmp_path / "x", tmp_path / "out")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "precious").touch()
    with pytest.raises(DataError, match="exists already"):
        export(saved_segmenter(tmp_path), tmp_path / "taken")
    assert not (tmp_path / "out").exists()


def test_a_disk_that_the_program_fills_is_one_sentence(tmp_path):
    source = saved_segmenter(tmp_path)
    full = pytest.raises(DataError, match="out cannot be written: File too large; make room")
    with files_at_most(source.stat().st_size), full:
        export(source, tmp_path / "out")
    assert list(tmp_path.iterdir()) == [source]

import json
import re

import numpy as np
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from fedefm.data.manifest import Row, write_manifest
from fedefm.errors import ConfigError, DataError, FedEFMError, ModelError
from fedefm.events import read_events
from fedefm.finetune.checkpoint import read_trained_segmenter
from fedefm.finetune.mask_scores import score_masks
from fedefm.model.checkpoint import save_checkpoint
from fedefm.model.foundation import build_foundation
from fedefm.model.mae import build_masked_autoencoder
from nvflare_jobs.commands import evaluate, export, finetune, predict
from nvflare_jobs.commands.scores import NOTHING_FOUND, show

COMMANDS = ("finetune", "evaluate", "predict", "export")


@pytest.fixture(scope="module")
def app():
    app = typer.Typer(pretty_exceptions_enable=False)
    for module in (finetune, evaluate, predict, export):
        module.register(app)
    return app


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """Six patients with a bright bar each, half of them of class a."""
    folder = tmp_path_factory.mktemp("images")
    rng = np.random.default_rng(0)
    rows = []
    for k in range(6):
        image = rng.normal(120, 9, (48, 48)).astype(np.uint8)
        mask = np.zeros((48, 48), np.uint8)
        image[:, 5 * k + 8 : 5 * k + 10], mask[:, 5 * k + 8 : 5 * k + 10] = 240, 1
        Image.fromarray(image).save(folder / f"{k}.png")
        Image.fromarray(mask).save(folder / f"{k}_mask.png")
        split = ("train", "train", "train", "validation", "test", "test")[k]
        rows.append(Row(f"{k}.png", 0, f"p{k}", "c", "ab"[k % 2], f"{k}_mask.png", split))
    write_manifest(folder / "manifest.csv", rows)
    return folder


@pytest.fixture(scope="module")
def foundation(tmp_path_factory):
    path = tmp_path_factory.mktemp("foundation") / "model.safetensors"
    model = build_foundation("resnet_micro", ("a", "b"), 32, "frozen", seed=1)
    save_checkpoint(path, model, model.info)
    return path


@pytest.fixture(scope="module")
def segmenter(app, images, foundation, tmp_path_factory):
    """The folder that ``fedefm finetune --from`` made, with what it printed."""
    out = tmp_path_factory.mktemp("segmenter") / "out"
    order = ["--from", foundation, "--classes", "background,catheter", "--steps", 3]
    result = call(app, "finetune", images / "manifest.csv", *order, "--batch-size", 2, "--out", out)
    return out, result.output


def call(app, *words):
    """Run a command; errors of ours come through as they do in ``fedefm``."""
    result = CliRunner().invoke(app, [str(word) for word in words])
    if isinstance(result.exception, FedEFMError):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_an_example(app, command):
    assert f"Example: fedefm {command}" in " ".join(call(app, command, "--help").output.split())


def test_finetune_tells_what_it_did_and_where_it_is(segmenter):
    out, text = segmenter
    assert (out / "model.safetensors").exists()
    assert "sha256:" in text
    assert "3 images of 3 patients" in " ".join(text.split())
    assert "mean Dice" in text
    assert "pixels are those of the frames, resized to 32 x 32" in " ".join(text.split())


@pytest.mark.parametrize(("where", "said"), [((0, 4), False), ((4, 8), True)])
def test_a_model_that_finds_nothing_is_said_to(capsys, where, said):
    truth, predicted = np.zeros((2, 3, 8, 8), np.int64)
    truth[:, :4], predicted[:, slice(*where)] = 1, 1
    scores = score_masks(predicted, truth, np.arange(3), ("catheter",))
    show(scores, "the test split")
    assert (NOTHING_FOUND in capsys.readouterr().out) is said


def test_a_share_of_training_images_is_converted_and_the_card_says_so(app, images, tmp_path):
    order = ["--scratch", "--backbone", "resnet_micro", "--image-size", 32, "--steps", 2]
    order += ["--classes", "background,catheter", "--scan-mode", "linear", "--convert", 0.5]
    call(app, "finetune", images / "manifest.csv", *order, "--out", tmp_path / "out")
    card = (tmp_path / "out" / "model_card.md").read_text()
    assert "| scan_mode | linear |\n| convert | 0.5 |" in card


@pytest.fixture(scope="module")
def autoencoder(tmp_path_factory):
    path = tmp_path_factory.mktemp("autoencoder") / "model.safetensors"
    model = build_masked_autoencoder("vit_micro", 32, seed=1)
    save_checkpoint(path, model, model.info)
    return path


def test_a_segmenter_on_an_autoencoder_warms_up_and_slows_down(app, images, autoencoder, tmp_path):
    order = ["--from", autoencoder, "--classes", "background,catheter", "--steps", 40]
    order += ["--schedule", "cosine", "--warmup-steps", 20, "--learning-rate", 0.01]
    out = tmp_path / "out"
    said = call(app, "finetune", images / "manifest.csv", *order, "--batch-size", 2, "--out", out)
    assert "mean Dice" in said.output
    steps = [e for e in read_events(out / "events.jsonl") if e["event"] == "finetune_step"]
    assert [e["rate"] for e in steps] == pytest.approx([0.0005, 0.0055, 0.01, 0.005])
    assert steps[-1]["loss"] < steps[0]["loss"]
    assert read_trained_segmenter(out / "model.safetensors").model.info["backbone"] == "vit_micro"


def test_finetune_from_scratch_speaks_json(app, images, tmp_path):
    options = ["--scratch", "--backbone", "resnet_micro", "--image-size", 32, "--steps", 1]
    result = call(
        app,
        "finetune",
        images / "manifest.csv",
        *options,
        "--classes",
        "background,catheter",
        "--label-fraction",
        0.4,
        "--out",
        tmp_path / "out",
        "--json",
    )
    report = json.loads(result.stdout)
    assert report["trained_from"] == "scratch"
    assert report["result"]["train_patients"] == 1


def test_evaluate_measures_a_segmenter_and_a_foundation_model(app, images, segmenter, foundation):
    manifest = images / "manifest.csv"
    marks = json.loads(
        call(app, "evaluate", segmenter[0] / "model.safetensors", manifest, "--json").stdout
    )
    assert marks["scores"]["images"] == 2
    assert set(marks["scores"]["dice"]) == {"catheter"}
    names = json.loads(
        call(app, "evaluate", foundation, manifest, "--split", "all", "--json").stdout
    )
    assert names["scores"]["images"] == 6
    assert set(names["scores"]["per_class"]) == {"a", "b"}
    assert "accuracy" in call(app, "evaluate", foundation, manifest).output


@pytest.fixture(scope="module")
def chest(tmp_path_factory):
    """Two sites with images of several labels each."""
    folder = tmp_path_factory.mktemp("chest")
    rng = np.random.default_rng(0)
    for site in ("north", "south"):
        (folder / site).mkdir()
        rows = []
        for k in range(8):
            Image.fromarray(rng.integers(0, 255, (32, 32), np.uint8)).save(
                folder / site / f"{k}.png"
            )
            label = ("", "ETT - Normal", "CVC - Normal|ETT - Normal", "CVC - Normal")[k % 4]
            split = "train" if k < 4 else "test"
            rows.append(Row(f"{k}.png", 0, f"p{k}", f"c{k % 2}", label, split=split))
        write_manifest(folder / site / "manifest.csv", rows)
    return folder


@pytest.fixture(scope="module")
def classifier(app, chest, foundation, tmp_path_factory):
    """The folder of a classifier, with what was printed."""
    out = tmp_path_factory.mktemp("classifier") / "out"
    manifest = chest / "north" / "manifest.csv"
    order = ["--task", "classification", "--from", foundation, "--steps", 2, "--batch-size", 2]
    return out, call(app, "finetune", manifest, *order, "--out", out).output


def test_labels_are_learned_from_the_manifest_alone(classifier):
    out, text = classifier
    said = " ".join(text.split())
    assert "mean AUROC" in said
    assert "AUROC, CVC - Normal" in said
    assert "accuracy of one label an image, as the FedEFM paper" in said
    assert "examples" not in said
    assert not (out / "examples").exists()


@pytest.fixture(scope="module")
def breasts(tmp_path_factory):
    """Sixteen images of as many patients, each with one label."""
    folder = tmp_path_factory.mktemp("breasts")
    rng = np.random.default_rng(0)
    rows = []
    for k in range(16):
        Image.fromarray(rng.integers(0, 255, (32, 32), np.uint8)).save(folder / f"{k}.png")
        split = ("train", "train", "validation", "test")[k // 4]
        rows.append(
            Row(f"{k}.png", 0, f"p{k}", "busi", ("benign", "malignant")[k % 2], split=split)
        )
    write_manifest(folder / "manifest.csv", rows)
    return folder / "manifest.csv"


def test_a_probe_learns_the_head_alone(app, breasts, tmp_path):
    order = ["--task", "diagnosis", "--scratch", "--backbone", "vit_micro", "--image-size", 32]
    out = tmp_path / "out"
    call(app, "finetune", breasts, *order, "--train-last", 0, "--steps", 2, "--out", out)
    assert "the linear head alone; the backbone" in (out / "model_card.md").read_text()


def test_a_diagnosis_is_learned_and_measured(app, breasts, tmp_path):
    order = ["--task", "diagnosis", "--scratch", "--backbone", "vit_micro", "--image-size", 32]
    recipe = ["--optimizer", "adamw", "--weight-decay", 0.05, "--layer-decay", 0.75]
    recipe += ["--drop-path", 0.1, "--schedule", "cosine", "--warmup-steps", 2]
    out = tmp_path / "out"
    short = ["--steps", 3, "--batch-size", 4, "--out", out]
    said = " ".join(call(app, "finetune", breasts, *order, *recipe, *short).output.split())
    for words in ("mean AUROC", "AUROC, benign", "accuracy", "told malignant"):
        assert words in said
    card = (out / "model_card.md").read_text()
    assert "| learning_rate | 0.001 |" in card  # that of adamw, as none was given
    model = out / "model.safetensors"
    found = json.loads(call(app, "evaluate", model, breasts, "--json").stdout)["scores"]
    assert np.sum(found["confusion"]) == 4
    assert set(found["auroc"]) == {"benign", "malignant"}


def test_that_nothing_could_choose_weights_is_said(app, breasts, tmp_path):
    text = breasts.read_text().replace(",validation,", ",train,")
    alone = breasts.parent / "alone.csv"
    alone.write_text(text)
    order = ["--task", "diagnosis", "--scratch", "--backbone", "resnet_micro", "--image-size", 32]
    said = call(app, "finetune", alone, *order, "--steps", 2, "--out", tmp_path / "out").output
    assert "kept the weights of step 2, the last: there is no validation" in " ".join(said.split())


def test_evaluate_tells_sites_and_corpora_apart(app, chest, classifier):
    model = classifier[0] / "model.safetensors"
    found = json.loads(call(app, "evaluate", model, chest, "--split", "all", "--json").stdout)
    assert {site: s["images"] for site, s in found["by_site"].items()} == {"north": 8, "south": 8}
    assert {name: s["images"] for name, s in found["by_corpus"].items()} == {"c0": 8, "c1": 8}
    assert (found["scores"]["images"], found["scores"]["patients"]) == (16, 16)
    named = [chest / site / "manifest.csv" for site in ("south", "north")]
    shown = call(app, "evaluate", model, *named, "--split", "all").output
    assert "site" in shown
    assert "south" in shown
    alone = json.loads(call(app, "evaluate", model, named[0], "--split", "all", "--json").stdout)
    assert alone["by_site"] == {}
    assert alone["scores"] == found["by_site"]["south"]


def test_tiles_are_learned_where_frames_keep_their_size(app, images, foundation, tmp_path):
    order = ["--from", foundation, "--classes", "background,catheter", "--steps", 2]
    order += ["--frame-size", 48, "--batch-size", 2, "--out", tmp_path / "out"]
    call(app, "finetune", images / "manifest.csv", *order)
    model = tmp_path / "out" / "model.safetensors"
    trained = read_trained_segmenter(model)
    assert (trained.image_size, trained.frame_size) == (32, 48)
    card = (tmp_path / "out" / "model_card.md").read_text()
    assert "| frames | 48 px a side, in tiles of the model's size |" in card
    assert call(app, "evaluate", model, images / "manifest.csv", "--json")


def test_predict_names_what_it_left_out_and_export_what_it_wrote(app, images, segmenter, tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    (source / "good.png").write_bytes((images / "0.png").read_bytes())
    (source / "bad.png").write_bytes(b"nothing")
    model = segmenter[0] / "model.safetensors"
    said = " ".join(call(app, "predict", model, source, tmp_path / "marked").output.split())
    assert re.search("1 frame segmented, (1|none) with a device;", said)
    assert "95th percentile" in said
    assert "left out:" in said
    assert "bad.png" in said
    assert (tmp_path / "marked" / "masks" / "good.png").exists()
    said = call(app, "export", model, tmp_path / "handover", "--no-program", "--json").stdout
    assert json.loads(said)["files"] == ["model.safetensors", "model_card.md"]
    said = call(app, "predict", model, source, tmp_path / "again", "--json").stdout
    assert json.loads(said)["latency"]["frames"] == 1


def test_wrong_orders_are_one_sentence_and_write_nothing(app, images, foundation, tmp_path):
    manifest, out = images / "manifest.csv", tmp_path / "out"
    labels = ["--task", "classification"]
    to_out = ["--out", out]
    for error, match, words in [
        (ConfigError, "either --from", ["finetune", manifest, *to_out]),
        (ConfigError, "either --from", ["finetune", manifest, *to_out, "--scratch", "--from", "x"]),
        (ConfigError, "steps", ["finetune", manifest, *to_out, "--scratch", "--steps", 0]),
        (ConfigError, "--classes", ["finetune", manifest, *to_out, "--scratch", "--classes", "a"]),
        (ModelError, "unknown", ["finetune", manifest, *to_out, "--scratch", "--backbone", "x"]),
        (
            ConfigError,
            "of segmentation",
            ["finetune", manifest, *to_out, "--scratch", *labels, "--frame-size", 64],
        ),
        (
            ConfigError,
            "weight_decay is of optimizer 'adamw'",
            ["finetune", manifest, *to_out, "--scratch", "--weight-decay", 0.1],
        ),
        (
            ConfigError,
            "scan_mode is not set and convert is 0.5",
            ["finetune", manifest, *to_out, "--scratch", "--convert", 0.5],
        ),
        (
            ConfigError,
            "'a' is the only one",
            ["finetune", manifest, *to_out, "--scratch", "--task", "diagnosis", "--classes", "a"],
        ),
        (
            ConfigError,
            "patience",
            ["finetune", manifest, *to_out, "--scratch", "--patience", 0],
        ),
        (DataError, "no site with", ["evaluate", foundation, foundation.parent]),
        (ModelError, "not exist", ["finetune", manifest, *to_out, "--from", tmp_path / "x"]),
        (DataError, "not exist", ["finetune", tmp_path / "x.csv", *to_out, "--from", foundation]),
        (ModelError, "no segmenter", ["predict", foundation, images, out]),
        (DataError, "split 'later'", ["evaluate", foundation, manifest, "--split", "later"]),
    ]:
        with pytest.raises(error, match=match):
            call(app, *words)
    assert not list(tmp_path.iterdir())

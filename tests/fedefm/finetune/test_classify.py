"""Images with several labels each: a bright bar, a dark row, both or neither."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from fedefm.config import FinetuneConfig
from fedefm.data.dataset import Batch, FrameDataset
from fedefm.data.label_sets import memberships
from fedefm.data.manifest import Row, read_manifest, write_manifest
from fedefm.errors import DataError, ModelError
from fedefm.finetune.checkpoint import read_classifier, read_foundation, sha256_of
from fedefm.finetune.classify import LABEL_WEIGHT, LabelClassification, label_objective
from fedefm.finetune.job import FinetuneJob, run_finetuning
from fedefm.finetune.label_scores import score_labels
from fedefm.finetune.start import Start
from fedefm.finetune.training import finetune
from fedefm.model.checkpoint import save_checkpoint
from fedefm.model.foundation import build_foundation

LABELS = ("bar", "row")
SETTINGS = FinetuneConfig(steps=150, batch_size=16, learning_rate=0.1)


def images_with(sets, seed=0):
    """Noise, with a bright bar or a dark row where an image has the label."""
    rng = np.random.default_rng(seed)
    images = rng.normal(128, 8, (len(sets), 32, 32))
    for image, held in zip(images, sets, strict=True):
        bar, row = rng.integers(4, 28, 2)
        if "bar" in held:
            image[:, bar : bar + 2] = 230
        if "row" in held:
            image[row : row + 2] = 20
    return images.clip(0, 255).astype(np.uint8)


def all_sets(count):
    return [[name for k, name in enumerate(LABELS) if n >> k & 1] for n in range(count)]


@pytest.fixture(scope="module")
def marked():
    """96 images of 24 patients, with all four sets of labels."""
    return FrameDataset(
        torch.from_numpy(images_with(all_sets(96)))[:, None],
        torch.arange(96) % 4,
        torch.arange(96) // 4,
        LABELS,
    )


@pytest.fixture
def manifest(tmp_path):
    folder = tmp_path / "chest"
    folder.mkdir()
    rows = []
    for k, (held, image) in enumerate(zip(all_sets(16), images_with(all_sets(16)), strict=True)):
        Image.fromarray(image).save(folder / f"{k:02}.png")
        split = ("train", "train", "validation", "test")[k // 4]
        rows.append(Row(f"{k:02}.png", 0, f"p{k // 4}", "ab"[k % 2], "|".join(held), split=split))
    write_manifest(folder / "manifest.csv", rows)
    return folder / "manifest.csv"


@pytest.fixture
def foundation(tmp_path):
    model = build_foundation("resnet_micro", ("a", "b"), 32, "frozen", seed=4)
    save_checkpoint(tmp_path / "f.safetensors", model, {**model.info, "run": "ring"})
    return tmp_path / "f.safetensors"


def test_the_loss_of_an_image_is_its_own_and_weighs_what_holds():
    rng = torch.Generator().manual_seed(0)
    logits, sets = torch.randn(6, 2, generator=rng), torch.arange(6) % 4
    losses = label_objective(lambda images: logits, Batch(logits, sets, sets))
    truth, chance = memberships(sets, 2), logits.sigmoid()
    expected = -torch.where(truth, LABEL_WEIGHT * chance.log(), (1 - chance).log()).mean(dim=1)
    torch.testing.assert_close(losses, expected)


def test_training_tells_both_labels_apart(marked):
    task = LabelClassification(LABELS)
    train, validation = marked.subset(torch.arange(72)), marked.subset(torch.arange(72, 96))
    model = task.build(Start(None, "resnet_micro", 32), seed=1)
    result = finetune(task, model, train, validation, SETTINGS, seed=1)
    scores = result.validation
    assert scores.macro_auroc.value > 0.9
    assert task.look(task.answers(model, validation), validation) == pytest.approx(
        scores.macro_auroc.value
    )
    assert scores.with_label == {"bar": 12, "row": 12}


def test_the_accuracy_of_one_label_is_over_images_that_have_one():
    truth = np.array([[1, 1, 0], [0, 1, 0], [0, 0, 0], [1, 0, 0]], bool)
    scores = np.array([[0, 9, 1], [9, 1, 0], [9, 0, 0], [4, 3, 3]])  # right, wrong, none, right
    found = score_labels(scores.astype(float), truth, np.arange(4), ("a", "b", "c"))
    assert found.accuracy_of_one_label.value == pytest.approx(2 / 3)
    assert found.accuracy_of_one_label.patients == 3


def test_a_manifest_becomes_a_classifier_that_names_its_foundation(manifest, foundation, tmp_path):
    job = FinetuneJob(
        manifest,
        tmp_path / "out",
        Start(foundation),
        FinetuneConfig(steps=3, batch_size=4),
        LabelClassification(LABELS),
    )
    report = run_finetuning(job)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "model.safetensors",
        "model_card.md",
        "result.json",
        "events.jsonl",
    }
    assert set(report.by_corpus) == {"a", "b"}
    assert report.by_corpus["a"].images == 2
    checkpoint = tmp_path / "out" / "model.safetensors"
    with safe_open(checkpoint, "pt") as file:
        facts = file.metadata()
    assert facts["foundation_sha256"] == sha256_of(foundation)
    assert facts["foundation_run"] == "ring"
    card = (tmp_path / "out" / "model_card.md").read_text()
    assert f"sha256:{sha256_of(foundation)} of run 'ring'" in card
    assert "accuracy of one label an image, as the FedEFM paper prints it" in card
    assert "| corpus | mean AUROC |" in card
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert set(result["report"]["scores"]["auroc"]) == set(LABELS)

    again = read_classifier(checkpoint)
    assert again.info["foundation_run"] == "ring"
    data = job.task.load(read_manifest(manifest), "test", 32)
    assert job.task.score(job.task.answers(again, data), data).macro_auroc == (
        report.scores.macro_auroc
    )
    with pytest.raises(ModelError, match=r"no foundation model \(it holds a classifier"):
        read_foundation(checkpoint)
    with pytest.raises(ModelError, match=r"no classifier \(it holds a foundation model"):
        read_classifier(foundation)


def test_a_label_that_the_model_does_not_know_is_one_sentence(manifest, tmp_path):
    job = FinetuneJob(
        manifest,
        tmp_path / "out",
        Start(None, "resnet_micro", 32),
        FinetuneConfig(steps=1),
        LabelClassification(("bar",)),
    )
    with pytest.raises(DataError, match="unknown label 'row'"):
        run_finetuning(job)
    assert not (tmp_path / "out").exists()

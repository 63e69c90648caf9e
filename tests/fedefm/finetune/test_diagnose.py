"""Images that show one of three things: nothing, a bright bar, or a dark row."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import stats

from fedefm.config import FinetuneConfig
from fedefm.data.dataset import Batch, FrameDataset
from fedefm.data.manifest import Row, read_manifest, write_manifest
from fedefm.errors import ConfigError, DataError, ModelError
from fedefm.finetune.card import headline, named_scores
from fedefm.finetune.checkpoint import (
    read_classifier,
    read_diagnosis,
    read_foundation,
    save_diagnosis,
)
from fedefm.finetune.diagnose import Diagnosis, diagnosis_objective
from fedefm.finetune.diagnosis_scores import score_diagnosis
from fedefm.finetune.job import FinetuneJob, run_finetuning
from fedefm.finetune.start import Start
from fedefm.finetune.training import finetune
from fedefm.model.weights import weights_of

CLASSES = ("benign", "malignant", "normal")
TASK = Diagnosis(CLASSES)
ULTRAFEDFM = FinetuneConfig(
    steps=160,
    batch_size=16,
    learning_rate=2e-3,
    optimizer="adamw",
    weight_decay=0.05,
    schedule="cosine",
    warmup_steps=20,
    layer_decay=0.75,
    drop_path=0.1,
)


def images_of(labels, seed=0):
    """Noise with a bright bar (0), a dark row (1) or neither (2)."""
    rng = np.random.default_rng(seed)
    images = rng.normal(128, 8, (len(labels), 32, 32))
    for image, label in zip(images, labels, strict=True):
        place = rng.integers(4, 26)
        if label == 0:
            image[:, place : place + 4] = 230
        if label == 1:
            image[place : place + 4] = 20
    return images.clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def shown():
    """96 images of 32 patients, each with three of one class."""
    labels = np.arange(96) // 3 % 3
    return FrameDataset(
        torch.from_numpy(images_of(labels))[:, None],
        torch.from_numpy(labels),
        torch.arange(96) // 3,
        CLASSES,
    )


def write(folder, splits=("train", "train", "validation", "test"), label=lambda k: CLASSES[k % 3]):
    """Twelve images of as many patients."""
    folder.mkdir()
    rows = []
    for k, image in enumerate(images_of([k % 3 for k in range(12)])):
        Image.fromarray(image).save(folder / f"{k:02}.png")
        rows.append(
            Row(f"{k:02}.png", 0, f"secret-{k}", "ab"[k % 2], label(k), split=splits[k // 3])
        )
    write_manifest(folder / "manifest.csv", rows)
    return folder / "manifest.csv"


def job(manifest, target, backbone="resnet_micro", **settings):
    settings = {"steps": 3, "batch_size": 4} | settings
    start = Start(None, backbone, 32)
    return FinetuneJob(manifest, target, start, FinetuneConfig(**settings), TASK)


def test_the_loss_of_an_image_is_its_own():
    logits = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(6) % 3
    losses = diagnosis_objective(lambda images: logits, Batch(logits, labels, labels))
    expected = [
        -(row.exp() / row.exp().sum()).log()[k] for row, k in zip(logits, labels, strict=True)
    ]
    torch.testing.assert_close(losses, torch.stack(expected))


def test_the_recipe_of_ultrafedfm_tells_three_classes_apart_on_a_vit(shown):
    train, validation = shown.subset(torch.arange(72)), shown.subset(torch.arange(72, 96))
    model = TASK.build(Start(None, "vit_micro", 32), seed=1)
    result = finetune(TASK, model, train, validation, ULTRAFEDFM, seed=1)
    scores = result.validation
    assert scores.macro_auroc.value > 0.9
    assert scores.accuracy.value > 0.6
    assert TASK.look(TASK.answers(model, validation), validation) == pytest.approx(
        scores.macro_auroc.value
    )


def test_the_seed_decides_all_also_who_goes_around_a_block(shown):
    few = ULTRAFEDFM.model_copy(update={"steps": 12, "drop_path": 0.5, "warmup_steps": 0})
    ends = []
    for seed, settings in ((1, few), (1, few), (1, few.model_copy(update={"drop_path": 0.0}))):
        model = TASK.build(Start(None, "vit_micro", 32), seed=1)
        finetune(TASK, model, shown, None, settings, seed=seed)
        ends.append(weights_of(model))
        torch.rand(3)  # whoever else draws from the global generator changes nothing
    torch.testing.assert_close(ends[0], ends[1], rtol=0, atol=0)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(ends[0], ends[2])


def test_scores_are_those_of_the_definitions(shown):
    some = shown.subset(torch.arange(60))
    rng = np.random.default_rng(0)
    sure = 0.7 * np.eye(3)[some.labels.numpy()] + rng.random((60, 3))
    chances = sure / sure.sum(axis=1, keepdims=True)
    scores = score_diagnosis(chances, some)
    truth, told = some.labels.numpy(), chances.argmax(axis=1)
    for k, name in enumerate(CLASSES):
        has = truth == k
        pairs = has.sum() * (~has).sum()
        area = stats.mannwhitneyu(chances[has, k], chances[~has, k]).statistic / pairs
        assert scores.auroc[name].value == pytest.approx(area)
        precision = [has[chances[:, k] >= score].mean() for score in chances[has, k]]
        assert scores.auprc[name].value == pytest.approx(np.mean(precision))
        assert scores.recognized[name].value == pytest.approx((told[has] == k).mean())
        assert [int(((told == j) & has).sum()) for j in range(3)] == list(scores.confusion[k])
    assert scores.macro_auroc.value == pytest.approx(
        np.mean([area.value for area in scores.auroc.values()])
    )
    assert scores.macro_auprc.value == pytest.approx(
        np.mean([area.value for area in scores.auprc.values()])
    )
    assert scores.accuracy.value == pytest.approx((told == truth).mean())
    assert scores.accuracy.low < scores.accuracy.value < scores.accuracy.high
    assert (scores.images, scores.patients, scores.accuracy.patients) == (60, 20, 20)
    assert list(headline(scores)) == ["mean AUROC", "accuracy"]
    assert set(named_scores(scores)) >= {
        "AUROC, benign",
        "AUPRC, benign",
        "accuracy",
        "recognized, normal",
    }


def test_intervals_are_by_patient_not_by_image(shown):
    """Three equal images of a patient say no more than one of them."""
    chances = np.random.default_rng(1).dirichlet(np.ones(3), 32)
    once = shown.subset(torch.arange(0, 96, 3))
    thrice = score_diagnosis(chances.repeat(3, axis=0), shown)
    assert thrice.accuracy == score_diagnosis(chances, once).accuracy
    assert thrice.auroc == score_diagnosis(chances, once).auroc


def test_a_class_that_does_not_occur_is_not_measured(shown):
    some = shown.subset((shown.labels < 2).nonzero().flatten())
    chances = np.random.default_rng(0).dirichlet(np.ones(3), len(some))
    scores = score_diagnosis(chances, some)
    assert str(scores.auroc["normal"]) == str(scores.recognized["normal"]) == "not measured"
    assert np.isfinite(scores.macro_auroc.value)


def test_sure_answers_keep_their_order(shown):
    class Sure(torch.nn.Linear):
        def forward(self, images):
            far = 20 + torch.arange(len(images)).float()
            return torch.stack([far, -far, torch.zeros(len(images))], dim=1)

    first = TASK.answers(Sure(1, 1), shown.subset(torch.arange(10)))[:, 0]
    assert len(np.unique(first)) == 10


def test_a_manifest_becomes_a_diagnosis_that_says_what_it_is(tmp_path):
    manifest = write(tmp_path / "busi")
    report = run_finetuning(job(manifest, tmp_path / "out", optimizer="adamw", layer_decay=0.75))
    out = tmp_path / "out"
    assert {path.name for path in out.iterdir()} == {
        "model.safetensors",
        "model_card.md",
        "result.json",
        "events.jsonl",
    }
    card = (out / "model_card.md").read_text()
    for words in (
        "diagnosis of images",
        "mean AUROC",
        "recognized, benign",
        "| adamw |",
        "| 0.75 |",
    ):
        assert words in card
    result = json.loads((out / "result.json").read_text())["report"]
    assert np.sum(result["scores"]["confusion"]) == 3
    assert set(report.by_corpus) == {"a", "b"}
    assert all(b"secret-" not in path.read_bytes() for path in out.iterdir())

    again = read_diagnosis(out / "model.safetensors")
    data = TASK.load(read_manifest(manifest), "test", 32)
    assert TASK.score(TASK.answers(again, data), data) == report.scores
    for read, what in ((read_foundation, "foundation model"), (read_classifier, "classifier")):
        with pytest.raises(ModelError, match=rf"no {what} \(it holds a diagnosis"):
            read(out / "model.safetensors")


def test_a_model_of_several_labels_is_no_diagnosis(tmp_path):
    model = Start(None, "resnet_micro", 32).classifier(CLASSES, seed=1)
    path = tmp_path / "m.safetensors"
    save_diagnosis(path, model)
    assert read_diagnosis(path).classes == CLASSES
    with pytest.raises(ModelError, match="no foundation model"):
        Start(path).diagnosis(CLASSES, 1)


@pytest.mark.parametrize(
    ("label", "sentence"),
    [
        (lambda k: "cyst", "has the unknown label 'cyst'"),
        (lambda k: "benign|normal", "has 2 labels; where several may hold, fine-tune for classif"),
        (lambda k: "", "has no label; fill column label"),
        (lambda k: "benign", "all of class 'benign', and nothing can be told apart; add others"),
    ],
)
def test_labels_of_which_nothing_can_be_learned_are_one_sentence(tmp_path, label, sentence):
    manifest = write(tmp_path / "busi", label=label)
    with pytest.raises(DataError, match=sentence):
        run_finetuning(job(manifest, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_validation_split_of_one_class_is_one_sentence(tmp_path):
    splits = ("train", "validation", "train", "test")
    manifest = write(
        tmp_path / "busi",
        splits=splits,
        label=lambda k: "benign" if 3 <= k < 6 else CLASSES[k % 3],
    )
    with pytest.raises(DataError, match="of the validation split are all of class 'benign'"):
        run_finetuning(job(manifest, tmp_path / "out"))


def test_a_share_of_labels_that_leaves_one_class_is_one_sentence(shown):
    few = FinetuneConfig(steps=1, label_fraction=0.01)
    model = TASK.build(Start(None, "resnet_micro", 32), seed=1)
    with pytest.raises(DataError, match="take a larger share of labels or another seed"):
        finetune(TASK, model, shown, None, few, seed=1)


def test_without_validation_the_last_weights_are_kept_and_patience_is_refused(tmp_path):
    manifest = write(tmp_path / "busi", splits=("train", "train", "train", "test"))
    report = run_finetuning(job(manifest, tmp_path / "out"))
    assert (report.result.best_step, report.result.validation) == (3, None)
    assert report.scored_on == "test"
    with pytest.raises(ConfigError, match="no validation split to stop by"):
        run_finetuning(job(manifest, tmp_path / "again", patience=1))


def test_drop_path_of_a_resnet_is_one_sentence_and_leaves_nothing(tmp_path):
    manifest = write(tmp_path / "busi")
    with pytest.raises(ModelError, match="leave drop_path out"):
        run_finetuning(job(manifest, tmp_path / "out", drop_path=0.1))
    assert not (tmp_path / "out").exists()

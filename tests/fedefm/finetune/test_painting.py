"""What a masked autoencoder is worth, judged as in the run that trained it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from fedefm.config import MaskingConfig
from fedefm.data.dataset import standardize
from fedefm.data.manifest import read_manifest
from fedefm.data.patches import cut
from fedefm.errors import DataError, ModelError
from fedefm.finetune.card import headline, named_scores
from fedefm.finetune.groups import by_corpus
from fedefm.finetune.painting import judge_of
from fedefm.model.mae import MASKING, build_masked_autoencoder

RANDOM = MaskingConfig(masking="random", mask_ratio=0.5)


@pytest.fixture
def model():
    built = build_masked_autoencoder("vit_micro", 32, seed=1)
    built.info[MASKING] = RANDOM.model_dump_json()
    return built


@pytest.fixture
def judge(model):
    return judge_of(model)


def explained_by_hand(model, batch, row):
    """One minus the error over that of a gray patch, patch by patch, in NumPy."""
    with torch.inference_mode():
        painted = model(batch.images[row : row + 1], batch.kept[row : row + 1])[0].double().numpy()
    truth = cut(batch.clean[row : row + 1], 8)[0].double().numpy()
    hidden = sorted(set(range(16)) - set(batch.kept[row].tolist()))
    centered = truth - truth.mean(axis=1, keepdims=True)
    wanted = centered / np.sqrt(centered.var(axis=1, keepdims=True) + 1e-6)
    errors, gray = ((painted - wanted) ** 2).mean(axis=1), (wanted**2).mean(axis=1)
    return (1 - errors / gray)[hidden].mean()


def test_it_masks_as_the_run_did_and_the_same_each_time(judge, lines_manifest):
    data, again = (judge.load(read_manifest(lines_manifest), None, 32) for _ in range(2))
    rows = torch.arange(len(data))
    batch = data.batch(rows)
    assert batch.kept.shape == (12, 8)  # half of 16, as the model says
    assert torch.equal(batch.kept, again.batch(rows).kept)
    assert len({tuple(kept) for kept in batch.kept.tolist()}) > 6
    assert torch.equal(batch.images, standardize(batch.clean))  # nothing was degraded


def test_the_score_is_the_mean_over_images_with_an_interval_by_patient(
    model, judge, lines_manifest
):
    data = judge.load(read_manifest(lines_manifest), None, 32)
    model.train()
    answers = judge.answers(model, data)
    assert model.training
    model.eval()
    batch = data.batch(torch.arange(len(data)))
    by_hand = [explained_by_hand(model, batch, row) for row in range(len(data))]
    np.testing.assert_allclose(answers, np.clip(by_hand, -1, 1), atol=1e-4)
    assert len(np.unique(answers)) > 1

    scores = judge.score(answers, data)
    assert (scores.images, scores.patients) == (12, 6)
    assert scores.explained.value == pytest.approx(answers.mean())
    means = [answers[data.patients.numpy() == p].mean() for p in range(6)]
    assert min(means) <= scores.explained.low < scores.explained.value
    assert scores.explained.value < scores.explained.high <= max(means)
    assert list(named_scores(scores)) == list(headline(scores))


def test_corpora_are_told_apart(model, judge, lines_manifest):
    manifest = read_manifest(lines_manifest)
    rows = [replace(row, corpus="ab"[k % 2]) for k, row in enumerate(manifest.rows)]
    data = judge.load(replace(manifest, rows=tuple(rows)), None, 32)
    answers = judge.answers(model, data)
    found = by_corpus(judge, answers, data)
    assert {name: one.explained.value for name, one in found.items()} == pytest.approx(
        {"a": answers[::2].mean(), "b": answers[1::2].mean()}
    )


@pytest.mark.parametrize("told", [None, "texture", '{"mask_ratio": 2}'])
def test_a_model_that_does_not_say_how_it_was_masked_is_measured_by_nobody(model, told):
    del model.info[MASKING]
    model.info |= {} if told is None else {MASKING: told}
    with pytest.raises(ModelError, match="pre-train it anew"):
        judge_of(model)


def test_images_of_a_split_that_is_not_there_are_none(judge, lines_manifest):
    with pytest.raises(DataError, match="split 'later'"):
        judge.load(read_manifest(lines_manifest), "later", 32)

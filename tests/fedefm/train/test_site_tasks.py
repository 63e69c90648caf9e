"""Tasks of single sites: their losses image by image, and scores against plain definitions."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from fedefm.config import ModelConfig, SiteTask
from fedefm.data.batch import Batch
from fedefm.data.targets import FINENESS
from fedefm.model.weights import weights_of
from fedefm.train.site_tasks import (
    NEAR,
    SharedEncoder,
    nearness,
    number_objective,
    overlap,
    pretext_of_task,
)

MODEL = ModelConfig(backbone="resnet_micro", image_size=32)
TASKS = {
    "classification": SiteTask(kind="classification", classes=("a", "b")),
    "segmentation": SiteTask(kind="segmentation", classes=("background", "vessel", "disk")),
    "regression": SiteTask(kind="regression", lowest=0, highest=9),
}


class Says(nn.Module):
    """A model that gives one answer, whatever it sees."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, x):
        return self.answer


def batch_of(labels):
    return Batch(torch.zeros(len(labels), 1, 32, 32), labels, torch.arange(len(labels)))


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_every_task_s_model_has_the_encoder_under_the_same_names(task):
    shared = weights_of(SharedEncoder().build(MODEL, seed=3))
    own = weights_of(pretext_of_task(task).build(MODEL, seed=3))
    for name, value in shared.items():
        assert torch.equal(own[name], value), name
    assert set(own) - set(shared)


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
def test_losses_are_of_one_image_each(task):
    pretext, rng = pretext_of_task(task), torch.Generator().manual_seed(1)
    model = pretext.build(MODEL, seed=3).eval()
    images = torch.randn(4, 1, 32, 32, generator=rng)
    labels = (
        torch.randint(3, (4, 32, 32), generator=rng)
        if task.kind == "segmentation"
        else torch.randint(2, (4,), generator=rng)
    )
    objective = pretext.objective(torch.tensor([True, False]), None)
    together = objective(model, Batch(images, labels, torch.arange(4)))
    alone = [
        objective(model, Batch(images, labels, torch.arange(4)).at(slice(k, k + 1)))
        for k in range(4)
    ]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-5)


@given(st.integers(0, 2**32 - 1))
def test_overlap_is_the_dice_of_each_class_in_the_mean(seed):
    rng = np.random.default_rng(seed)
    truth, marked = rng.integers(0, 3, (2, 2, 8, 8))
    logits = torch.nn.functional.one_hot(torch.tensor(marked), 3).permute(0, 3, 1, 2).float()
    found = overlap(Says(logits), batch_of(torch.tensor(truth)))
    for k in range(2):
        dice = [
            (2 * ((truth[k] == c) & (marked[k] == c)).sum() + 1)
            / ((truth[k] == c).sum() + (marked[k] == c).sum() + 1)
            for c in (1, 2)
        ]
        assert float(found[k]) == pytest.approx(np.mean(dice), rel=1e-5)


@given(st.floats(0, 1), st.floats(-1, 2))
def test_a_number_is_near_by_its_share_of_the_range(truth, told):
    batch = batch_of(torch.tensor([round(truth * FINENESS)]))
    model, off = Says(torch.tensor([[told]])), abs(told - round(truth * FINENESS) / FINENESS)
    assert float(nearness(model, batch)) == pytest.approx(1 - off, abs=1e-5)
    wanted = 0.5 * off**2 / NEAR if off <= NEAR else off - 0.5 * NEAR
    assert float(number_objective(model, batch)) == pytest.approx(wanted, abs=1e-5)

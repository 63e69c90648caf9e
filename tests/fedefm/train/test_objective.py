"""One loss per image: no image of a batch changes what another one costs."""

from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional

from fedefm.config import DistillConfig
from fedefm.data.dataset import Batch
from fedefm.distill.loss import expert_weights
from fedefm.train.assemble import build_model
from fedefm.train.objective import agreement, as_foundation, classification, distillation

ALL = torch.ones(4, dtype=torch.bool)
SOME = torch.tensor([True, False, True, False])


@pytest.fixture
def student(world):
    return build_model(world.settings())


@pytest.fixture
def experts(world):
    runs = [world.settings().model_copy(update={"seed": seed}) for seed in (2, 3)]
    return [build_model(run).eval() for run in runs]


@pytest.fixture
def batch(world):
    return world.images_of(2, 5).batch(torch.arange(5))


def objectives(experts):
    plain = DistillConfig(beta=0.5, pool=2)
    return {
        "classification": classification(SOME, 1.5),
        "distillation": distillation(experts, plain, SOME, 1.5),
        "through": distillation(
            experts, plain.model_copy(update={"gradient": "through"}), SOME, 1.5
        ),
        "uniform": distillation(experts, plain.model_copy(update={"weights": "uniform"}), SOME, 0),
    }


@pytest.mark.parametrize("name", ["classification", "distillation", "through", "uniform"])
def test_changing_one_image_changes_its_loss_alone(student, experts, batch, name):
    objective = objectives(experts)[name]
    images = batch.images.clone()
    images[3] = images[3].flip(-1) * 0.5 + 0.2
    before, after = objective(student, batch), objective(student, replace(batch, images=images))

    assert before.shape == (5,)
    others = torch.tensor([0, 1, 2, 4])
    torch.testing.assert_close(before[others], after[others], rtol=1e-5, atol=1e-6)
    assert (before[3] - after[3]).abs() > 1e-4


@pytest.mark.parametrize("name", ["classification", "distillation", "through", "uniform"])
def test_a_batch_is_worth_its_images_one_by_one(student, experts, batch, name):
    objective = objectives(experts)[name]
    alone = [
        objective(
            student, Batch(batch.images[k : k + 1], batch.labels[k : k + 1], batch.rows[k : k + 1])
        )
        for k in range(5)
    ]
    torch.testing.assert_close(objective(student, batch), torch.cat(alone), rtol=1e-4, atol=1e-5)


def test_classification_is_cross_entropy_with_absent_labels_lowered(student, batch):
    logits = student(batch.images) - 1.5 * torch.tensor([0.0, 1.0, 0.0, 1.0])
    wanted = -functional.log_softmax(logits, dim=1)[torch.arange(5), batch.labels]
    torch.testing.assert_close(classification(SOME, 1.5)(student, batch), wanted)


def test_distillation_is_its_equation(student, experts, batch):
    config = DistillConfig(beta=0.3, temperature=2.0, pool=2)
    got = distillation(experts, config, ALL, 0.0)(student, batch)

    weights = expert_weights(
        torch.stack([agreement(student, expert, batch.images, config) for expert in experts])
    )
    torch.testing.assert_close(weights.sum(dim=0), torch.ones(5))
    hard = functional.cross_entropy(student(batch.images), batch.labels, reduction="none")
    wanted = 0.7 * hard
    for weight, expert in zip(weights, experts, strict=True):
        p = functional.softmax(expert(batch.images) / 2, dim=1)
        q = functional.softmax(student(batch.images) / 2, dim=1)
        wanted = wanted + 0.3 * 4 * weight * (p * (p / q).log()).sum(dim=1)
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)


def test_similarity_teaches_only_where_the_gradient_goes_through(student, experts, batch):
    def gradient(kind):
        config = DistillConfig(beta=0.5, gradient=kind, pool=2)
        loss = distillation(experts, config, ALL, 0.0)(student, batch).sum()
        return loss.item(), torch.autograd.grad(loss, student.backbone.parameters())

    (detached, without), (through, with_weights) = gradient("detach"), gradient("through")
    assert detached == pytest.approx(through)
    assert any((a - b).abs().max() > 1e-6 for a, b in zip(without, with_weights, strict=True))


def test_experts_are_never_trained(student, experts, batch):
    config = DistillConfig(beta=1.0, gradient="through", pool=2)
    distillation(experts, config, ALL, 0.0)(student, batch).sum().backward()
    assert all(p.grad is None for expert in experts for p in expert.parameters())
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in student.parameters())


def test_a_model_agrees_with_itself(student, batch):
    found = agreement(student, student, batch.images, DistillConfig(pool=None))
    torch.testing.assert_close(found, torch.ones(5), atol=1e-4, rtol=0)


def test_a_wrapped_model_is_found_and_another_one_refused(student):
    wrapper = nn.Module()
    wrapper._module = student
    assert as_foundation(wrapper) is student
    with pytest.raises(TypeError, match="needs a FoundationModel, not Linear"):
        as_foundation(nn.Linear(1, 1))

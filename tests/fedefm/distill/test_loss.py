import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from fedefm.distill.loss import distillation_loss, expert_weights, restricted_logits
from fedefm.errors import ModelError

BATCH, EXPERTS, CLASSES = 4, 3, 5


def inputs(seed=0):
    rng = torch.Generator().manual_seed(seed)
    student = 3 * torch.randn(BATCH, CLASSES, generator=rng, dtype=torch.float64)
    experts = 3 * torch.randn(EXPERTS, BATCH, CLASSES, generator=rng, dtype=torch.float64)
    weights = expert_weights(torch.rand(EXPERTS, BATCH, generator=rng, dtype=torch.float64))
    labels = torch.randint(0, CLASSES, (BATCH,), generator=rng)
    present = torch.rand(CLASSES, generator=rng) < 0.6
    return student, experts, weights, labels, present


def softmax(logits, temperature):
    powers = [math.exp(float(logit) / temperature) for logit in logits]
    return [power / sum(powers) for power in powers]


def one_loss(student, experts, weights, label, temperature, beta, present, penalty):
    """Equation 11 for one image in plain Python, as it stands in the paper."""
    lowered = [
        float(x) - (0 if here else penalty) for x, here in zip(student, present, strict=True)
    ]
    hard = -math.log(softmax(lowered, 1.0)[int(label)])
    total = 0.0
    for expert, weight in zip(experts, weights, strict=True):
        teacher, pupil = softmax(expert, temperature), softmax(student, temperature)
        soft = sum(t * math.log(t / s) for t, s in zip(teacher, pupil, strict=True))
        total += float(weight) * (beta * temperature**2 * soft + (1 - beta) * hard)
    return total


settings_of_the_loss = {
    "seed": st.integers(0, 2**31),
    "temperature": st.floats(0.5, 5),
    "beta": st.sampled_from([0.0, 0.2, 0.5, 1.0]),
    "penalty": st.sampled_from([0.0, 1.5, 4.0]),
}


@settings(max_examples=40, deadline=None)
@given(**settings_of_the_loss)
def test_loss_is_equation_11_image_by_image(seed, temperature, beta, penalty):
    student, experts, weights, labels, present = inputs(seed)
    loss = distillation_loss(student, experts, weights, labels, temperature, beta, present, penalty)
    expected = [
        one_loss(
            student[b], experts[:, b], weights[:, b], labels[b], temperature, beta, present, penalty
        )
        for b in range(BATCH)
    ]
    torch.testing.assert_close(loss, torch.tensor(expected, dtype=torch.float64))


@settings(max_examples=20, deadline=None)
@given(**settings_of_the_loss)
def test_permuting_the_batch_permutes_the_losses(seed, temperature, beta, penalty):
    student, experts, weights, labels, present = inputs(seed)
    order = torch.randperm(BATCH, generator=torch.Generator().manual_seed(seed))
    rest = (temperature, beta, present, penalty)
    torch.testing.assert_close(
        distillation_loss(
            student[order], experts[:, order], weights[:, order], labels[order], *rest
        ),
        distillation_loss(student, experts, weights, labels, *rest)[order],
    )


@settings(max_examples=20, deadline=None)
@given(spoiled=st.integers(0, BATCH - 1), **settings_of_the_loss)
def test_changing_one_image_moves_no_other_loss(spoiled, seed, temperature, beta, penalty):
    student, experts, weights, labels, present = inputs(seed)
    rest = (temperature, beta, present, penalty)
    before = distillation_loss(student, experts, weights, labels, *rest)
    similarities = weights.clone()
    similarities[:, spoiled] = torch.tensor([-1.0, 0.5, 0.0], dtype=torch.float64)
    student[spoiled], experts[:, spoiled] = 9.0, -7.0
    labels[spoiled] = (labels[spoiled] + 1) % CLASSES
    after = distillation_loss(student, experts, expert_weights(similarities), labels, *rest)
    others = torch.arange(BATCH) != spoiled
    torch.testing.assert_close(after[others], before[others])


def test_gradients_reach_the_student_and_the_weights_and_no_expert():
    student, experts, weights, labels, present = inputs()
    for part in (student, experts, weights):
        part.requires_grad_()
    loss = distillation_loss(student, experts, weights, labels, 2.0, 0.5, present, 1.5)
    loss[1].backward()
    assert experts.grad is None
    assert weights.grad[:, 1].abs().min() > 0
    assert student.grad[1].abs().max() > 0
    assert student.grad[[0, 2, 3]].abs().max() == 0


def test_the_soft_gradient_is_that_of_cross_entropy_with_soft_targets():
    student, experts, weights, labels, present = inputs(1)
    student.requires_grad_()
    loss = distillation_loss(student, experts, weights, labels, 2.0, 1.0, present)
    targets = (weights[:, :, None] * (experts / 2).softmax(-1)).sum(0)
    reference = 4 * F.cross_entropy(student / 2, targets, reduction="sum")
    torch.testing.assert_close(
        torch.autograd.grad(loss.sum(), student)[0], torch.autograd.grad(reference, student)[0]
    )


def test_an_expert_that_agrees_teaches_nothing():
    student, _, weights, labels, present = inputs(2)
    experts = student.expand(EXPERTS, BATCH, CLASSES)
    loss = distillation_loss(student, experts, weights, labels, 3.0, 1.0, present)
    torch.testing.assert_close(loss, torch.zeros(BATCH, dtype=torch.float64))


def test_extreme_logits_stay_finite():
    student = torch.tensor([[1e4, -1e4]], requires_grad=True)
    experts = torch.tensor([[[-1e4, 1e4]]])
    loss = distillation_loss(
        student, experts, torch.ones(1, 1), torch.tensor([1]), 1.0, 0.5, torch.tensor([True, True])
    )
    loss.sum().backward()
    assert torch.isfinite(loss).all()
    assert torch.isfinite(student.grad).all()


@settings(max_examples=30, deadline=None)
@given(
    rows=st.lists(
        st.lists(st.floats(-1, 1, width=32), min_size=2, max_size=2), min_size=1, max_size=5
    )
)
def test_expert_weights_are_a_distribution_for_each_image(rows):
    similarities = torch.tensor(rows)
    weights = expert_weights(similarities)
    assert (weights >= 0).all()
    torch.testing.assert_close(weights.sum(0), torch.ones(2))
    for image in range(2):
        column = similarities[:, image]
        if (column > 0).any():
            assert (weights[column <= 0, image] == 0).all()
            torch.testing.assert_close(
                weights[:, image], column.clamp(min=0) / column.clamp(min=0).sum()
            )
        else:
            torch.testing.assert_close(weights[:, image], torch.full((len(rows),), 1 / len(rows)))


def test_expert_weights_pass_finite_gradients_even_where_nobody_is_similar():
    similarities = torch.tensor([[0.5, -0.2], [0.3, -0.1]], requires_grad=True)
    expert_weights(similarities)[0].sum().backward()
    assert torch.isfinite(similarities.grad).all()
    assert similarities.grad[:, 0].abs().min() > 0
    assert similarities.grad[:, 1].abs().max() == 0


def test_experts_without_a_finite_similarity_are_refused():
    similarities = torch.rand(3, 4)
    similarities[1, 2] = float("nan")
    with pytest.raises(ModelError, match="1 of 3 experts have a similarity of NaN or Inf"):
        expert_weights(similarities)
    with pytest.raises(ModelError, match="experts >= 1"):
        expert_weights(torch.zeros(0, 4))


def test_restriction_lowers_absent_classes_only():
    logits = torch.tensor([[1.0, 2.0, 3.0]])
    present = torch.tensor([True, False, True])
    assert torch.equal(restricted_logits(logits, present, 1.5), torch.tensor([[1.0, 0.5, 3.0]]))
    assert torch.equal(restricted_logits(logits, present, 0.0), logits)


def test_restriction_teaches_less_denial_of_absent_classes():
    present, labels = torch.tensor([True, False]), torch.tensor([0])
    slopes = []
    for penalty in (0.0, 1.5):
        logits = torch.zeros(1, 2, requires_grad=True)
        F.cross_entropy(restricted_logits(logits, present, penalty), labels).backward()
        slopes.append(logits.grad[0, 1].item())
    assert 0 < slopes[1] < slopes[0]


def test_what_does_not_fit_is_refused():
    student, experts, weights, labels, present = inputs()
    with pytest.raises(ModelError, match="same classes in the same order"):
        distillation_loss(student, experts[:, :, :4], weights, labels, 2.0, 0.5, present)
    with pytest.raises(ModelError, match="do not fit 3 experts and 4 images"):
        distillation_loss(student, experts, weights[:2], labels, 2.0, 0.5, present)
    with pytest.raises(ModelError, match="do not fit 3 experts and 4 images"):
        distillation_loss(student, experts, weights, labels[:3], 2.0, 0.5, present)
    for temperature, beta in ((0.0, 0.5), (2.0, -0.1), (2.0, 1.1), (math.nan, 0.5)):
        with pytest.raises(ModelError, match=r"temperature > 0 and beta in \[0, 1\]"):
            distillation_loss(student, experts, weights, labels, temperature, beta, present)
    with pytest.raises(ModelError, match=r"present classes has shape \(4,\)"):
        distillation_loss(student, experts, weights, labels, 2.0, 0.5, present[:4])
    with pytest.raises(ModelError, match="must not be negative"):
        distillation_loss(student, experts, weights, labels, 2.0, 0.5, present, -1.0)

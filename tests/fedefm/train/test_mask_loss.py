import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from fedefm.data.dataset import Batch
from fedefm.train.mask_loss import (
    BACKGROUND_WEIGHT,
    DEVICE_WEIGHT,
    cross_entropy,
    dice_loss,
    segmentation_loss,
    segmentation_objective,
)


def example(seed, batch=4, classes=3, size=8):
    rng = torch.Generator().manual_seed(seed)
    logits = torch.randn(batch, classes, size, size, generator=rng)
    return logits, torch.randint(classes, (batch, size, size), generator=rng)


@given(st.integers(0, 50))
def test_the_loss_of_an_image_does_not_depend_on_its_neighbors_in_the_batch(seed):
    logits, masks = example(seed)
    alone = torch.cat([segmentation_loss(logits[i : i + 1], masks[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(segmentation_loss(logits, masks), alone)


def test_gradients_of_one_image_reach_no_other():
    logits, masks = example(0)
    logits.requires_grad_()
    segmentation_loss(logits, masks)[1].backward()
    assert logits.grad[1].abs().sum() > 0
    assert logits.grad[[0, 2, 3]].abs().sum() == 0


def test_cross_entropy_is_the_weighted_mean_over_pixels():
    logits, masks = example(1)
    plain = functional.cross_entropy(logits, masks, reduction="none")
    weighted = plain * torch.where(masks > 0, DEVICE_WEIGHT, BACKGROUND_WEIGHT)
    torch.testing.assert_close(cross_entropy(logits, masks), weighted.mean(dim=(1, 2)))


@given(st.integers(0, 50))
def test_of_two_classes_it_is_binary_cross_entropy_and_dice_of_one_logit(seed):
    logits, masks = example(seed, classes=2)
    one, truth = logits[:, 1] - logits[:, 0], masks.float()
    binary = functional.binary_cross_entropy_with_logits(
        one, truth, pos_weight=torch.tensor(DEVICE_WEIGHT), reduction="none"
    ).mean(dim=(1, 2))
    chance = one.sigmoid()
    both, sizes = (chance * truth).sum(dim=(1, 2)), (chance + truth).sum(dim=(1, 2))
    dice = 1 - (2 * both + 1) / (sizes + 1)
    torch.testing.assert_close(cross_entropy(logits, masks), binary)
    torch.testing.assert_close(dice_loss(logits, masks), dice)
    torch.testing.assert_close(segmentation_loss(logits, masks), (binary + dice) / 2)


def test_dice_loss_is_that_of_a_loop_over_images_and_devices():
    logits, masks = example(2)
    probabilities = logits.softmax(dim=1)
    expected = []
    for p, mask in zip(probabilities, masks, strict=True):
        device_dice = []
        for k in (1, 2):
            truth = (mask == k).float()
            device_dice.append((2 * (p[k] * truth).sum() + 1) / (p[k].sum() + truth.sum() + 1))
        expected.append(1 - sum(device_dice) / 2)
    torch.testing.assert_close(dice_loss(logits, masks), torch.stack(expected))


def test_a_sure_and_right_answer_costs_nothing_also_where_no_device_is():
    masks = torch.zeros(2, 8, 8, dtype=torch.int64)
    masks[0, 3, 1:7] = 1
    logits = 50.0 * functional.one_hot(masks, 3).permute(0, 3, 1, 2)
    assert segmentation_loss(logits, masks) == pytest.approx([0, 0], abs=1e-5)
    wrong = logits.roll(1, dims=1)
    assert (segmentation_loss(wrong, masks) > 0.4).all()


def test_the_objective_runs_the_model_on_the_images():
    model = torch.nn.Conv2d(1, 3, 1)
    _, masks = example(3)
    batch = Batch(torch.randn(4, 1, 8, 8), masks, torch.arange(4))
    losses = segmentation_objective(model, batch)
    assert losses.shape == (4,)
    torch.testing.assert_close(losses, segmentation_loss(model(batch.images), masks))

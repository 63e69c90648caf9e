"""The reference against plain autograd on a model small enough to write the gradient down."""

import pytest
import torch
from torch import Tensor, nn

from fedefm.train.objective import Batch
from privacy.dp.gradients import ROUNDING, Clip, UnitBatch
from privacy.dp.loop import LoopGradients

LOOSE = Clip(1e6)


class Scale(nn.Module):
    """``weight * x``, so that the gradient of a frame's summed output is the frame itself."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, 2, 2))
        self.unused = nn.Parameter(torch.ones(3))

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * x


def total(model: nn.Module, batch: Batch) -> Tensor:
    return model(batch.images).flatten(1).sum(dim=1)


def step_of(images: Tensor, owners: list[int]) -> UnitBatch:
    units = torch.tensor(owners)
    count = int(units.max()) + 1
    frames = torch.bincount(units)
    batch = Batch(images, units, torch.arange(len(units)))
    return UnitBatch(batch, units, 1 / frames[units].float(), count)


def test_a_unit_gives_the_mean_over_its_frames():
    images = torch.randn(5, 1, 2, 2)
    step = step_of(images, [0, 0, 0, 1, 1])
    found = LoopGradients().clipped_sum(Scale(), total, step, LOOSE)
    expected = images[:3].mean(dim=0) + images[3:].mean(dim=0)
    torch.testing.assert_close(found.gradients["weight"], expected)
    norms = torch.stack([images[:3].mean(dim=0).norm(), images[3:].mean(dim=0).norm()])
    torch.testing.assert_close(found.norms.float(), norms)


def test_each_unit_is_clipped_by_itself():
    images = torch.zeros(2, 1, 2, 2)
    images[0, 0, 0, 0], images[1, 0, 1, 1] = 100.0, 0.5
    found = LoopGradients().clipped_sum(Scale(), total, step_of(images, [0, 1]), Clip(1.0))
    expected = torch.tensor([[[1 - ROUNDING, 0], [0, 0.5]]])
    torch.testing.assert_close(found.gradients["weight"], expected)


def test_a_parameter_without_gradient_is_zero():
    step = step_of(torch.randn(2, 1, 2, 2), [0, 1])
    found = LoopGradients().clipped_sum(Scale(), total, step, LOOSE)
    assert found.gradients["unused"].tolist() == [0, 0, 0]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_a_bad_frame_takes_its_whole_unit_away_and_no_other(bad):
    images = torch.randn(4, 1, 2, 2)
    alone = LoopGradients().clipped_sum(Scale(), total, step_of(images[:1], [0]), LOOSE)
    images[2, 0, 0, 0] = bad
    found = LoopGradients().clipped_sum(Scale(), total, step_of(images, [0, 1, 1, 1]), LOOSE)
    assert torch.equal(found.gradients["weight"], alone.gradients["weight"])
    assert found.ignored == 1
    assert found.norms.isnan().tolist() == [False, True]


def test_a_loss_that_overflows_takes_its_unit_away():
    def exploding(model: nn.Module, batch: Batch) -> Tensor:
        return (total(model, batch) * 1e4).exp()

    images = torch.cat([torch.full((1, 1, 2, 2), 1e-5), torch.ones(1, 1, 2, 2)])
    found = LoopGradients().clipped_sum(Scale(), exploding, step_of(images, [0, 1]), LOOSE)
    assert found.ignored == 1
    assert found.gradients["weight"].isfinite().all()


def test_the_model_is_left_without_gradients():
    model = Scale()
    before = model.weight.clone()
    LoopGradients().clipped_sum(model, total, step_of(torch.randn(2, 1, 2, 2), [0, 1]), LOOSE)
    assert model.weight.grad is None
    assert torch.equal(model.weight, before)

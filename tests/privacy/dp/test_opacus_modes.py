"""Where Opacus' hooks are wrong without a word, they are refused by name."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from fedefm.errors import PrivacyError
from fedefm.train.objective import Batch
from privacy.dp.ghost import GhostGradients
from privacy.dp.gradients import Clip, UnitBatch
from privacy.dp.hooks import HookGradients
from privacy.dp.loop import LoopGradients

BOTH = [HookGradients(), GhostGradients()]
both = pytest.mark.parametrize("backend", BOTH, ids=lambda b: b.name)


def step(frames: int = 1) -> UnitBatch:
    rng = torch.Generator().manual_seed(0)
    units = torch.arange(3).repeat_interleave(frames)
    images = torch.randn(len(units), 1, 8, 8, generator=rng, dtype=torch.float64)
    shares = torch.full((len(units),), 1 / frames, dtype=torch.float64)
    return UnitBatch(Batch(images, units, torch.arange(len(units))), units, shares, 3)


def squared(model: nn.Module, batch: Batch) -> Tensor:
    out: Tensor = model(batch.images).flatten(1)
    return (out - 0.1 * torch.arange(out.shape[1])).square().mean(dim=1)


class Reordered(nn.Module):
    """Hands a convolution a view whose channels come last in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(1, 4, 3), nn.Conv2d(4, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.first(x).to(memory_format=torch.channels_last))


class UsedOutside(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(self.layer(x), self.layer.weight.T)


class Called(nn.Module):
    """A method beside ``forward`` uses a parameter, as some encoders do."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(8))
        self.layer = nn.Linear(8, 8)

    def features(self, x: Tensor) -> Tensor:
        return self.layer(x) * self.scale

    def forward(self, x: Tensor) -> Tensor:
        return self.features(x)


def by_features(model: nn.Module, batch: Batch) -> Tensor:
    return model.features(batch.images).flatten(1).square().mean(dim=1)


@both
def test_channels_last_is_refused(backend):
    with pytest.raises(PrivacyError, match=r"module second is not in plain memory order"):
        backend.clipped_sum(Reordered().double(), squared, step(), Clip(1.0))


@both
def test_padding_that_opacus_takes_for_zeros_is_refused(backend):
    model = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1, padding_mode="reflect")).double()
    with pytest.raises(PrivacyError, match="module 0 pads with 'reflect'"):
        backend.clipped_sum(model, squared, step(), Clip(1.0))


@both
def test_evaluation_mode_is_refused(backend):
    model = nn.Sequential(nn.Linear(8, 2)).double().eval()
    with pytest.raises(PrivacyError, match="module 0 is in evaluation mode"):
        backend.clipped_sum(model, squared, step(), Clip(1.0))


@both
def test_a_frozen_part_in_evaluation_mode_is_fine(backend):
    frozen = nn.Linear(64, 4).requires_grad_(False).eval()
    model = nn.Sequential(nn.Flatten(), frozen, nn.Linear(4, 2)).double()
    truth = LoopGradients().clipped_sum(model, squared, step(), Clip(0.1))
    found = backend.clipped_sum(model, squared, step(), Clip(0.1))
    for name, gradient in truth.gradients.items():
        torch.testing.assert_close(found.gradients[name], gradient, rtol=1e-5, atol=1e-7)


@both
def test_a_parameter_used_outside_of_its_layer_is_refused(backend):
    with pytest.raises(PrivacyError, match=r"layer\.weight"):
        backend.clipped_sum(UsedOutside().double(), squared, step(), Clip(1.0))


@both
def test_a_parameter_that_forward_never_shows_is_refused(backend):
    with pytest.raises(PrivacyError, match=r"scale|loop"):
        backend.clipped_sum(Called().double(), by_features, step(), Clip(1.0))


@both
def test_operations_in_place_are_refused(backend):
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(inplace=True)).double()
    with pytest.raises(PrivacyError, match=r"in-?place"):
        backend.clipped_sum(model, squared, step(), Clip(1.0))


@both
def test_batch_norm_is_refused(backend):
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)).double()
    with pytest.raises(PrivacyError, match=backend.name):
        backend.clipped_sum(model, squared, step(), Clip(1.0))
    assert not any(module._forward_hooks for module in model.modules())


def test_a_layer_used_twice_is_right_under_hooks():
    layer = nn.Linear(8, 8)
    model = nn.Sequential(layer, nn.Tanh(), layer).double()
    truth = LoopGradients().clipped_sum(model, squared, step(2), Clip(0.1))
    found = HookGradients().clipped_sum(model, squared, step(2), Clip(0.1))
    for name, gradient in truth.gradients.items():
        torch.testing.assert_close(found.gradients[name], gradient, rtol=1e-5, atol=1e-7)
    with pytest.raises(PrivacyError, match="module 0 is used twice"):
        GhostGradients().clipped_sum(model, squared, step(), Clip(0.1))


def test_a_gradient_that_opacus_gets_wrong_is_seen():
    """Without our check of the memory order, the sum over frames betrays it."""
    from privacy.dp import opacus_modes

    whole = opacus_modes._check_order
    opacus_modes._check_order = lambda *_: None
    try:
        with pytest.raises(PrivacyError, match=r"wrong gradient by frame for parameter second"):
            HookGradients().clipped_sum(Reordered().double(), squared, step(), Clip(1.0))
    finally:
        opacus_modes._check_order = whole


def test_ghost_refuses_patients_with_several_frames():
    with pytest.raises(PrivacyError, match=r"single frames only.*'bookkeeping', 'hooks' or 'loop'"):
        GhostGradients().clipped_sum(nn.Linear(8, 2).double(), squared, step(2), Clip(1.0))


def test_ghost_refuses_clipping_per_layer():
    clip = Clip(1.0, per_layer=True)
    with pytest.raises(PrivacyError, match="cannot clip per layer"):
        GhostGradients().clipped_sum(nn.Linear(8, 2).double(), squared, step(), clip)

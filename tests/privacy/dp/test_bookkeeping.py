"""Layers beyond those of our models, and what book-keeping must refuse, by name."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from fedefm.errors import PrivacyError
from fedefm.train.objective import Batch
from privacy.dp import layers
from privacy.dp.bookkeeping import BookkeepingGradients
from privacy.dp.gradients import Clip, ClippedSum, UnitBatch, squared_norms
from privacy.dp.loop import LoopGradients

FRAMES = [1, 3, 2, 1]


def step(size: int = 8, frames: list[int] = FRAMES) -> UnitBatch:
    rng = torch.Generator().manual_seed(0)
    counts = torch.tensor(frames)
    units = torch.repeat_interleave(torch.arange(len(frames)), counts)
    images = torch.randn(len(units), 1, size, size, generator=rng, dtype=torch.float64)
    batch = Batch(images, units, torch.arange(len(units)))
    return UnitBatch(batch, units, (1 / counts[units]).double(), len(frames))


def squared(model: nn.Module, batch: Batch) -> Tensor:
    """The mean square, moved per frame so that no gradient vanishes by symmetry."""
    out: Tensor = model(batch.images).flatten(1)
    return (out - 0.1 * torch.arange(out.shape[1])).square().mean(dim=1)


def error(model: nn.Module, clip: Clip, given: UnitBatch | None = None) -> float:
    given = given or step()
    truth = LoopGradients().clipped_sum(model.double(), squared, given, clip)
    found = BookkeepingGradients().clipped_sum(model, squared, given, clip)
    return float((flat(found) - flat(truth)).norm() / flat(truth).norm())


def flat(found: ClippedSum) -> Tensor:
    return torch.cat([gradient.flatten() for gradient in found.gradients.values()])


class Lookup(nn.Module):
    """Whether a pixel is positive, as an index into an embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(2, 5)

    def forward(self, x: Tensor) -> Tensor:
        return self.table((x > 0).long().flatten(1))


class Half(nn.Linear):
    """A subclass that computes something else than its base."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x / 2)


class WithKeyword(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.bilinear = nn.Bilinear(8, 8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.bilinear(x, input2=x.flip(2))


class Recomputed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.layer = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return checkpoint(self.layer, self.first(x), use_reentrant=False)


@pytest.mark.parametrize("per_layer", [False, True], ids=["flat", "per_layer"])
@pytest.mark.parametrize(
    "model",
    [
        nn.Conv2d(1, 4, 3, stride=2, padding=1),
        nn.Conv2d(1, 4, (3, 2), padding=(2, 0), dilation=2, bias=False),
        nn.Sequential(nn.Conv2d(1, 4, 1), nn.Conv2d(4, 8, 3, groups=2)),
        nn.Conv2d(1, 4, 3, padding="same"),
        nn.Conv2d(1, 4, 3, padding="valid"),
        nn.Conv2d(1, 4, 3, padding=1, padding_mode="circular"),
        nn.ConvTranspose2d(1, 4, 3, stride=2, padding=1, output_padding=1),
        nn.Sequential(nn.ConvTranspose2d(1, 4, 2), nn.ConvTranspose2d(4, 4, 3, groups=4)),
        nn.Sequential(nn.Flatten(2), nn.Conv1d(1, 3, 5, stride=2)),
        nn.Sequential(nn.Unflatten(1, (1, 1)), nn.Conv3d(1, 3, (1, 3, 3))),
        nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.LayerNorm(5), nn.Linear(5, 2)),
        nn.Sequential(nn.LayerNorm((8, 8)), nn.Linear(8, 2, bias=False)),
        nn.Sequential(nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4)),
        nn.Sequential(nn.Conv2d(1, 4, 3), nn.InstanceNorm2d(4, affine=True)),
        nn.Sequential(nn.Conv2d(1, 4, 3), nn.PReLU(4)),
        nn.Sequential(nn.Conv2d(1, 2, 3), nn.LayerNorm(6, bias=False)),
        Half(8, 3),
        Lookup(),
        WithKeyword(),
        Recomputed(),
    ],
    ids=lambda m: str(m) if len(str(m)) < 60 else type(m).__name__,
)
def test_a_layer_is_right(model, per_layer):
    assert error(model, Clip(0.2, per_layer)) < 1e-6


@pytest.mark.parametrize("below", [0.0, 1e9], ids=["matrices", "ghost"])
@pytest.mark.parametrize("frames", [FRAMES, [2, 2]], ids=str)
@pytest.mark.parametrize(
    "model",
    [
        nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 4)),
        nn.Conv2d(1, 4, 3, stride=2, padding=1, dilation=2),
    ],
    ids=["linear", "convolution"],
)
def test_both_ways_to_a_norm_agree(monkeypatch, model, frames, below):
    monkeypatch.setattr(layers, "GHOST_BELOW", below)
    assert error(model, Clip(0.2), step(frames=frames)) < 1e-6


def test_a_norm_that_cancels_is_not_left_to_the_ghost(monkeypatch):
    """Two positions whose gradients are opposite, and whose inputs differ by a thousandth."""
    monkeypatch.setattr(layers, "GHOST_BELOW", 1e9)
    inputs = 1e3 + torch.randn(2, 2, 64, generator=torch.Generator().manual_seed(0))
    grads = torch.randn(2, 1, 64, generator=torch.Generator().manual_seed(1))
    grads = torch.cat([grads, -grads], dim=1)
    exact = torch.bmm(grads.mT.double(), inputs.double()).square().sum(dim=(1, 2))
    pair = step(frames=[1, 1])
    assert layers._ghost_squares(inputs, grads, pair) is None
    naive = torch.bmm(inputs, inputs.mT) * torch.bmm(grads, grads.mT)
    assert ((naive.sum(dim=(1, 2)) - exact).abs() > 0.01 * exact).any()
    torch.testing.assert_close(squared_norms(torch.bmm(grads.mT, inputs)), exact, rtol=1e-4, atol=0)


def test_squared_norms_of_millions_of_numbers_are_exact():
    vectors = torch.randn(2, 1_500_001, generator=torch.Generator().manual_seed(0))
    exact = vectors.double().square().sum(dim=1)
    torch.testing.assert_close(squared_norms(vectors), exact, rtol=1e-6, atol=0)


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(self.layer(x))


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = nn.Linear(8, 8), nn.Linear(8, 8)
        self.other.weight = self.one.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.other(self.one(x))


class UsedOutside(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return functional.linear(self.layer(x), self.layer.weight.T)


class Beside(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.scale = nn.Linear(8, 8), nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) * self.scale


class Folded(nn.Module):
    """Rows of the image stand in front, in place of frames."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.reshape(-1, 8)).reshape(x.shape)


class InPlace(nn.Module):
    """Changes what a layer saw, after it has seen it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        x = x + 0
        out = self.layer(x)
        x.mul_(2)
        return out + x


class ScaledInPlace(nn.Module):
    """Changes in place what a layer gave, beyond the reach of a hook on the tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.layer = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Tensor:
        out = self.layer(self.first(x))
        out += 1
        out.mul_(3)
        return out


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.GRU(8, 4, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.cells(x[:, 0])[0]


class Dropping(nn.Module):
    """A leaf with a parameter of its own and randomness inside."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(8))

    def forward(self, x: Tensor) -> Tensor:
        return functional.dropout(x * self.scale, 0.5)


REFUSED = [
    (Twice(), "module layer is used twice"),
    (Tied(), "modules one and other share the parameter weight"),
    (UsedOutside(), "parameter layer.weight is used outside"),
    (Beside(), "Beside .the model itself. has parameters .scale. beside"),
    (nn.ModuleDict({"a": nn.MultiheadAttention(8, 2)}), "MultiheadAttention a has parameters"),
    (Folded(), r"module layer takes or gives \(56, 8\)"),
    (InPlace(), "input of module layer was changed in place"),
    (ScaledInPlace(), "cannot be watched"),
    (Recurrent(), "module cells takes or gives tuple"),
    (Dropping(), "gives another output"),
    (nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2)), "module 1 .BatchNorm2d. gives another"),
    (nn.Sequential(nn.Linear(8, 8), nn.ReLU(inplace=True)), "cannot be watched"),
]


@pytest.mark.parametrize(("model", "message"), REFUSED, ids=[type(m).__name__ for m, _ in REFUSED])
def test_what_it_cannot_do_is_refused_by_name(model, message):
    model.double()
    with pytest.raises(PrivacyError, match=message):
        BookkeepingGradients().clipped_sum(model, squared, step(), Clip(1.0))
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not any(module._forward_hooks for module in model.modules())


def test_an_objective_that_goes_back_itself_is_refused():
    def penalized(model: nn.Module, batch: Batch) -> Tensor:
        losses = squared(model, batch)
        slopes = torch.autograd.grad(losses.sum(), list(model.parameters()), retain_graph=True)
        return losses + sum(slope.sum() for slope in slopes)

    def detached(model: nn.Module, batch: Batch) -> Tensor:
        images = batch.images.clone().requires_grad_()
        inner = squared(model, Batch(images, batch.labels, batch.rows)).sum()
        return torch.autograd.grad(inner, images)[0].flatten(1).norm(dim=1)

    for objective in (penalized, detached):
        with pytest.raises(PrivacyError, match=r"goes back through module|cannot be watched"):
            BookkeepingGradients().clipped_sum(
                nn.Sequential(nn.Linear(8, 3)).double(), objective, step(), Clip(1.0)
            )


def test_a_pass_without_gradient_is_no_second_use():
    def twice(model: nn.Module, batch: Batch) -> Tensor:
        with torch.no_grad():
            weight = model(batch.images).flatten(1).norm(dim=1)
        return weight * squared(model, batch)

    model = nn.Linear(8, 3).double()
    truth = LoopGradients().clipped_sum(model, twice, step(), Clip(0.2))
    found = BookkeepingGradients().clipped_sum(model, twice, step(), Clip(0.2))
    torch.testing.assert_close(flat(found), flat(truth))


def test_an_output_that_nobody_reads_gives_zero():
    class Unread(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.read, self.unread = nn.Linear(8, 2), nn.Linear(8, 2)

        def forward(self, x: Tensor) -> Tensor:
            self.unread(x)
            return self.read(x)

    found = BookkeepingGradients().clipped_sum(Unread().double(), squared, step(), Clip(1.0))
    assert not found.gradients["unread.weight"].any()
    assert found.gradients["read.weight"].any()


def test_memory_in_another_order_does_no_harm():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Conv2d(4, 4, 3)).double()
    given = step()
    truth = LoopGradients().clipped_sum(model, squared, given, Clip(0.2))
    turned = given.batch.images.to(memory_format=torch.channels_last).transpose(2, 3).contiguous()
    batch = Batch(turned.transpose(2, 3), given.batch.labels, given.batch.rows)
    given = UnitBatch(batch, given.units, given.shares, given.count)
    model.to(memory_format=torch.channels_last)
    found = BookkeepingGradients().clipped_sum(model, squared, given, Clip(0.2))
    torch.testing.assert_close(flat(found), flat(truth))

"""Masked autoencoders are trained privately like any other model, by every back-end.

Their batches hold more than images and labels, and each image has a mask of its own.
"""

import pytest
import torch
from torch import Tensor, nn

from fedefm.config.masking import MaskingConfig
from fedefm.data.dataset import FrameDataset
from fedefm.data.masked import MaskedBatch, MaskedFrames
from fedefm.errors import PrivacyError
from fedefm.model.mae import build_masked_autoencoder
from fedefm.train.objective import Batch
from fedefm.train.reconstruction import reconstruction
from privacy.dp.automatic import ChosenGradients
from privacy.dp.bookkeeping import BookkeepingGradients
from privacy.dp.ghost import GhostGradients
from privacy.dp.gradients import ROUNDING, Clip, UnitBatch
from privacy.dp.hooks import HookGradients
from privacy.dp.loop import LoopGradients
from privacy.dp.probe import SAMPLES, check_independence
from privacy.dp.sampling import unit_batch

SIZE, PATCH = 32, 8
ALL = [LoopGradients(), BookkeepingGradients(), HookGradients(), GhostGradients()]
JOINT = ALL[:3]
named = pytest.mark.parametrize


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def frames(count: int = 6, **settings) -> MaskedFrames:
    images = torch.randint(0, 256, (count, 1, SIZE, SIZE), generator=rng(), dtype=torch.uint8)
    owners = torch.arange(count)
    plain = FrameDataset(images, owners % 2, owners, ("a", "b"))
    return MaskedFrames(plain, PATCH, MaskingConfig(**settings))


def network() -> nn.Module:
    """Away from initial zeros and ones, where some errors cannot be seen."""
    model = build_masked_autoencoder("vit_micro", SIZE, 1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.02 * torch.randn(parameter.shape, generator=rng()))
    return model.train()


def in_double(step: UnitBatch) -> UnitBatch:
    def twice_as_long(tensor: Tensor) -> Tensor:
        return tensor.double() if tensor.is_floating_point() else tensor

    batch = step.batch.each(twice_as_long)
    return UnitBatch(batch, step.units, step.shares.double(), step.count)


def step_of(counts: list[int]) -> UnitBatch:
    return unit_batch(frames(sum(counts)).batch(torch.arange(sum(counts)), None, rng(3)), counts)


def one_at_a_time(model: nn.Module, step: UnitBatch, clip: float) -> dict[str, Tensor]:
    """The clipped sum by autograd alone, one sample after another."""
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    total = {name: torch.zeros_like(p) for name, p in trained.items()}
    for unit, rows in enumerate(step.rows):
        summed = {name: torch.zeros_like(p) for name, p in trained.items()}
        for row in range(rows.start, rows.stop):
            loss = reconstruction(model, step.batch.at(slice(row, row + 1))).squeeze()
            found = torch.autograd.grad(loss, list(trained.values()))
            for part, gradient in zip(summed.values(), found, strict=True):
                part += gradient / step.frames[unit]
        norm = torch.cat([part.flatten() for part in summed.values()]).norm()
        for name, part in summed.items():
            total[name] += part * min(1.0, clip * (1 - ROUNDING) / float(norm))
    return total


def assert_same_sum(found: dict[str, Tensor], truth: dict[str, Tensor]) -> None:
    """Every parameter by itself: a small one may not hide behind the rest."""
    assert found.keys() == truth.keys()
    for name, expected in truth.items():
        assert expected.any(), name
        error = float((found[name] - expected).norm() / expected.norm())
        assert error < 1e-6, f"{name}: {error}"


@named("backend", ALL, ids=lambda b: b.name)
def test_every_back_end_gives_the_gradients_of_one_image_at_a_time(backend):
    model, step = network().double(), in_double(step_of([1, 1, 1, 1]))
    found = backend.clipped_sum(model, reconstruction, step, Clip(0.3))
    assert (found.norms > 0.3).any()
    assert_same_sum(found.gradients, one_at_a_time(model, step, 0.3))


@named("backend", JOINT, ids=lambda b: b.name)
def test_frames_of_a_patient_are_clipped_together(backend):
    model, step = network().double(), in_double(step_of([2, 1, 3]))
    found = backend.clipped_sum(model, reconstruction, step, Clip(0.3))
    assert_same_sum(found.gradients, one_at_a_time(model, step, 0.3))


@named("name", ["bookkeeping", "hooks", "ghost", "auto"])
def test_the_choice_among_back_ends_is_made_on_random_masked_images(name):
    kinds: set[type] = set()

    def watched(model: nn.Module, batch: Batch) -> Tensor:
        kinds.add(type(batch))
        return reconstruction(model, batch)

    gradients = ChosenGradients(name, 3, 1, frames().random_batch)
    step = step_of([1, 1])
    found = gradients.clipped_sum(network(), watched, step, Clip(0.3))
    assert found.ignored == 0
    assert kinds == {MaskedBatch}
    assert not gradients.choices[0].refused


def test_the_probe_accepts_a_masked_autoencoder():
    told: list[str] = []
    check_independence(network(), reconstruction, noise(), told.append)
    assert len(told) == 6


def noise() -> MaskedBatch:
    return frames().random_batch(SAMPLES, rng())


def refusal(model: nn.Module, objective) -> str:
    with pytest.raises(PrivacyError) as refused:
        check_independence(model, objective, noise())
    return str(refused.value)


def test_targets_that_know_the_batch_are_refused():
    def centered(model: nn.Module, batch: MaskedBatch) -> Tensor:
        clean = batch.clean - batch.clean.mean(0) + batch.clean.mean()
        return reconstruction(model, MaskedBatch(**(vars(batch) | {"clean": clean})))

    assert "the objective" in refusal(network(), centered)


def test_one_mask_for_all_images_is_refused():
    def shared(model: nn.Module, batch: MaskedBatch) -> Tensor:
        kept = batch.kept[:1].expand_as(batch.kept)
        return reconstruction(model, MaskedBatch(**(vars(batch) | {"kept": kept})))

    assert "the objective" in refusal(network(), shared)


def test_a_loss_weighed_within_the_batch_is_refused():
    def weighed(model: nn.Module, batch: MaskedBatch) -> Tensor:
        losses = reconstruction(model, batch)
        return losses / losses.detach().sum()

    assert "the objective" in refusal(network(), weighed)


def test_a_decoder_that_looks_at_other_images_is_named():
    class Centered(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x - x.mean(0)

    model = network()
    model.decoder.norm = nn.Sequential(model.decoder.norm, Centered())
    assert "module 'decoder.norm.1' (Centered)" in refusal(model, reconstruction)


def test_images_that_meet_only_in_the_gradient_are_named():
    class MixedBackward(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx, gradient: Tensor) -> Tensor:
            return gradient - gradient.mean(0)

    class Mixed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return MixedBackward.apply(x)

    model = network()
    model.decoder.norm = nn.Sequential(model.decoder.norm, Mixed())
    message = refusal(model, reconstruction)
    assert "gradient" in message
    assert "module 'decoder.norm.1' (Mixed)" in message


def test_a_target_that_is_not_a_number_may_not_spoil_others():
    def guarded(model: nn.Module, batch: MaskedBatch) -> Tensor:
        losses = reconstruction(model, batch)
        return losses * float(batch.clean.isfinite().all())

    assert "the objective" in refusal(network(), guarded)


def test_a_private_fit_learns_to_reconstruct(private):
    data = frames(4, degrade=False)
    data.images[:] = data.images[:1].clone()
    model = build_masked_autoencoder("vit_micro", SIZE, 1)
    fixed = model.backbone.tokens.pos_embed.clone()

    def loss() -> float:
        with torch.no_grad():
            return float(reconstruction(model, data.batch(torch.arange(4))).mean())

    before = loss()
    trainer = private.trainer(data, clip=1.0, momentum=0.9, randomness=private.Quiet())
    trainer.fit(model, reconstruction, 20, 0.05, rng())
    assert loss() < 0.9 * before
    assert torch.equal(model.backbone.tokens.pos_embed, fixed)
    assert trainer.state().keys() == {n for n, p in model.named_parameters() if p.requires_grad}


def test_a_coupled_fit_is_refused_before_anything_is_spent(private):
    def averaged(model: nn.Module, batch: Batch) -> Tensor:
        losses = reconstruction(model, batch)
        return losses.mean().expand_as(losses)

    account = private.Purse(private.trainer(frames(4))._mechanism)
    trainer = private.trainer(frames(4), account=account)
    with pytest.raises(PrivacyError, match="the objective"):
        trainer.fit(network(), averaged, 1, 0.1, rng())
    assert not account.log


def test_masks_and_faults_of_a_private_fit_come_from_nobodys_seed(private):
    data, given = frames(3), []
    batch = data.batch

    def watched(rows, transform=None, generator=None):
        given.append(generator)
        return batch(rows, transform, generator)

    data.batch = watched
    public = rng()
    trainer = private.trainer(data)
    trainer.fit(build_masked_autoencoder("vit_micro", SIZE, 1), reconstruction, 2, 0.1, public)
    assert len(given) == 2
    assert all(generator is not None and generator is not public for generator in given)

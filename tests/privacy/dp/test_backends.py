"""Every back-end gives the sum of the reference, on every kind of model that we ship.

In double precision, where a wrong term cannot hide behind rounding. In single precision an input of
a ReLU may round to either side of zero, depending on how many images a convolution sees at once;
there the middle one of several draws is compared.
"""

import statistics

import pytest
import torch
from torch import Tensor, nn

from fedefm.config import DistillConfig
from fedefm.model.foundation import build_foundation
from fedefm.model.segmenter import build_segmenter
from fedefm.train.mask_loss import segmentation_objective
from fedefm.train.objective import Batch, Objective, classification, distillation
from privacy.dp.bookkeeping import BookkeepingGradients
from privacy.dp.ghost import GhostGradients
from privacy.dp.gradients import Clip, ClippedSum, Gradients, UnitBatch
from privacy.dp.hooks import HookGradients
from privacy.dp.loop import LoopGradients

CLASSES, SIZE = 3, 32
ALL_PRESENT = torch.ones(CLASSES, dtype=torch.bool)
SINGLE = [1, 1, 1, 1]
SEVERAL = [[2, 2, 2], [1, 3, 2]]  # as many frames of each unit, and not
MODELS = [
    pytest.param(kind, backbone, id=f"{kind}-{backbone}")
    for kind in ("trainable", "frozen", "segmenter")
    for backbone in ("resnet_micro", "vit_micro", "resnet10")
]
LARGER = pytest.param("trainable", "vit_tiny", id="trainable-vit_tiny")
ALL = [BookkeepingGradients(), HookGradients(), GhostGradients()]
JOINT = [BookkeepingGradients(), HookGradients()]
named = pytest.mark.parametrize


def model_of(kind: str, backbone: str, seed: int = 0, size: int = SIZE) -> nn.Module:
    """Away from initial zeros and ones, where some errors cannot be seen."""
    if kind == "segmenter":
        model = build_segmenter(backbone, CLASSES, size, seed=1)
    else:
        model = build_foundation(backbone, ["a", "b", "c"], size, kind, seed=1)
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=rng))
    return model.train()


def step_of(frames: list[int], kind: str, seed: int = 0, size: int = SIZE) -> UnitBatch:
    rng = torch.Generator().manual_seed(seed)
    counts = torch.tensor(frames)
    units = torch.repeat_interleave(torch.arange(len(frames)), counts)
    shape = (len(units), size, size) if kind == "segmenter" else (len(units),)
    labels = torch.randint(CLASSES, shape, generator=rng)
    images = torch.randn(len(units), 1, size, size, generator=rng)
    batch = Batch(images, labels, torch.arange(len(units)))
    return UnitBatch(batch, units, 1 / counts[units].float(), len(frames))


def objective_of(kind: str) -> Objective:
    return segmentation_objective if kind == "segmenter" else classification(ALL_PRESENT, 2.0)


def double(model: nn.Module, step: UnitBatch) -> tuple[nn.Module, UnitBatch]:
    batch = Batch(step.batch.images.double(), step.batch.labels, step.batch.rows)
    return model.double(), UnitBatch(batch, step.units, step.shares.double(), step.count)


def vector(found: ClippedSum) -> Tensor:
    return torch.cat([gradient.flatten() for gradient in found.gradients.values()])


def error(
    backend: Gradients, model: nn.Module, objective: Objective, step: UnitBatch, clip: Clip
) -> float:
    """Relative, of the sum as one vector, against the reference."""
    truth = LoopGradients().clipped_sum(model, objective, step, clip)
    found = backend.clipped_sum(model, objective, step, clip)
    assert found.gradients.keys() == truth.gradients.keys()
    assert found.ignored == truth.ignored
    torch.testing.assert_close(found.norms, truth.norms, equal_nan=True, rtol=1e-4, atol=0)
    assert clips_some(truth, clip)
    return float((vector(found) - vector(truth)).norm() / vector(truth).norm())


def clips_some(truth: ClippedSum, clip: Clip) -> bool:
    return bool((truth.norms > clip.norm).any())


@named("backend", ALL, ids=lambda b: b.name)
@named(("kind", "backbone"), [*MODELS, LARGER])
def test_flat_clipping_of_single_frames(backend, kind, backbone):
    model, step = double(model_of(kind, backbone), step_of(SINGLE, kind))
    assert error(backend, model, objective_of(kind), step, Clip(0.3)) < 1e-6


@named("frames", SEVERAL, ids=str)
@named("per_layer", [False, True], ids=["flat", "per_layer"])
@named("backend", JOINT, ids=lambda b: b.name)
@named(("kind", "backbone"), MODELS)
def test_frames_of_a_unit_are_clipped_together(backend, kind, backbone, per_layer, frames):
    model, step = double(model_of(kind, backbone), step_of(frames, kind))
    assert error(backend, model, objective_of(kind), step, Clip(0.3, per_layer)) < 1e-6


@named("backend", JOINT, ids=lambda b: b.name)
@named(("kind", "backbone"), MODELS)
def test_single_precision_is_enough(backend, kind, backbone):
    model = model_of(kind, backbone)
    errors = [
        error(backend, model, objective_of(kind), step_of([1, 2, 1], kind, seed), Clip(0.3))
        for seed in range(3)
    ]
    assert statistics.median(errors) < 1e-5


@named("gradient", ["detach", "through"])
@named("backend", JOINT, ids=lambda b: b.name)
@named("backbone", ["resnet_micro", "vit_micro"])
def test_distillation_whose_weights_come_from_features(backend, backbone, gradient):
    experts = [model_of("trainable", backbone, seed).double() for seed in (1, 2)]
    objective = distillation(experts, DistillConfig(gradient=gradient), ALL_PRESENT, 2.0)
    model, step = double(model_of("trainable", backbone), step_of([2, 1, 2], "trainable"))
    assert error(backend, model, objective, step, Clip(0.3)) < 1e-6


@named("backend", ALL, ids=lambda b: b.name)
@named("trained", ["blocks.3", "head"])
def test_only_the_last_blocks_are_trained(backend, trained):
    model, step = double(model_of("trainable", "vit_micro"), step_of(SINGLE, "trainable"))
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(("head.", f"backbone.{trained}.")))
    assert error(backend, model, objective_of("trainable"), step, Clip(0.05)) < 1e-6
    assert all(
        p.requires_grad == n.startswith(("head.", f"backbone.{trained}."))
        for n, p in model.named_parameters()
    )


@named("backend", JOINT, ids=lambda b: b.name)
def test_a_decoder_is_trained_on_a_frozen_backbone(backend):
    model, step = double(model_of("segmenter", "vit_micro"), step_of([2, 2], "segmenter"))
    model.backbone.requires_grad_(False)
    assert error(backend, model, segmentation_objective, step, Clip(0.3)) < 1e-6


@named("bad", [float("nan"), float("inf")])
@named("backend", ALL, ids=lambda b: b.name)
def test_a_bad_frame_takes_its_unit_away_and_no_other(backend, bad):
    model, step = double(model_of("trainable", "vit_micro"), step_of(SINGLE, "trainable"))
    step.batch.images[2, 0, 5, 5] = bad
    found = backend.clipped_sum(model, objective_of("trainable"), step, Clip(0.3))
    without = step.only(torch.tensor([True, True, False, True]))
    truth = LoopGradients().clipped_sum(model, objective_of("trainable"), without, Clip(0.3))
    torch.testing.assert_close(vector(found), vector(truth))
    assert found.ignored == 1
    assert found.norms.isnan().tolist() == [False, False, True, False]


@named("backend", ALL, ids=lambda b: b.name)
def test_a_loss_that_is_not_finite_takes_its_unit_away(backend):
    def sometimes_infinite(model: nn.Module, batch: Batch) -> Tensor:
        losses = objective_of("trainable")(model, batch)
        return losses / (batch.rows != 1)

    model, step = double(model_of("trainable", "resnet_micro"), step_of(SINGLE, "trainable"))
    found = backend.clipped_sum(model, sometimes_infinite, step, Clip(0.3))
    truth = LoopGradients().clipped_sum(model, sometimes_infinite, step, Clip(0.3))
    torch.testing.assert_close(vector(found), vector(truth))
    assert found.ignored == truth.ignored == 1


@named("backend", [LoopGradients(), *ALL], ids=lambda b: b.name)
def test_where_no_unit_is_finite_the_sum_is_zero(backend):
    model, step = model_of("trainable", "resnet_micro"), step_of(SINGLE, "trainable")
    step.batch.images.fill_(torch.nan)
    found = backend.clipped_sum(model, objective_of("trainable"), step, Clip(0.3))
    assert not vector(found).any()
    assert found.ignored == len(SINGLE)


@named("backend", [LoopGradients(), *ALL], ids=lambda b: b.name)
def test_nothing_is_left_behind_on_the_model(backend):
    model = model_of("trainable", "vit_micro")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    attributes = {name: set(vars(module)) for name, module in model.named_modules()}
    backend.clipped_sum(model, objective_of("trainable"), step_of(SINGLE, "trainable"), Clip(0.3))
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])
    for name, module in model.named_modules():
        assert set(vars(module)) == attributes[name]
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
        assert not module._backward_hooks
    for parameter in model.parameters():
        assert parameter.grad is None
        assert not vars(parameter)
        assert parameter.requires_grad


@named("backend", ALL, ids=lambda b: b.name)
def test_a_refused_objective_leaves_the_model_as_it_was(backend):
    model = model_of("trainable", "vit_micro")

    def broken(model: nn.Module, batch: Batch) -> Tensor:
        model(batch.images)
        raise KeyError("label")

    with pytest.raises(Exception, match="label"):
        backend.clipped_sum(model, broken, step_of(SINGLE, "trainable"), Clip(0.3))
    assert not any(module._forward_hooks for module in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())
    found = backend.clipped_sum(
        model, objective_of("trainable"), step_of(SINGLE, "trainable"), Clip(0.3)
    )
    assert found.ignored == 0

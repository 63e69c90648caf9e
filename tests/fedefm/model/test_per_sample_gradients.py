"""Opacus' per-sample gradients equal those of one sample at a time, for every small model.

Differential privacy rests on this: a gradient that is missed or wrong is not clipped.
"""

import pytest
import torch
from opacus import GradSampleModule
from opacus.validators import ModuleValidator
from torch import Tensor, nn
from torch.nn import functional

from fedefm.model.foundation import build_foundation
from fedefm.model.segmenter import build_segmenter

SAMPLES, CLASSES = 3, 3


def foundation(backbone: str) -> nn.Module:
    return build_foundation(backbone, ["a", "b", "c"], 32, "trainable", seed=1)


def segmenter(backbone: str) -> nn.Module:
    return build_segmenter(backbone, CLASSES, 32, seed=1)


MODELS = [
    pytest.param(make, backbone, id=f"{make.__name__}-{backbone}")
    for make, names in (
        (foundation, ("resnet_micro", "vit_micro", "resnet10")),
        (segmenter, ("resnet_micro", "vit_micro", "resnet10")),
    )
    for backbone in names
]


@pytest.mark.parametrize(("make", "backbone"), MODELS)
@pytest.mark.filterwarnings("ignore:Full backward hook")
def test_hooks_agree_with_one_sample_at_a_time(make, backbone):
    torch.manual_seed(0)
    model = shaken(make(backbone))
    images = torch.randn(SAMPLES, 1, 32, 32)
    assert not ModuleValidator.validate(model)
    assert worst_error(model, images) < 1e-5


@pytest.mark.parametrize("backbone", ["resnet_micro", "vit_micro"])
@pytest.mark.filterwarnings("ignore:Full backward hook")
def test_images_in_another_memory_order_do_no_harm(backbone):
    torch.manual_seed(0)
    turned = torch.randn(SAMPLES, 1, 32, 32).transpose(2, 3)
    assert worst_error(shaken(foundation(backbone)), turned) < 1e-5
    assert worst_error(shaken(segmenter(backbone)), turned) < 1e-5


def worst_error(model: nn.Module, images: Tensor) -> float:
    """Largest relative error over the parameters, missing gradients counting as infinite."""
    expected = [gradients(model, images[i : i + 1], i) for i in range(len(images))]
    hooked = GradSampleModule(model, loss_reduction="sum")
    out = hooked(images)
    sum(loss(out[i : i + 1], i) for i in range(len(images))).backward()
    errors = []
    for name, parameter in model.named_parameters():
        truth = torch.stack([sample[name] for sample in expected])
        if parameter.grad_sample is None:
            return float("inf")
        errors.append(float((parameter.grad_sample - truth).norm() / truth.norm()))
    return max(errors)


def gradients(model: nn.Module, image: Tensor, index: int) -> dict[str, Tensor]:
    model.zero_grad()
    loss(model(image), index).backward()
    found = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    model.zero_grad()
    return found


def loss(out: Tensor, index: int) -> Tensor:
    """A sample's own cross-entropy, for logits of an image or of its pixels."""
    target = torch.arange(out[:, 0].numel()).reshape(out[:, 0].shape) + index
    return functional.cross_entropy(out, target % CLASSES)


def shaken(model: nn.Module) -> nn.Module:
    """Away from initial zeros and ones, where some errors cannot be seen."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return model

"""The probe finds every known way in which samples of a batch see each other, and nothing else."""

import time
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fedefm.config import DistillConfig
from fedefm.data.dataset import Batch
from fedefm.errors import PrivacyError
from fedefm.model.dp_safe import make_dp_safe
from fedefm.model.foundation import build_foundation
from fedefm.model.segmenter import build_segmenter
from fedefm.train.mask_loss import segmentation_objective
from fedefm.train.objective import classification, distillation
from privacy.dp.probe import CHECKS, SAMPLES, check_independence, random_batch

SIZE, CLASSES = 16, 3
NAMES = ["a", "b", "c"]
SMALL = ("resnet_micro", "vit_micro", "resnet10")


def cross_entropy(model: nn.Module, batch: Batch) -> Tensor:
    return F.cross_entropy(model(batch.images), batch.labels, reduction="none")


def net(*middle: nn.Module) -> nn.Sequential:
    """Convolution, whatever is to be tried, then a head."""
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), *middle, nn.AdaptiveAvgPool2d(2), nn.Flatten(), head()
    )


def head() -> nn.Module:
    return nn.Linear(24, CLASSES)


def check(model: nn.Module, objective: Callable[..., Tensor] = cross_entropy) -> None:
    check_independence(model, objective, random_batch((1, SIZE, SIZE), CLASSES))


# --- no false alarm


@pytest.mark.parametrize("backbone", SMALL)
@pytest.mark.parametrize("kind", ["trainable", "frozen"])
def test_foundations_pass_with_classification(backbone: str, kind: str) -> None:
    model = build_foundation(backbone, NAMES, 32, kind, seed=1)
    present = torch.tensor([True, True, False])
    check_independence(model, classification(present, 4.0), random_batch((1, 32, 32), CLASSES))


@pytest.mark.parametrize("backbone", ["resnet_micro", "vit_micro"])
@pytest.mark.parametrize(
    "settings",
    [
        {"weights": "emd", "gradient": "through", "pool": 2},
        {"weights": "emd", "gradient": "detach", "pool": None, "node_weights": "uniform"},
        {"weights": "uniform"},
    ],
)
def test_foundations_pass_with_distillation(backbone: str, settings: dict) -> None:
    student, *experts = (build_foundation(backbone, NAMES, 32, "trainable", s) for s in range(3))
    config = DistillConfig(beta=0.5, **settings)
    objective = distillation(experts, config, torch.ones(CLASSES, dtype=torch.bool), 0.0)
    check_independence(student, objective, random_batch((1, 32, 32), CLASSES))


@pytest.mark.parametrize("backbone", SMALL)
def test_segmenters_pass(backbone: str) -> None:
    model = build_segmenter(backbone, CLASSES, 32, seed=1)
    batch = random_batch((1, 32, 32), CLASSES, masks=True)
    check_independence(model, segmentation_objective, batch)


@pytest.mark.slow
@pytest.mark.parametrize("backbone", ["vit_tiny", "resnet18", "resnet50"])
def test_larger_models_pass(backbone: str) -> None:
    size = 64
    foundation = build_foundation(backbone, NAMES, size, "trainable", seed=2)
    objective = classification(torch.ones(CLASSES, dtype=torch.bool), 0.0)
    check_independence(foundation, objective, random_batch((1, size, size), CLASSES))
    segmenter = build_segmenter(backbone, CLASSES, size, seed=2)
    batch = random_batch((1, size, size), CLASSES, masks=True)
    check_independence(segmenter, segmentation_objective, batch)


class Blurred(nn.Module):
    """Additive noise of many kinds, drawn anew for every sample."""

    def forward(self, x: Tensor) -> Tensor:
        x = x + 0.1 * torch.randn_like(x) + 0.1 * torch.rand(x.shape)
        keep = torch.empty(len(x), 1, 1, 1).bernoulli_(0.7)  # stochastic depth
        chosen = torch.rand(len(x), x.shape[-1]).argsort(1)[:, :, None, None]  # random masking
        columns = chosen.transpose(1, 3).expand(-1, x.shape[1], x.shape[2], -1)
        return x + keep * x.gather(3, columns) + torch.normal(0.0, 0.1, x.shape)


@pytest.mark.parametrize(
    "middle",
    [
        nn.Dropout(0.5),
        nn.Dropout2d(0.5),
        nn.AlphaDropout(0.3),
        nn.RReLU(),
        nn.ReLU(inplace=True),
        nn.GroupNorm(2, 6),
        nn.InstanceNorm2d(6),
        Blurred(),
    ],
    ids=lambda module: type(module).__name__,
)
def test_randomness_and_safe_layers_are_no_alarm(middle: nn.Module) -> None:
    check(net(middle))


def test_a_rounding_that_switches_a_relu_once_is_no_alarm() -> None:
    passes: list[int] = []

    class Switched(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx, gradient: Tensor) -> Tensor:
            first_smaller_one = len(gradient) == SAMPLES - 1 and not passes
            passes.extend([1] * first_smaller_one)
            return gradient * (1.03 if first_smaller_one else 1.0)

    check(net(Function(Switched.apply)))
    assert passes == [1]


def test_attention_with_tokens_first_and_dropout_is_no_alarm() -> None:
    class Attentive(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(8, 2, dropout=0.2)
            self.out = nn.Linear(8, CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            tokens = x.flatten(1).unflatten(1, (-1, 8)).transpose(0, 1)  # (N, B, 8)
            return self.out(self.attention(tokens, tokens, tokens)[0].mean(0))

    check(Attentive())


def test_a_frozen_batch_norm_that_stays_in_evaluation_passes() -> None:
    class Kept(nn.BatchNorm2d):
        def train(self, mode: bool = True) -> "Kept":
            return super().train(False)

    check(net(Kept(6)))


def test_a_model_of_which_only_the_head_is_trained_passes() -> None:
    model = net(nn.GroupNorm(2, 6)).requires_grad_(False)
    model[-1].requires_grad_(True)
    check(model)


def test_a_counter_of_steps_and_a_mask_with_infinities_are_no_alarm() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("steps", torch.zeros(()))
            self.register_buffer("mask", torch.tensor([0.0, -torch.inf]))

        def forward(self, x: Tensor) -> Tensor:
            self.steps += 1
            return x

    check(net(Counting()))


# --- what couples samples, and who is named for it


def refusal(model: nn.Module, objective: Callable[..., Tensor] = cross_entropy) -> str:
    with pytest.raises(PrivacyError) as caught:
        check(model, objective)
    return str(caught.value)


def frozen(module: nn.Module) -> nn.Module:
    return module.requires_grad_(False)


@pytest.mark.parametrize(
    "norm",
    [
        nn.BatchNorm2d(6),
        nn.BatchNorm2d(6, affine=False),
        nn.BatchNorm2d(6, track_running_stats=False),
        nn.BatchNorm2d(6, momentum=None),
        frozen(nn.BatchNorm2d(6)),
        nn.SyncBatchNorm(6),
        nn.LazyBatchNorm2d(),
    ],
)
def test_batch_norm_in_any_form_is_named_with_its_replacement(norm: nn.Module) -> None:
    model = net(nn.ReLU(), norm, nn.Conv2d(6, 6, 1))
    if isinstance(norm, nn.LazyBatchNorm2d):
        model(torch.zeros(2, 1, SIZE, SIZE))

    message = refusal(model)

    assert "module '2'" in message
    assert "GroupNorm" in message
    assert "make_dp_safe" in message


def test_the_replacement_for_batch_norm_passes() -> None:
    model = net(nn.BatchNorm2d(6))
    make_dp_safe(model)
    check(model)


def test_batch_norm_deep_inside_is_named_by_its_path() -> None:
    inner = nn.Sequential(nn.GroupNorm(2, 6), nn.Sequential(nn.ReLU(), nn.BatchNorm2d(6)))
    assert "module '1.1.1' (BatchNorm2d)" in refusal(net(inner))


def test_running_statistics_are_a_leak_even_where_no_output_moves() -> None:
    message = refusal(net(nn.InstanceNorm2d(6, track_running_stats=True)))

    assert "module '1' (InstanceNorm2d)" in message
    assert "track_running_stats=False" in message


class Centered(nn.Module):
    """Takes the mean over the batch away, between two convolutions of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.before, self.after = nn.Conv2d(6, 6, 1), nn.Conv2d(6, 6, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.before(x)
        return self.after(y - y.mean(0))


def test_a_mean_over_the_batch_blames_the_module_that_takes_it() -> None:
    message = refusal(net(nn.GroupNorm(2, 6), Centered(), nn.ReLU()))
    assert "module '2' (Centered)" in message


class Function(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self._function = function

    def forward(self, x: Tensor) -> Tensor:
        return self._function(x)


@pytest.mark.parametrize(
    "function",
    [
        lambda x: x - x.mean(0),
        lambda x: x / x.abs().max(),
        lambda x: x + x.roll(1, 0),
        lambda x: torch.cat([x[:1], x[1:] + 0.01 * x[:-1]]),
        lambda x: torch.cat([x[:2].flip(0), x[2:]]) + x,
        lambda x: 0.7 * x + 0.3 * x[torch.randperm(len(x))],  # mixup
        lambda x: x / len(x),
        lambda x: x + (len(x) == 1),
        lambda x: x * (1 + 1e-9 * x.mean()),
        lambda x: x if torch.isfinite(x).all() else torch.zeros_like(x),
    ],
    ids=[
        "centered",
        "maximum",
        "cycle",
        "chain",
        "pair",
        "mixup",
        "size",
        "alone",
        "weak",
        "guard",
    ],
)
def test_whatever_mixes_samples_is_named(function: Callable[[Tensor], Tensor]) -> None:
    assert "module '2' (Function)" in refusal(net(nn.ReLU(), Function(function)))


class MixedBackward(torch.autograd.Function):
    """The identity, whose gradient loses its mean over the batch."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return gradient - gradient.mean(0)


class ScaledBackward(MixedBackward):
    """A gradient divided by the batch."""

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        return gradient / len(gradient)


class NormedWeight(torch.autograd.Function):
    """A linear layer whose weights' gradient is normalized, while its inputs' is right."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return x @ weight.T

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        of_weight = gradient.T @ x
        return gradient @ weight, of_weight / of_weight.norm()


@pytest.mark.parametrize("function", [MixedBackward, ScaledBackward])
def test_samples_that_meet_only_in_the_gradient_are_named(function: type) -> None:
    message = refusal(net(nn.ReLU(), Function(function.apply), nn.Conv2d(6, 6, 1)))
    assert "gradient" in message
    assert "module '2' (Function)" in message


def test_a_gradient_that_is_mixed_around_in_place_layers_is_still_refused() -> None:
    assert "gradient" in refusal(net(nn.ReLU(inplace=True), Function(MixedBackward.apply)))


def test_a_weight_whose_own_gradient_mixes_samples_is_refused() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.randn(24, 24))

        def forward(self, x: Tensor) -> Tensor:
            return NormedWeight.apply(x, self.weight)

    model = nn.Sequential(nn.AdaptiveAvgPool2d((4, 6)), nn.Flatten(), Odd(), head())
    assert "gradient" in refusal(model)


# --- objectives


def supervised_contrast(model: nn.Module, batch: Batch) -> Tensor:
    features = F.normalize(model(batch.images), dim=1)
    scores = (features @ features.T / 0.1).masked_fill(torch.eye(len(features)).bool(), -torch.inf)
    alike = (batch.labels[:, None] == batch.labels) & ~torch.eye(len(features)).bool()
    chances = scores.log_softmax(1).masked_fill(~alike, 0.0)
    return -chances.sum(1) / alike.sum(1).clamp_min(1)


def info_nce(model: nn.Module, batch: Batch) -> Tensor:
    first = F.normalize(model(batch.images), dim=1)
    second = F.normalize(model(batch.images.flip(-1)), dim=1)
    return F.cross_entropy(first @ second.T, torch.arange(len(first)), reduction="none")


def averaged(model: nn.Module, batch: Batch) -> Tensor:
    losses = cross_entropy(model, batch)
    return losses.mean().expand_as(losses)


def divided(model: nn.Module, batch: Batch) -> Tensor:
    return cross_entropy(model, batch) / len(batch.labels)


def balanced(model: nn.Module, batch: Batch) -> Tensor:
    counts = torch.bincount(batch.labels, minlength=CLASSES)
    return cross_entropy(model, batch) / counts[batch.labels]


def mixed_up(model: nn.Module, batch: Batch) -> Tensor:
    images = 0.8 * batch.images + 0.2 * batch.images.flip(0)
    return F.cross_entropy(model(images), batch.labels, reduction="none")


def hardest(model: nn.Module, batch: Batch) -> Tensor:
    losses = cross_entropy(model, batch)
    return losses * (losses >= losses.median())


@pytest.mark.parametrize(
    "objective", [supervised_contrast, info_nce, averaged, divided, balanced, mixed_up, hardest]
)
def test_objectives_that_look_at_the_batch_are_named(objective: Callable[..., Tensor]) -> None:
    message = refusal(net(nn.GroupNorm(2, 6)), objective)
    assert f"the objective '{objective.__name__}'" in message
    assert "one loss for each sample" in message


@pytest.mark.parametrize(
    "shape",
    [
        lambda losses: losses.mean(),
        lambda losses: losses[:, None],
        lambda losses: losses[:-1],
        lambda losses: losses.mean()[None],
        lambda losses: losses.argsort(),
    ],
)
def test_losses_of_another_shape_are_refused(shape: Callable[[Tensor], Tensor]) -> None:
    def objective(model: nn.Module, batch: Batch) -> Tensor:
        return shape(cross_entropy(model, batch))

    assert "losses" in refusal(net(), objective)


def test_an_objective_that_remembers_is_refused() -> None:
    seen: list[Tensor] = []

    def objective(model: nn.Module, batch: Batch) -> Tensor:
        seen.append(batch.images.mean())
        return cross_entropy(model, batch) + sum(seen)

    assert "no epsilon can be claimed" in refusal(net(), objective)


@pytest.mark.parametrize("through", [lambda p: p, lambda p: p.data])
def test_weights_that_follow_the_data_in_a_forward_are_refused(through: Callable) -> None:
    class Tracking(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mean = nn.Parameter(torch.zeros(6))

        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                through(self.mean).lerp_(x.mean((0, 2, 3)), 0.1)
            return x

    message = refusal(net(Tracking()))
    assert "module '1' (Tracking)" in message
    assert "'mean'" in message


@pytest.mark.parametrize("place", range(SAMPLES))
def test_a_buffer_that_keeps_one_sample_is_refused(place: int) -> None:
    class Keeping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("kept", torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            self.kept = x[min(place, len(x) - 1)].detach().mean()
            return x

    message = refusal(net(Keeping()))
    assert "module '1' (Keeping)" in message
    assert "'kept'" in message


def test_a_count_of_the_images_seen_is_refused() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("images", torch.zeros(()), persistent=False)

        def forward(self, x: Tensor) -> Tensor:
            self.images += len(x)
            return x

    assert "'images'" in refusal(net(Counting()))


def test_a_model_that_cannot_take_a_smaller_batch_is_refused_in_words() -> None:
    message = refusal(net(Function(lambda x: x.view(SAMPLES, 6, SIZE, SIZE))))
    assert "batches of any size" in message


def test_a_model_that_fails_is_refused_in_words() -> None:
    message = refusal(nn.Sequential(nn.Flatten(), nn.Linear(7, CLASSES)))
    assert "cannot be passed through the model" in message


def test_what_an_initial_zero_hides_is_found() -> None:
    model = net(nn.BatchNorm2d(6))
    nn.init.zeros_(model[-1].weight)
    nn.init.zeros_(model[1].weight)
    assert "BatchNorm2d" in refusal(model)


# --- the model afterwards


@pytest.mark.parametrize("middle", [nn.GroupNorm(2, 6), nn.BatchNorm2d(6), nn.Dropout(0.5)])
@pytest.mark.parametrize("training", [True, False])
def test_the_model_and_the_global_generator_are_left_as_they_were(
    middle: nn.Module, training: bool
) -> None:
    model = net(middle, nn.BatchNorm2d(6, track_running_stats=False))
    cross_entropy(model, random_batch((1, SIZE, SIZE), CLASSES)).mean().backward()
    model.train(training)
    model[0].train(not training)
    model[0].weight.requires_grad_(False)
    before = traits(model)

    with pytest.raises(PrivacyError):
        check(model)

    after = traits(model)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def traits(model: nn.Module) -> dict[str, Tensor]:
    found = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for name, parameter in model.named_parameters():
        found[f"{name} at"] = torch.tensor(parameter.data_ptr())
        found[f"{name} trained"] = torch.tensor(parameter.requires_grad)
        if parameter.grad is not None:
            found[f"{name} gradient"] = parameter.grad.clone()
    for name, buffer in model.named_buffers():
        found[f"{name} at"] = torch.tensor(buffer.data_ptr())
    for name, module in model.named_modules():
        found[f"{name} mode"] = torch.tensor(module.training)
        found[f"{name} hooks"] = torch.tensor(
            [len(module._forward_hooks), len(module._forward_pre_hooks)]
        )
    found["generator"] = torch.get_rng_state()
    return found


def test_tells_which_checks_hold_in_order() -> None:
    told: list[str] = []
    batch = random_batch((1, SIZE, SIZE), CLASSES)
    check_independence(net(nn.GroupNorm(2, 6)), cross_entropy, batch, told.append)
    assert tuple(told) == CHECKS


def test_too_small_a_batch_is_the_callers_mistake() -> None:
    with pytest.raises(ValueError, match="samples"):
        check_independence(net(), cross_entropy, random_batch((1, 8, 8), 2, samples=2))


def test_takes_less_than_a_second_on_a_small_model() -> None:
    model = build_foundation("resnet_micro", NAMES, 32, "trainable", seed=1)
    objective = classification(torch.ones(CLASSES, dtype=torch.bool), 0.0)
    batch = random_batch((1, 32, 32), CLASSES)
    started = time.process_time()
    check_independence(model, objective, batch)
    assert time.process_time() - started < 2  # seconds; 0.1 on a free core

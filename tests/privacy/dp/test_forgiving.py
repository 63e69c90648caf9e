"""A patient for whom a computation fails counts as zero, and nobody can hear it."""

import pytest
import torch
from torch import Tensor, nn

from fedefm.errors import ModelError, PrivacyError
from fedefm.train.objective import Batch
from privacy.dp.bookkeeping import BookkeepingGradients
from privacy.dp.forgiving import checked_sum, forgiving_sum
from privacy.dp.ghost import GhostGradients
from privacy.dp.gradients import Clip, ClippedSum, Gradients, UnitBatch
from privacy.dp.hooks import HookGradients
from privacy.dp.loop import LoopGradients
from privacy.dp.sampling import unit_batch

BAD = 7.0  # the pixel of the patient for whom the objective fails
CLIP = Clip(1.0)
BACKENDS = [LoopGradients(), HookGradients(), GhostGradients(), BookkeepingGradients()]


def squares(model: nn.Module, batch: Batch) -> Tensor:
    """A loss that a neighbor's weights could bring about: it fails for one image."""
    if bool((batch.images == BAD).any()):
        raise ModelError(f"too large in 1 of {len(batch.images)} samples")
    return model(batch.images.flatten(1)).square().sum(dim=1)


def step_of(*pixels: float) -> UnitBatch:
    images = torch.tensor(pixels)[:, None, None, None].expand(-1, 1, 2, 2).contiguous()
    count = len(pixels)
    return unit_batch(Batch(images, torch.zeros(count).long(), torch.arange(count)), [1] * count)


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Linear(4, 3)


@pytest.mark.parametrize("backend", BACKENDS, ids=lambda backend: backend.name)
def test_who_fails_counts_as_zero_and_the_others_as_without_it(
    backend: Gradients, model: nn.Module
) -> None:
    without = forgiving_sum(backend, model, squares, step_of(0.5, -1.5), CLIP)
    found = forgiving_sum(backend, model, squares, step_of(0.5, BAD, -1.5), CLIP)
    assert (found.ignored, without.ignored) == (1, 0)
    for name, total in without.gradients.items():
        torch.testing.assert_close(found.gradients[name], total)


def test_where_all_fail_the_sum_is_zero(model: nn.Module) -> None:
    found = forgiving_sum(LoopGradients(), model, squares, step_of(BAD, BAD), CLIP)
    assert found.ignored == 2
    assert all(not total.any() for total in found.gradients.values())


def test_on_random_images_a_failure_is_heard(model: nn.Module) -> None:
    with pytest.raises(ModelError):
        checked_sum(LoopGradients(), model, squares, step_of(BAD), CLIP)


class Unclipped(LoopGradients):
    """Gives ten times what it may."""

    name = "unclipped"

    def clipped_sum(self, *arguments: object) -> ClippedSum:
        found = super().clipped_sum(*arguments)  # type: ignore[arg-type]
        larger = {name: 10 * total for name, total in found.gradients.items()}
        return ClippedSum(larger, found.norms, found.ignored)


def test_a_sum_beyond_the_clip_is_taken_again_unit_by_unit(model: nn.Module) -> None:
    step = step_of(0.5, -1.5)
    found = forgiving_sum(Unclipped(), model, squares, step, CLIP)
    right = LoopGradients().clipped_sum(model, squares, step, CLIP)
    for name, total in right.gradients.items():
        torch.testing.assert_close(found.gradients[name], total)


def test_ghost_refuses_where_its_norm_would_be_lost_to_rounding() -> None:
    """Positions that are nearly equal, with gradients of opposite signs: the products cancel."""
    torch.manual_seed(0)
    positions, width = 64, 64
    model = nn.Linear(width, width)
    signs = torch.where(torch.arange(positions) % 2 == 0, 1.0, -1.0)[:, None]

    def losses(model: nn.Module, batch: Batch) -> Tensor:
        return 1e3 * (model(batch.images[:, 0]) * signs).sum(dim=(1, 2))

    images = 0.7 + 1e-4 * torch.randn(1, 1, positions, width)
    step = unit_batch(Batch(images, torch.zeros(1).long(), torch.arange(1)), [1])
    with pytest.raises(PrivacyError, match="lost a norm to rounding"):
        GhostGradients().clipped_sum(model, losses, step, CLIP)
    found = forgiving_sum(GhostGradients(), model, losses, step, CLIP)
    assert torch.cat([g.flatten() for g in found.gradients.values()]).norm() <= 1

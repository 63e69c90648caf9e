import logging

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from fedefm.errors import PrivacyError
from fedefm.train.objective import Batch, noise_batch
from privacy.dp import choose as choosing
from privacy.dp.automatic import ChosenGradients
from privacy.dp.choose import choose
from privacy.dp.gradients import Clip, UnitBatch
from privacy.dp.loop import LoopGradients

CLIP = Clip(0.5)


def cross_entropy(model: nn.Module, batch: Batch) -> Tensor:
    return functional.cross_entropy(model(batch.images), batch.labels, reduction="none")


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.Tanh(), nn.Linear(8, 3))


def noise(samples: int, rng: torch.Generator) -> Batch:
    return noise_batch((1, 4, 4), 3, False, samples, rng)


def draw(number: int) -> UnitBatch:
    batch = noise(4, torch.Generator().manual_seed(number))
    return UnitBatch(batch, torch.arange(4), torch.ones(4), 4)


class Fake(LoopGradients):
    """A back-end that is never slow, and may be wrong or refuse."""

    name = "fake"

    def __init__(self, factor: float = 1.0, refuses: bool = False) -> None:
        self.factor, self.refuses, self.calls = factor, refuses, 0

    def clipped_sum(self, model, objective, step, clip):
        self.calls += 1
        if self.refuses:
            raise PrivacyError("module x is beyond me")
        found = super().clipped_sum(model, objective, step, clip)
        for gradient in found.gradients.values():
            gradient *= self.factor
        return found


class Slow(Fake):
    name = "slow"

    def clipped_sum(self, model, objective, step, clip):
        for _ in range(20):
            found = super().clipped_sum(model, objective, step, clip)
        return found


def test_the_choice_and_its_times_are_told(caplog):
    with caplog.at_level(logging.INFO, logger="privacy.dp.choose"):
        choice = choose(model(), cross_entropy, draw, CLIP)
    assert choice.seconds[choice.gradients.name] == min(choice.seconds.values())
    assert {"loop", "bookkeeping"} <= choice.seconds.keys()
    assert caplog.messages == [f"gradients by {choice}"]
    assert f"{choice.gradients.name} 1.00 x" in str(choice)


def test_one_that_is_wrong_is_left_out_however_fast():
    choice = choose(model(), cross_entropy, draw, CLIP, backends=[Fake(1.01), LoopGradients()])
    assert choice.gradients.name == "loop"
    assert "is off by" in choice.refused["fake"]


def test_one_that_refuses_is_left_out_with_its_reason():
    refusing = Fake(refuses=True)
    choice = choose(model(), cross_entropy, draw, CLIP, backends=[refusing, LoopGradients()])
    assert choice.gradients.name == "loop"
    assert choice.refused == {"fake": "module x is beyond me"}
    assert refusing.calls == 1


def test_one_that_is_slow_is_given_up_early():
    slow = Slow()
    choose(model(), cross_entropy, draw, CLIP, backends=[slow, LoopGradients()])
    assert slow.calls == 20 * 2  # to warm up, and once timed


def test_hooks_are_not_tried_where_memory_might_not_do(monkeypatch):
    monkeypatch.setattr(choosing, "WRITTEN_OUT", 4 * 4 * 100)
    choice = choose(model(), cross_entropy, draw, CLIP)
    assert "hooks" not in choice.seconds
    assert "GiB" in choice.refused["hooks"]
    assert choose(model(), cross_entropy, draw, CLIP, "hooks").gradients.name == "hooks"


def test_a_wanted_one_is_taken_though_it_is_slow():
    choice = choose(model(), cross_entropy, draw, CLIP, "slow", [Slow(), LoopGradients()])
    assert choice.gradients.name == "slow"


@pytest.mark.parametrize("bad", [Fake(1.01), Fake(refuses=True)])
def test_a_wanted_one_that_cannot_is_an_error(bad):
    with pytest.raises(PrivacyError, match=r"fake: (its sum is off|module x)"):
        choose(model(), cross_entropy, draw, CLIP, "fake", [bad, LoopGradients()])


def test_the_reference_needs_no_trial():
    def never(number: int) -> UnitBatch:
        raise AssertionError

    assert choose(model(), cross_entropy, never, CLIP, "loop").gradients.name == "loop"


def test_an_unknown_one_is_an_error():
    with pytest.raises(PrivacyError, match="auto, bookkeeping, loop, hooks, ghost"):
        choose(model(), cross_entropy, draw, CLIP, "fast")


def test_the_global_generator_is_left_alone():
    dropping = nn.Sequential(model(), nn.Dropout(0.5))
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    choose(dropping, cross_entropy, draw, CLIP)
    assert torch.equal(torch.rand(1), expected)


def test_patients_images_are_not_used_to_choose():
    seen = []

    def watching(model: nn.Module, batch: Batch) -> Tensor:
        seen.append(batch)
        return cross_entropy(model, batch)

    step = draw(7)
    step.batch.images.fill_(7.0)
    gradients = ChosenGradients("auto", units=3, frames=2, random_batch=noise)
    network = model()
    gradients.clipped_sum(network, watching, step, CLIP)
    choosing = [batch for batch in seen if not (batch.images == 7).any()]
    assert max(len(batch.images) for batch in choosing) == 6
    assert all((batch.images == 7).all() for batch in seen if all(batch is not c for c in choosing))
    before = len(seen)
    gradients.clipped_sum(network, watching, step, CLIP)
    assert len(seen) - before <= len(step.units)  # chosen once
    assert len(gradients.choices) == 1


def test_a_new_set_of_trained_parameters_is_a_new_choice():
    gradients, network = ChosenGradients("bookkeeping", 4, 1, noise), model()
    gradients.clipped_sum(network, cross_entropy, draw(0), CLIP)
    network[1].requires_grad_(False)
    found = gradients.clipped_sum(network, cross_entropy, draw(0), CLIP)
    truth = LoopGradients().clipped_sum(network, cross_entropy, draw(0), CLIP)
    for name, gradient in truth.gradients.items():
        torch.testing.assert_close(found.gradients[name], gradient)
    assert [choice.gradients.name for choice in gradients.choices] == ["bookkeeping"] * 2

"""Scores against counting by hand."""

import pytest
import torch
from torch import nn

from fedefm.train.measure import ACCURACY, Yardstick, measure_on


class Always(nn.Module):
    """Says the same class for every image; remembers in which mode it was asked."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, images):
        self.asked_in_training = self.training
        return nn.functional.one_hot(torch.full((len(images),), self.answer), 4).float()


def test_right_answers_are_counted_over_sites_by_images(world):
    data = {"a": world.images_of(1, 300), "b": world.images_of(2, 100)}
    assert ACCURACY.points(Always(1), data["a"]) == 300
    assert ACCURACY.over(Always(1), data) == 0.75
    assert ACCURACY.over(Always(3), data) == 0.0


def test_measuring_does_not_change_the_mode(world):
    for mode in (True, False):
        model = Always(0).train(mode)
        ACCURACY.points(model, world.images_of(0))
        assert model.training is mode
        assert model.asked_in_training is False


def test_each_image_is_rounded_by_itself_to_whole_points(world):
    data = world.images_of(0, 10)
    values = torch.linspace(-3, 1, 10)  # what is far below nothing counts as -1
    fine = Yardstick("fine", point=1e-4, score=lambda model, batch: values[batch.rows])
    wanted = sum(round(max(value, -1.0) * 1e4) for value in values.tolist())
    assert fine.points(Always(0), data) == wanted
    assert fine.mean(wanted, 10) == pytest.approx(values.clamp(-1).mean().item(), abs=1e-4)
    measure = measure_on(fine, {"validation": data, "test": None})
    assert measure(Always(0), "validation") == (wanted, 10)
    assert measure(Always(0), "test") == (0, 0)

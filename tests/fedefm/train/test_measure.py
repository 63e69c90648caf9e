"""Accuracy against counting by hand."""

import torch
from torch import nn

from fedefm.train.measure import correct, pooled_accuracy


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
    assert correct(Always(1), data["a"]) == 300
    assert pooled_accuracy(Always(1), data) == 0.75
    assert pooled_accuracy(Always(3), data) == 0.0


def test_measuring_does_not_change_the_mode(world):
    for mode in (True, False):
        model = Always(0).train(mode)
        correct(model, world.images_of(0))
        assert model.training is mode
        assert model.asked_in_training is False

"""A batch keeps its kind, whatever is done to it."""

from dataclasses import dataclass, replace

import pytest
import torch
from torch import Tensor

from fedefm.data.batch import Batch, noise_batch


@dataclass(frozen=True)
class Weighed(Batch):
    weights: Tensor


def weighed(count: int = 4) -> Weighed:
    plain = noise_batch((1, 6, 6), 3, False, count, torch.Generator().manual_seed(0))
    return Weighed(plain.images, plain.labels, torch.arange(count), torch.arange(count) / 10)


@pytest.mark.parametrize("places", [slice(1, 3), torch.tensor([1, 2])])
def test_a_part_has_all_that_belongs_to_its_images(places: Tensor | slice) -> None:
    whole = weighed()
    part = whole.at(places)
    assert isinstance(part, Weighed)
    assert part.rows.tolist() == [1, 2]
    assert torch.equal(part.images, whole.images[1:3])
    assert torch.equal(part.labels, whole.labels[1:3])
    assert torch.equal(part.weights, whole.weights[1:3])


def test_a_change_to_each_tensor_reaches_them_all_and_leaves_the_batch() -> None:
    whole = weighed()
    doubled = whole.each(lambda tensor: 2 * tensor)
    assert isinstance(doubled, Weighed)
    for name in ("images", "labels", "rows", "weights"):
        assert torch.equal(getattr(doubled, name), 2 * getattr(whole, name))
    assert whole.rows.tolist() == [0, 1, 2, 3]
    assert isinstance(replace(whole, images=whole.images + 1), Weighed)


@pytest.mark.parametrize("classes", [1, 4])
@pytest.mark.parametrize("masks", [False, True])
def test_noise_has_the_shapes_and_labels_asked_for(masks: bool, classes: int) -> None:
    noise = noise_batch((1, 6, 6), classes, masks, 50, torch.Generator().manual_seed(1))
    assert noise.images.shape == (50, 1, 6, 6)
    assert noise.labels.shape == ((50, 6, 6) if masks else (50,))
    assert noise.labels.unique().tolist() == list(range(classes))
    assert noise.rows.shape == (50,)
    assert abs(float(noise.images.std()) - 1) < 0.1


def test_noise_for_frames_without_labels_has_some_all_the_same() -> None:
    noise = noise_batch((1, 6, 6), 0, False, 3, torch.Generator().manual_seed(1))
    assert noise.labels.tolist() == [0, 0, 0]

"""Only the end of a model is trained, and all else stays as it was."""

from itertools import pairwise

import pytest
import torch

from fedefm.errors import ModelError
from fedefm.model.foundation import BACKBONES, build_foundation
from fedefm.model.trained_part import train_only_last
from fedefm.model.weights import weights_of

SMALL = ("vit_micro", "resnet_micro", "resnet10")


def model_of(backbone="resnet_micro", head="trainable"):
    return build_foundation(backbone, ("a", "b"), 32, head, seed=1)


@pytest.mark.parametrize("backbone", SMALL)
def test_the_last_blocks_and_the_head_are_trained_and_nothing_before(backbone):
    model = model_of(backbone)
    blocks = len(model.backbone.blocks_in_order())
    found = []
    for count in range(blocks + 1):
        train_only_last(model, count)
        found.append(set(weights_of(model)))
    assert found[0] == {"head.weight", "head.bias"}
    for fewer, more in pairwise(found):
        assert fewer < more
    stem = set(dict(model.named_parameters())) - found[-1]
    assert bool(stem) == (backbone != "resnet_micro")  # which has blocks only


@pytest.mark.parametrize("backbone", SMALL)
def test_a_later_block_is_after_an_earlier_one_in_the_forward_pass(backbone):
    """What a block computes does not depend on the ones after it."""
    model = model_of(backbone).eval()
    blocks = model.backbone.blocks_in_order()
    order = []
    for place, block in enumerate(blocks):
        for module in block.modules():
            if not list(module.children()) and list(module.parameters(recurse=False)):
                module.register_forward_hook(lambda *a, place=place: order.append(place))
    model(torch.zeros(1, 1, 32, 32))
    assert order == sorted(order)
    assert set(order) == set(range(len(blocks)))


def test_every_backbone_has_blocks_that_share_nothing():
    for name in BACKBONES:
        if name.startswith("vit") and "micro" not in name:
            continue  # the same class at another size
        blocks = model_of(name).backbone.blocks_in_order()
        owned = [id(p) for block in blocks for p in block.parameters()]
        assert len(owned) == len(set(owned)) > 0


def test_more_blocks_than_there_are_or_nothing_at_all_is_refused_and_changes_nothing():
    model = model_of(head="frozen")
    before = set(weights_of(model))
    with pytest.raises(ModelError, match="train_last 5 is more than the 4 blocks"):
        train_only_last(model, 5)
    with pytest.raises(ModelError, match="leaves nothing to train"):
        train_only_last(model, 0)
    assert set(weights_of(model)) == before

"""Layer-wise decay against the rule of BEiT and MAE, written out."""

import re

import pytest
import torch

from fedefm.config import FinetuneConfig
from fedefm.finetune.layer_decay import layer_shares
from fedefm.finetune.training import optimization_for
from fedefm.model.foundation import build_foundation
from fedefm.model.segmenter import build_segmenter
from fedefm.model.weights import weights_of


def share_in_mae(name, depth, decay):
    """``lr_decay.py`` of MAE: 0 is the embedding, depth + 1 the head."""
    block = re.match(r"backbone\.blocks\.(\d+)\.", name)
    embedding = name.startswith(("backbone.tokens.", "backbone.patch_embed."))
    layer = int(block[1]) + 1 if block else 0 if embedding else depth + 1
    return decay ** (depth + 1 - layer)


def test_a_vit_decays_as_in_mae_but_for_its_last_norm():
    model = build_foundation("vit_micro", ("a", "b"), 16, "trainable", seed=1)
    shares = layer_shares(model, 0.75)
    for name, _ in model.named_parameters():
        if not name.startswith("backbone.norm."):
            assert shares.get(name, 1.0) == pytest.approx(share_in_mae(name, 4, 0.75)), name
    assert shares["backbone.norm.weight"] == shares["backbone.blocks.3.mlp.fc2.weight"] == 0.75
    assert not any(name.startswith("head.") for name in shares)


def test_a_resnet_decays_by_its_stages_and_a_decoder_not_at_all():
    model = build_segmenter("resnet10", 2, 32, seed=1)
    shares = layer_shares(model, 0.5)
    names = [name for name, _ in model.backbone.named_parameters()]
    for stage in (1, 2, 3, 4):
        found = {shares[f"backbone.{n}"] for n in names if n.startswith(f"layer{stage}.")}
        assert found == {0.5 ** (5 - stage)}
    assert {shares[f"backbone.{n}"] for n in names if not n.startswith("layer")} == {0.5**5}
    assert set(shares) == {f"backbone.{name}" for name in names}


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_each_block_moves_by_its_share(optimizer):
    moved = {}
    for decay in (1.0, 0.5):
        model = build_foundation("vit_micro", ("a", "b"), 16, "trainable", seed=1)
        rule = optimization_for(FinetuneConfig(optimizer=optimizer, layer_decay=decay), model)
        before, named = weights_of(model), dict(model.named_parameters())
        for parameter in model.parameters():
            parameter.grad = torch.ones_like(parameter)
        rule.optimizer(named, 0.01, {}).step()
        moved[decay] = {n: float((w - before[n]).mean()) for n, w in weights_of(model).items()}
    for name, whole in moved[1.0].items():
        assert moved[0.5][name] == pytest.approx(share_of(name) * whole, rel=1e-2)


def share_of(name):
    return 0.5 if name.startswith("backbone.norm.") else share_in_mae(name, 4, 0.5)

"""Stochastic depth: whose branches are left out, how often, and that nothing of it stays."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fedefm.errors import ModelError
from fedefm.model.drop_path import drop_path, drop_rates
from fedefm.model.foundation import build_backbone, build_foundation
from fedefm.model.segmenter import build_segmenter


def vit(train=True):
    return build_foundation("vit_micro", ("a", "b"), 16, "trainable", seed=1).train(train)


def images(count=6):
    return torch.randn(count, 1, 16, 16, generator=torch.Generator().manual_seed(0))


def stream(number=0):
    return torch.Generator().manual_seed(number)


def logits(model, seen, rate, number=0):
    with drop_path(model, rate, stream(number)), torch.no_grad():
        return model(seen)


def by_hand(model, seen, rate, rng):
    """Image after image through the blocks, with the draws of all taken first."""
    body = model.backbone
    rates = [rate * k / (len(body.blocks) - 1) for k in range(len(body.blocks))]
    drawn = [[torch.rand(len(seen), generator=rng) for _ in "ab"] for share in rates if share]
    drawn = [[torch.ones(len(seen))] * 2] * (len(rates) - len(drawn)) + drawn
    ends = []
    for k in range(len(seen)):
        x = body.embed(seen[k : k + 1])
        for block, share, (attention, mlp) in zip(body.blocks, rates, drawn, strict=True):
            if attention[k] >= share:
                x = x + block.attn(block.norm1(x)) / (1 - share)
            if mlp[k] >= share:
                x = x + block.mlp(block.norm2(x)) / (1 - share)
        features = body.norm(x)[:, 1:].mean(dim=1)
        ends.append(model.head(torch.nn.functional.layer_norm(features, features.shape[-1:])))
    return torch.cat(ends)


@settings(max_examples=10)
@given(st.floats(0.05, 0.9), st.integers(0, 50))
def test_each_image_goes_around_branches_of_its_own(rate, seed):
    model, seen = vit(), images()
    with torch.no_grad():
        expected = by_hand(model, seen, rate, stream(seed))
    torch.testing.assert_close(logits(model, seen, rate, seed), expected, rtol=1e-4, atol=1e-5)


def test_another_image_in_the_batch_changes_nothing_for_the_rest():
    model, seen = vit(), images()
    before = logits(model, seen, 0.5)
    other = seen.clone()
    other[2] = 3.0
    after = logits(model, other, 0.5)
    rest = torch.tensor([0, 1, 3, 4, 5])
    torch.testing.assert_close(after[rest], before[rest])
    assert not torch.allclose(after[2], before[2])


def test_the_generator_decides_and_the_global_one_is_neither_asked_nor_moved():
    model, seen = vit(), images()
    state = torch.get_rng_state()
    first = logits(model, seen, 0.5, 3)
    torch.rand(5)
    assert torch.equal(logits(model, seen, 0.5, 3), first)
    assert not torch.allclose(logits(model, seen, 0.5, 4), first)
    torch.set_rng_state(state)
    logits(model, seen, 0.5)
    assert torch.equal(torch.get_rng_state(), state)


def test_nothing_is_dropped_in_evaluation_at_a_rate_of_zero_or_afterwards():
    seen = images()
    with torch.no_grad():
        calm = vit()(seen)
        assert torch.equal(logits(vit(train=False), seen, 0.9), calm)
        assert torch.equal(logits(vit(), seen, 0.0), calm)
        model = vit()
        with drop_path(model, 0.9, stream()):
            assert not torch.allclose(model(seen), calm)
        assert torch.equal(model(seen), calm)
    assert vit().state_dict().keys() == model.state_dict().keys()


def test_an_error_in_training_takes_the_hooks_away_too():
    model = vit()
    with (
        pytest.raises(ModelError, match="do not fit a ViT"),
        drop_path(model, 0.9, stream()),
    ):
        model(torch.zeros(1, 1, 24, 24))
    assert not any(part._forward_hooks for part in model.modules())


def test_the_mean_of_a_branch_stays_and_the_chance_is_the_one_asked_for():
    body = build_backbone("vit_micro", 16).train()
    holder = torch.nn.Module()
    holder.backbone = body
    tokens = torch.randn(1, 5, 96, generator=stream(1)).expand(4000, -1, -1)
    calm = body.blocks[-1].mlp(tokens[:1]).detach()
    with drop_path(holder, 0.3, stream()), torch.no_grad():
        dropped = body.blocks[-1].mlp(tokens)
    left_out = (dropped == 0).all(dim=2).all(dim=1).float().mean()
    assert float(left_out) == pytest.approx(0.3, abs=0.04)
    assert float((dropped.mean(0) - calm[0]).norm() / calm.norm()) < 0.06


def test_the_chance_rises_from_block_to_block():
    assert drop_rates(0.3, 4) == pytest.approx([0.0, 0.1, 0.2, 0.3])
    assert drop_rates(0.3, 1) == [0.0]


def test_a_segmenter_on_a_vit_has_blocks_to_go_around_and_a_resnet_has_none():
    model, seen = build_segmenter("vit_micro", 2, 32, seed=1), torch.randn(2, 1, 32, 32)
    with torch.no_grad():
        assert not torch.allclose(logits(model.train(), seen, 0.9), model(seen))
    with (
        pytest.raises(ModelError, match="the backbone is a MicroResNet; leave drop_path out"),
        drop_path(build_foundation("resnet_micro", ("a",), 16, "frozen", 1), 0.1, stream()),
    ):
        pass
    with drop_path(build_foundation("resnet_micro", ("a",), 16, "frozen", 1), 0.0, stream()):
        pass

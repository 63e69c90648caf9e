"""Rules for steps: torch's own numbers, what decays, at which rate, and a state that goes on."""

from dataclasses import replace
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional

from fedefm.model.foundation import build_foundation
from fedefm.model.weights import weights_of
from fedefm.seeding import generator_for
from fedefm.train.assemble import build_model
from fedefm.train.optimization import adamw, decays, momentum_sgd
from fedefm.train.trainer import PlainTrainer, sample_rows

RULES = {"sgd": partial(momentum_sgd, 0.9), "adamw": partial(adamw, 0.05)}


def cross_entropy(model, batch):
    return functional.cross_entropy(model(batch.images), batch.labels, reduction="none")


def stream(number=0):
    return generator_for(1, "north", number, "train")


def named(model):
    return dict(model.named_parameters())


def same(a, b):
    torch.testing.assert_close(a, b, rtol=0, atol=0)


def test_adamw_is_torchs_over_several_fits(world):
    run, data = world.settings(), world.images_of(2)
    ours, theirs = build_model(run), build_model(run)
    trainer = PlainTrainer(data, 4, adamw(0.3), clip_norm=0.5)
    for number in range(3):
        trainer.fit(ours, cross_entropy, 2, 0.01, stream(number))

    flat = [p for p in theirs.parameters() if p.ndim < 2]
    matrices = [p for p in theirs.parameters() if p.ndim >= 2]
    groups = [{"params": matrices, "weight_decay": 0.3}, {"params": flat, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=0.01, betas=(0.9, 0.95))
    for number in range(3):
        for rows in sample_rows(len(data), 2, 4, stream(number)):
            optimizer.zero_grad()
            cross_entropy(theirs, data.batch(rows)).mean().backward()
            nn.utils.clip_grad_norm_(theirs.parameters(), 0.5)
            optimizer.step()
    torch.testing.assert_close(weights_of(ours), weights_of(theirs))


@pytest.mark.parametrize("rule", RULES)
@settings(max_examples=8)
@given(st.lists(st.integers(1, 3), min_size=1, max_size=4), st.integers(0, 100))
def test_a_state_on_the_disk_goes_on_as_if_nothing_had_happened(
    world_class, tmp_path_factory, rule, fits, seed
):
    path = tmp_path_factory.mktemp("state") / "state.safetensors"
    data, ends = world_class.images_of(seed % 4), []
    for interrupted in (False, True):
        model = build_model(world_class.settings())
        trainer = PlainTrainer(data, 4, RULES[rule]())
        for number, steps in enumerate(fits):
            trainer.fit(model, cross_entropy, steps, 0.01, stream(seed + number))
            if interrupted:
                save_file(trainer.state(), path)
                trainer = PlainTrainer(data, 4, RULES[rule]())
                trainer.load_state(load_file(path))
        ends.append((weights_of(model), trainer.state()))
    same(*ends)


@pytest.mark.parametrize("rule", RULES)
def test_a_state_is_a_copy_and_without_one_a_rule_starts_afresh(world, rule):
    run, data = world.settings(), world.images_of(0)
    fresh, again = PlainTrainer(data, 4, RULES[rule]()), PlainTrainer(data, 4, RULES[rule]())
    again.fit(build_model(run), cross_entropy, 2, 0.01, stream(5))
    held = again.state()
    kept = {name: tensor.clone() for name, tensor in held.items()}
    again.fit(build_model(run), cross_entropy, 1, 0.01, stream(6))
    same(held, kept)

    again.load_state({})
    models = [build_model(run), build_model(run)]
    for trainer, model in zip((fresh, again), models, strict=True):
        trainer.fit(model, cross_entropy, 2, 0.01, stream())
    same(weights_of(models[0]), weights_of(models[1]))


def test_what_another_rule_kept_is_left_alone(world):
    model, data = build_model(world.settings()), world.images_of(0)
    sgd, adam = PlainTrainer(data, 4, momentum_sgd(0.9)), PlainTrainer(data, 4, adamw(0.0))
    sgd.fit(model, cross_entropy, 1, 0.01, stream())
    adam.load_state(sgd.state())
    models = [build_model(world.settings()) for _ in range(2)]
    for trainer, one in zip((adam, PlainTrainer(data, 4, adamw(0.0))), models, strict=True):
        trainer.fit(one, cross_entropy, 2, 0.01, stream())
    same(weights_of(models[0]), weights_of(models[1]))


def test_names_of_the_state_begin_with_those_of_parameters_and_nothing_is_kept_without_momentum():
    model = nn.Linear(3, 2)
    for rule, endings in (
        (momentum_sgd(0.0), ()),
        (momentum_sgd(0.9), ("",)),
        (adamw(0.0), ("#step", "#exp_avg", "#exp_avg_sq")),
    ):
        optimizer = rule.optimizer(named(model), 0.1, {})
        model(torch.ones(1, 3)).sum().backward()
        optimizer.step()
        kept = rule.kept(optimizer, named(model))
        assert set(kept) == {name + end for name in ("weight", "bias") for end in endings}


def test_biases_norms_tokens_and_positions_do_not_decay():
    model = build_foundation("vit_micro", ("a", "b"), 16, "trainable", seed=1)
    before = weights_of(model)
    optimizer = adamw(0.5).optimizer(named(model), 0.1, {})
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, parameter in model.named_parameters():
        spared = name.endswith(("bias", "cls_token", "pos_embed")) or "norm" in name
        wanted = before[name] if spared else before[name] * (1 - 0.1 * 0.5)
        torch.testing.assert_close(parameter.detach(), wanted)
    assert not decays("decoder.mask.mask_token", nn.Parameter(torch.zeros(1, 1, 8)))


@pytest.mark.parametrize("rule", RULES)
def test_a_share_of_the_rate_is_a_share_of_the_step(rule):
    moved = {}
    for share in (1.0, 0.25):
        model = nn.Linear(3, 2)
        before = weights_of(model)
        parted = replace(RULES[rule](), weight_decay=0.0, shares={"weight": share})
        optimizer = parted.optimizer(named(model), 0.1, {})
        model(torch.ones(1, 3)).sum().backward()
        optimizer.step()
        moved[share] = {name: w - before[name] for name, w in weights_of(model).items()}
    torch.testing.assert_close(moved[0.25]["weight"], 0.25 * moved[1.0]["weight"])
    torch.testing.assert_close(moved[0.25]["bias"], moved[1.0]["bias"])


def test_only_what_is_trained_is_moved():
    model = nn.Linear(3, 2)
    model.bias.requires_grad_(False)
    trained = {name: p for name, p in named(model).items() if p.requires_grad}
    optimizer = adamw(0.0).optimizer(trained, 0.1, {})
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    assert {name.partition("#")[0] for name in adamw(0.0).kept(optimizer, trained)} == {"weight"}

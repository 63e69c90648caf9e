"""Sampling, momentum and the limits of a trainer."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from fedefm.errors import DataError, ModelError
from fedefm.model.weights import weights_of
from fedefm.seeding import generator_for
from fedefm.train.assemble import build_model
from fedefm.train.optimization import momentum_sgd
from fedefm.train.trainer import PlainTrainer, sample_rows

SGD = momentum_sgd(0.9)


def cross_entropy(model, batch):
    return functional.cross_entropy(model(batch.images), batch.labels, reduction="none")


def stream(number=0):
    return generator_for(1, "north", number, "train")


@given(st.integers(1, 30), st.integers(1, 12), st.integers(1, 9), st.integers(0, 5))
def test_every_row_is_seen_before_any_comes_again(size, steps, batch_size, seed):
    batches = sample_rows(size, steps, batch_size, torch.Generator().manual_seed(seed))
    assert [len(rows) for rows in batches] == [batch_size] * steps
    drawn = torch.cat(batches).tolist()
    for start in range(0, len(drawn), size):
        lap = drawn[start : start + size]
        assert len(set(lap)) == len(lap)
        assert set(lap) <= set(range(size))


def test_passes_are_in_different_orders():
    drawn = torch.cat(sample_rows(20, 10, 4, stream())).reshape(2, 20)
    assert not torch.equal(drawn[0], drawn[1])


def test_training_is_sgd_with_momentum_and_clipping_as_torch_has_it(world):
    run = world.settings()
    data = world.images_of(2)
    ours, theirs = build_model(run), build_model(run)
    trainer = PlainTrainer(data, 4, SGD, clip_norm=0.5)
    for number in range(2):
        trainer.fit(ours, cross_entropy, 3, 0.1, stream(number))

    optimizer = torch.optim.SGD(theirs.parameters(), lr=0.1, momentum=0.9)
    for number in range(2):
        for rows in sample_rows(len(data), 3, 4, stream(number)):
            optimizer.zero_grad()
            cross_entropy(theirs, data.batch(rows)).mean().backward()
            torch.nn.utils.clip_grad_norm_(theirs.parameters(), 0.5)
            optimizer.step()

    torch.testing.assert_close(weights_of(ours), weights_of(theirs))


def test_the_same_stream_gives_the_same_weights_and_another_one_others(world):
    ends = []
    for number in (0, 0, 1):
        model = build_model(world.settings())
        stats = PlainTrainer(world.images_of(0), 4, SGD).fit(
            model, cross_entropy, 2, 0.1, stream(number)
        )
        assert (stats.steps, stats.images) == (2, 8)
        ends.append(weights_of(model))
    torch.testing.assert_close(ends[0], ends[1], rtol=0, atol=0)
    with pytest.raises(AssertionError):
        torch.testing.assert_close(ends[0], ends[2])


def test_momentum_continues_in_another_trainer(world):
    run = world.settings()
    models = [build_model(run), build_model(run)]
    whole = PlainTrainer(world.images_of(0), 4, SGD)
    for number in range(2):
        whole.fit(models[0], cross_entropy, 2, 0.1, stream(number))

    first, second = (
        PlainTrainer(world.images_of(0), 4, SGD),
        PlainTrainer(world.images_of(0), 4, SGD),
    )
    first.fit(models[1], cross_entropy, 2, 0.1, stream(0))
    second.load_state(first.state())
    second.fit(models[1], cross_entropy, 2, 0.1, stream(1))

    torch.testing.assert_close(weights_of(models[0]), weights_of(models[1]), rtol=0, atol=0)
    torch.testing.assert_close(whole.state(), second.state(), rtol=0, atol=0)


def test_the_state_is_a_copy_and_an_empty_one_starts_afresh(world):
    model = build_model(world.settings())
    trainer = PlainTrainer(world.images_of(0), 4, SGD)
    trainer.fit(model, cross_entropy, 1, 0.1, stream())
    held = trainer.state()
    kept = {name: buffer.clone() for name, buffer in held.items()}
    trainer.fit(model, cross_entropy, 1, 0.1, stream())
    torch.testing.assert_close(held, kept, rtol=0, atol=0)

    trainer.load_state(held)
    held[next(iter(held))] += 1
    torch.testing.assert_close(trainer.state(), kept, rtol=0, atol=0)
    trainer.load_state({})
    assert trainer.state() == {}


def test_a_site_without_images_is_refused(world):
    nothing = world.images_of(0).subset(torch.arange(0))
    with pytest.raises(DataError, match="no training images"):
        PlainTrainer(nothing, 4, SGD)


def infinite(model, batch):
    return cross_entropy(model, batch) * float("inf")


def steep(model, batch):
    """A finite loss without a finite gradient."""
    return cross_entropy(model, batch) * 0 + model(batch.images).sum(dim=1).mul(0).sqrt()


@pytest.mark.parametrize("objective", [infinite, steep])
def test_training_that_leaves_the_numbers_is_an_error_with_a_way_out(world, objective):
    trainer = PlainTrainer(world.images_of(0), 4, SGD)
    with pytest.raises(ModelError, match=r"lower training\.learning_rate"):
        trainer.fit(build_model(world.settings()), objective, 1, 0.1, stream())

"""Weights as named tensors and as one vector."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from fedefm.errors import ModelError
from fedefm.model.weights import flatten, load_weights, unflatten, weights_of


def small_model() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.GroupNorm(1, 2))


def test_weights_are_copies_that_do_not_follow_the_model():
    model = small_model()
    weights = weights_of(model)
    before = weights["0.bias"].clone()
    nn.init.constant_(model[0].bias, 9.0)
    assert torch.equal(weights["0.bias"], before)
    assert not any(tensor.requires_grad for tensor in weights.values())


def test_frozen_parameters_stay_at_home():
    model = small_model()
    model[0].requires_grad_(False)
    assert set(weights_of(model)) == {"1.weight", "1.bias"}


def test_loading_writes_in_place_and_keeps_the_parameters():
    model, source = small_model(), small_model()
    parameter = model[0].weight
    load_weights(model, weights_of(source))
    assert model[0].weight is parameter
    assert parameter.requires_grad
    assert torch.equal(parameter, source[0].weight)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda w: w.pop("0.bias"), "lack '0.bias'"),
        (lambda w: w.update({"0.bias": torch.zeros(3)}), r"'0.bias' of shape \(3,\)"),
        (lambda w: w.update(extra=torch.zeros(1)), "hold 'extra'"),
    ],
)
def test_weights_that_differ_are_refused_and_nothing_is_written(change, sentence):
    model = small_model()
    before, weights = weights_of(model), {n: t + 1 for n, t in weights_of(model).items()}
    change(weights)
    with pytest.raises(ModelError, match=sentence):
        load_weights(model, weights)
    assert all(torch.equal(before[name], tensor) for name, tensor in weights_of(model).items())


shapes = st.dictionaries(
    st.text(min_size=1, max_size=3), st.lists(st.integers(0, 3), max_size=3), max_size=4
)


@given(shapes=shapes)
@settings(max_examples=50, deadline=None)
def test_unflatten_is_the_inverse_of_flatten(shapes):
    weights = {name: torch.randn(shape) for name, shape in shapes.items()}
    again = unflatten(flatten(weights), like=weights)
    assert list(again) == list(weights)
    assert all(torch.equal(again[name], weights[name]) for name in weights)


def test_the_vector_does_not_depend_on_the_order_of_the_names():
    one, two = torch.randn(2), torch.randn(3)
    assert torch.equal(flatten({"a": one, "b": two}), flatten({"b": two, "a": one}))


def test_unflatten_restores_types():
    weights = {"half": torch.ones(2, dtype=torch.float16), "double": torch.ones(1).double()}
    again = unflatten(flatten(weights), like=weights)
    assert {name: tensor.dtype for name, tensor in again.items()} == {
        "half": torch.float16,
        "double": torch.float64,
    }


def test_a_vector_of_another_length_is_refused():
    with pytest.raises(ModelError, match="does not hold the 24 numbers"):
        unflatten(torch.zeros(21), like=weights_of(small_model()))

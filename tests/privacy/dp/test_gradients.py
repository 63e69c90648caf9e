import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedefm.errors import PrivacyError
from fedefm.train.objective import Batch
from privacy.dp.gradients import Clip, UnitBatch, finite_images, frame_losses, trainable

NUMBERS = st.floats(1e-6, 1e6)


def units_of(owners: list[int], count: int) -> UnitBatch:
    units = torch.tensor(owners, dtype=torch.int64)
    batch = Batch(torch.zeros(len(owners), 1, 2, 2), units, torch.arange(len(owners)))
    return UnitBatch(batch, units, torch.ones(len(owners)), count)


@given(
    st.lists(st.lists(NUMBERS, min_size=3, max_size=3), min_size=1, max_size=4),
    NUMBERS,
    st.booleans(),
)
def test_no_unit_adds_more_than_the_clipping_norm(norms, bound, per_layer):
    squares = torch.tensor(norms, dtype=torch.float64).square()
    clipped = Clip(bound, per_layer).factors(squares).double().square() * squares
    assert (clipped.sum(dim=1).sqrt() <= bound).all()


@given(st.lists(st.lists(NUMBERS, min_size=2, max_size=2), min_size=1, max_size=4))
def test_a_unit_below_the_norm_is_left_alone(norms):
    squares = torch.tensor(norms, dtype=torch.float64).square()
    bound = 1.01 * float(squares.sum(dim=1).max()) ** 0.5
    assert torch.equal(Clip(bound).factors(squares), torch.ones_like(squares).float())
    by_layer = Clip(bound * 2**0.5, per_layer=True).factors(squares)
    assert torch.equal(by_layer, torch.ones_like(squares).float())


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("per_layer", [False, True])
def test_a_unit_that_is_not_finite_gives_nothing_and_leaves_the_others(bad, per_layer):
    squares = torch.tensor([[1.0, bad], [1.0, 4.0]])
    alone = Clip(1.0, per_layer).factors(squares[1:])
    factors = Clip(1.0, per_layer).factors(squares)
    assert factors[0].tolist() == [0, 0]
    assert torch.equal(factors[1:], alone)


@pytest.mark.parametrize(
    ("owners", "count"), [([1, 0], 2), ([0, 2], 3), ([0, 0], 2), ([1, 1], 2), ([0, 1, 0], 2)]
)
def test_frames_that_are_not_in_the_order_of_their_units_are_refused(owners, count):
    with pytest.raises(PrivacyError, match="one after another"):
        units_of(owners, count)


def test_the_rows_of_a_unit_are_those_it_owns():
    step = units_of([0, 0, 1, 2, 2, 2], 3)
    assert step.rows == [slice(0, 2), slice(2, 3), slice(3, 6)]
    assert step.frames == [2, 1, 3]
    assert step.per_unit(torch.arange(6.0)).tolist() == [1, 2, 12]


def test_leaving_units_out_numbers_the_others_anew():
    step = units_of([0, 0, 1, 2, 2, 2], 3).only(torch.tensor([True, False, True]))
    assert step.units.tolist() == [0, 0, 1, 1, 1]
    assert step.batch.rows.tolist() == [0, 1, 3, 4, 5]
    assert step.count == 2


def test_one_bad_pixel_makes_its_unit_unusable():
    step = units_of([0, 0, 1], 2)
    step.batch.images[1, 0, 1, 1] = math.inf
    assert finite_images(step).tolist() == [False, True]


def test_a_mean_over_the_batch_is_no_private_objective():
    with pytest.raises(PrivacyError, match="one loss per image"):
        frame_losses(torch.nn.Identity(), lambda m, b: b.images.mean(), units_of([0, 1], 2).batch)


def test_a_frozen_model_has_nothing_to_train():
    with pytest.raises(PrivacyError, match="unfreeze"):
        trainable(torch.nn.Linear(2, 2).requires_grad_(False))

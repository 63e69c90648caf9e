"""Positions against the paper's formula, number by number, and against timm's."""

import math

import pytest
import torch
from timm.layers import build_sincos2d_pos_embed

from fedefm.errors import ModelError
from fedefm.model.positions import Positions, sine_positions


def test_each_number_is_a_sine_or_cosine_of_column_or_row():
    grid, dim = 3, 16
    table = sine_positions(grid, dim)
    assert table.shape == (1, 1 + grid**2, dim)
    assert not table[0, 0].any()
    for place in range(grid**2):
        row, column = divmod(place, grid)
        expected = []
        for coordinate in (column, row):
            angles = [coordinate / 10_000 ** (k / 4) for k in range(4)]
            expected += [*map(math.sin, angles), *map(math.cos, angles)]
        torch.testing.assert_close(table[0, 1 + place], torch.tensor(expected))


def test_the_same_numbers_are_timms_in_another_order():
    theirs = build_sincos2d_pos_embed([14, 14], 192).view(196, 2, 2, 48)  # function, axis
    ours = sine_positions(14, 192)[0, 1:].view(196, 2, 2, 48)  # axis (column first), function
    torch.testing.assert_close(ours.transpose(1, 2).flip(2), theirs)


def test_a_width_that_is_no_multiple_of_four_is_refused():
    with pytest.raises(ModelError, match=r"positions of 10 numbers .* multiple of 4"):
        sine_positions(2, 10)


def test_positions_are_added_and_stand_in_no_checkpoint():
    positions, tokens = Positions(2, 8), torch.randn(3, 5, 8)
    assert torch.equal(positions(tokens), tokens + sine_positions(2, 8))
    assert not positions.state_dict()
    assert not list(positions.parameters())

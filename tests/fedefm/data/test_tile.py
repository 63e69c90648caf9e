import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fedefm.data.tile import MASK_COLORS, TILE, TINT, draw_tile, largest_in


def test_a_wire_of_one_pixel_is_seen_between_two_lines() -> None:
    gray = np.full((1024, 1024), 100 / 255, np.float32)
    mask = np.zeros((1024, 1024), np.int64)
    mask[:, 500] = 2
    row = np.asarray(draw_tile(gray, mask))[TILE // 2]
    (lines,) = np.nonzero((row == MASK_COLORS[1]).all(axis=1))
    assert len(lines) == 2
    assert lines[1] - lines[0] == 2
    between = 100 + TINT * (np.array(MASK_COLORS[1]) - 100.0)
    np.testing.assert_allclose(row[lines[0] + 1], between, atol=1)
    assert row[0].tolist() == [100] * 3


def test_an_outline_never_covers_another_device() -> None:
    mask = np.zeros((TILE, TILE), np.int64)
    mask[:, 50:60], mask[:, 60:70] = 1, 2
    row = np.asarray(draw_tile(np.zeros((TILE, TILE), np.float32), mask))[TILE // 2]
    for column in range(50, 70):
        expected = TINT * np.array(MASK_COLORS[(column - 50) // 10])
        np.testing.assert_allclose(row[column], expected, atol=1)
    assert row[49].tolist() == list(MASK_COLORS[0])
    assert row[70].tolist() == list(MASK_COLORS[1])


def test_proportions_are_kept() -> None:
    tile = np.asarray(draw_tile(np.ones((10, 40), np.float32), None))
    white = (tile == 255).all(axis=2)
    assert white.any(axis=0).sum() == TILE
    assert white.any(axis=1).sum() == TILE // 4


@given(*(st.integers(1, 40) for _ in range(4)), st.integers(0, 9))
def test_no_label_is_lost_and_none_is_made(height, width, rows, columns, seed) -> None:
    mask = np.zeros((height, width), np.int64)
    rng = np.random.default_rng(seed)
    mask[rng.integers(height), rng.integers(width)] = 7
    small = largest_in(mask, rows, columns)
    assert small.shape == (rows, columns)
    assert set(np.unique(small)) <= {0, 7}
    if rows <= height and columns <= width:
        assert (small == 7).sum() == 1

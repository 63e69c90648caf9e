"""Masks that no file holds: drawn, joined and filled."""

import pickle
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.path import Path as Outline
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import distance_transform_edt

from fedefm.data.public_sets.drawing import (
    FARTHEST,
    FilledOutline,
    Joined,
    Lines,
    Polygons,
    pairs_of,
    points_of,
)
from fedefm.errors import DataError


@pytest.fixture
def canvas(tmp_path: Path) -> Path:
    """60 wide, 40 high."""
    Image.new("L", (60, 40)).save(tmp_path / "a.png")
    return tmp_path / "a.png"


@pytest.mark.parametrize("width", [3, 5, 7])
def test_a_line_is_as_wide_as_it_is_asked_to_be(canvas: Path, width: int) -> None:
    drawn = Lines(canvas, (((10, 20), (50, 20)),), width, width)()
    assert drawn.shape == (40, 60)
    assert set(np.unique(drawn)) == {0, 1}
    assert (drawn[:, 15:45].sum(axis=0) == width).all()
    assert drawn[20, 10:51].all()


def test_a_line_is_where_its_points_are_however_it_bends(canvas: Path) -> None:
    """No pixel is farther from the center line than half the width, and none on it is missed."""
    line = ((5.0, 5.0), (30.0, 12.0), (33.0, 30.0), (55.0, 35.0))
    drawn = Lines(canvas, (line,), 5, 5)()
    center = np.ones((40, 60), bool)
    for (x0, y0), (x1, y1) in pairwise(line):
        for t in np.linspace(0, 1, 200):
            center[round(y0 + t * (y1 - y0)), round(x0 + t * (x1 - x0))] = False
    away = distance_transform_edt(center)
    assert away[drawn == 1].max() <= 3.7
    assert (drawn[away <= 1] == 1).all()


def test_lines_are_wider_in_large_images_but_never_more_than_seven_pixels(tmp_path: Path) -> None:
    widths = []
    for side in (100, 2000, 2400, 4000):
        Image.new("L", (side, 50)).save(tmp_path / f"{side}.png")
        drawn = Lines(tmp_path / f"{side}.png", (((5, 25), (95, 25)),), 3, 7)()
        widths.append(int(drawn[:, 50].sum()))
    assert widths == [3, 5, 6, 7]


def test_one_point_is_a_dot_and_what_lies_outside_is_cut(canvas: Path) -> None:
    assert 5 <= Lines(canvas, (((30, 20),),), 3, 3)().sum() <= 9
    assert Lines(canvas, (((500, 500), (900, 900)),), 3, 3)().sum() == 0
    assert Lines(canvas, (((-500, 20), (900, 20)),), 3, 3)()[20].all()


@given(st.lists(st.floats(0, 6.28), min_size=3, max_size=9, unique=True))
def test_a_polygon_covers_what_is_inside_it(
    tmp_path_factory: pytest.TempPathFactory, angles: list[float]
) -> None:
    """Against matplotlib's answer to which points are inside, two pixels from the edges."""
    image = tmp_path_factory.mktemp("any") / "a.png"
    Image.new("L", (60, 40)).save(image)
    around = np.sort(angles)
    corners = np.stack([30 + 35 * np.cos(around), 20 + 15 * np.sin(around)], axis=1)
    drawn = Polygons(image, (tuple(map(tuple, corners)),), (40, 60))().ravel()
    places = np.stack(np.meshgrid(np.arange(60), np.arange(40)), -1).reshape(-1, 2)
    outline = Outline([*corners, corners[0]], closed=True)
    moves = ((0, 0), (1.5, 0), (-1.5, 0), (0, 1.5), (0, -1.5))
    near = np.array([outline.contains_points(places + move) for move in moves])
    assert (drawn[near.all(axis=0)] == 1).all()
    center = outline.contains_points(places)
    edges = distance_to_edges(places, corners)
    assert (drawn[~center & (edges > 2)] == 0).all()


def distance_to_edges(places: NDArray[np.int64], corners: NDArray[np.float64]) -> NDArray[Any]:
    """Of each place to the closest point of the closed polygon's sides."""
    least = np.full(len(places), np.inf)
    for start, end in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        side = end - start
        along = ((places - start) @ side / max(side @ side, 1e-12)).clip(0, 1)
        least = np.minimum(least, np.hypot(*(places - start - along[:, None] * side).T))
    return least


def test_polygons_are_refused_on_an_image_of_another_size(canvas: Path) -> None:
    with pytest.raises(DataError, match="has 60 x 40 pixels, and its polygons were drawn on 60 x"):
        Polygons(canvas, (), (41, 60))()


def test_polygons_without_area_draw_nothing(canvas: Path) -> None:
    assert Polygons(canvas, (((1, 1), (20, 20)),), (40, 60))().sum() == 0


def test_several_masks_are_one(tmp_path: Path) -> None:
    parts = np.zeros((3, 8, 8), np.uint8)
    parts[0, :2], parts[1, :, :2], parts[2, 7, 7] = 255, 255, 1
    for number, part in enumerate(parts):
        Image.fromarray(part).save(tmp_path / f"{number}.png")
    paths = tuple(tmp_path / f"{number}.png" for number in range(3))
    np.testing.assert_array_equal(Joined(paths)(), (parts > 0).any(axis=0))
    Image.new("L", (9, 8)).save(paths[1])
    with pytest.raises(DataError, match="another size"):
        Joined(paths)()


def test_the_inside_of_an_outline_is_filled(tmp_path: Path) -> None:
    y, x = np.mgrid[:50, :60]
    far = np.hypot((y - 25) / 20, (x - 30) / 25)
    ring = abs(far - 0.9) < 0.1
    Image.fromarray((ring * 255).astype(np.uint8)).save(tmp_path / "a.png")
    np.testing.assert_array_equal(FilledOutline(tmp_path / "a.png")(), ring | (far < 0.9))
    Image.fromarray(((far < 0.9) & (y == 25)).astype(np.uint8)).save(tmp_path / "open.png")
    with pytest.raises(DataError, match="no closed outline"):
        FilledOutline(tmp_path / "open.png")()


def test_drawn_masks_can_be_handed_to_other_processes(canvas: Path) -> None:
    for drawn in (Lines(canvas, (((1, 2), (9, 9)),), 3, 7), Polygons(canvas, (), (40, 60))):
        again = pickle.loads(pickle.dumps(drawn))
        np.testing.assert_array_equal(again(), drawn())


BAD_POINTS = [
    None,
    [],
    {},
    "[[1, 2]]",
    [1, 2],
    [[1]],
    [[1, 2, 3]],
    [["1", "2"]],
    [[True, 1]],
    [[None, 1]],
    ["ab"],
    [[float("nan"), 1]],
    [[float("inf"), 1]],
    [[10**400, 1]],
    [[FARTHEST + 1, 1]],
    [[0, 0]] * 100_001,
]


@pytest.mark.parametrize("values", BAD_POINTS, ids=lambda values: repr(values)[:24])
def test_points_that_are_no_places_in_an_image_are_refused(values: object) -> None:
    with pytest.raises(DataError, match=r"^a tube "):
        points_of(values, "a tube")


@pytest.mark.parametrize("values", [None, [1], [1, 2, 3], [[1, 2]], ["1", "2"], []])
def test_pairs_that_are_none_are_refused(values: object) -> None:
    with pytest.raises(DataError, match=r"^an outline "):
        pairs_of(values, "an outline")


def test_points_and_pairs_are_the_same_places() -> None:
    assert points_of([[1, 2.5], [3, 4]], "") == pairs_of([1, 2.5, 3, 4], "") == ((1, 2.5), (3, 4))

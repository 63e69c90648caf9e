"""Linear and convex ultrasound: the maps exactly, then what resampling leaves of images."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage
from torch import Tensor

from fedefm.data.scan_mode import (
    ULTRAFEDFM,
    ScanMode,
    Sector,
    convex_place,
    linear_place,
    random_scan_mode,
    to_convex,
    to_linear,
)
from fedefm.data.transforms import DEVICE_SHARE
from fedefm.errors import ConfigError

Convert = Callable[[Tensor, Tensor | None, Sector], tuple[Tensor, Tensor | None]]
sectors = st.builds(Sector, st.floats(20, 180), st.floats(0.05, 2))
modes = pytest.mark.parametrize("mode", ["linear", "convex"])
SIDE = 96


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def centers(side: int) -> Tensor:
    """(side, side, 2) x and y of the middles of pixels."""
    line = (2 * torch.arange(side, dtype=torch.float64) + 1) / side - 1
    y, x = torch.meshgrid(line, line, indexing="ij")
    return torch.stack([x, y], -1)


def waves(seed: int, count: int = 2, side: int = SIDE) -> Tensor:
    """Smooth images in [0, 1]: up to two waves a side, in any direction."""
    draws = torch.rand(count, 3, 1, 1, generator=rng(seed), dtype=torch.float64)
    turn, phase = 2 * math.pi * draws[:, 0], 2 * math.pi * draws[:, 1]
    x, y = centers(side).unbind(-1)
    wave = torch.sin(2 * math.pi * draws[:, 2] * (x * turn.cos() + y * turn.sin()) + phase)
    return (0.5 + 0.5 * wave)[:, None].float()


def blobs(seed: int, side: int = SIDE) -> Tensor:
    """(1, H, W) uint8: two kinds of lesions of a tenth to half of the side."""
    noise = np.random.default_rng(seed).normal(size=(2, side, side))
    smooth = ndimage.gaussian_filter(noise, (0, side / 12, side / 12))
    first, second = (field > field.std() for field in smooth)
    return torch.from_numpy(np.where(second, 2, first).astype(np.uint8))[None]


def dice(one: Tensor, other: Tensor) -> float:
    return float(2 * (one & other).sum() / (one.sum() + other.sum()))


@given(sectors, st.integers(0, 1000))
def test_places_go_there_and_back(sector: Sector, seed: int) -> None:
    linear = 2 * torch.rand(200, 2, generator=rng(seed), dtype=torch.float64) - 1
    convex = convex_place(linear, sector)
    assert convex.abs().max() <= 1 + 1e-12
    assert torch.allclose(linear_place(convex, sector), linear, atol=1e-10, rtol=0)
    anywhere = 2 * torch.rand(200, 2, generator=rng(seed + 1), dtype=torch.float64) - 1
    assert torch.allclose(
        convex_place(linear_place(anywhere, sector), sector), anywhere, atol=1e-10, rtol=0
    )


@given(sectors)
def test_the_sector_touches_all_four_sides(sector: Sector) -> None:
    places = convex_place(2 * centers(2), sector)  # the corners of the linear image
    assert places[0, :, 1].tolist() == pytest.approx([-1, -1])  # both ends of the inner arc
    assert places[1, :, 0].tolist() == pytest.approx([-1, 1])  # both ends of the outer arc
    assert convex_place(torch.tensor([0.0, 1.0]), sector).tolist() == pytest.approx([0, 1])
    inner = sector.inner_radius / (sector.inner_radius + 1)
    assert places[0, :, 0].tolist() == pytest.approx([-inner, inner])


@given(sectors, st.floats(-1, 1), st.floats(-1, 1))
def test_columns_become_rays_and_rows_arcs(sector: Sector, column: float, row: float) -> None:
    """In the body's own proportions, measured from the center of the fan."""
    width, top, bottom = sector.box
    line = torch.linspace(-1, 1, 9, dtype=torch.float64)

    def from_center(u: Tensor, v: Tensor) -> Tensor:
        x, y = convex_place(torch.stack([u, v], -1), sector).unbind(-1)
        return torch.complex(top + (y + 1) / 2 * (bottom - top), x * width)

    ray = from_center(torch.full_like(line, column), line)
    arc = from_center(line, torch.full_like(line, row))
    angle, radius = math.radians(column * sector.opening / 2), sector.inner_radius + (row + 1) / 2
    assert torch.allclose(ray.angle(), torch.full_like(line, angle), atol=1e-9)
    assert torch.allclose(ray.abs().diff(), torch.full((8,), 1 / 8, dtype=torch.float64))
    assert torch.allclose(arc.abs(), torch.full_like(line, radius), atol=1e-9)


@pytest.mark.parametrize("convert", [to_convex, to_linear])
@given(seed=st.integers(0, 1000))
def test_an_image_has_the_values_of_the_places_it_shows(convert: Convert, seed: int) -> None:
    """Cubic interpolation of one image at places that are computed here once more."""
    image = waves(seed, 1)[0, 0].double().numpy()
    half, inner = math.radians(80), 120 / 224
    u, v = (centers(SIDE)[..., k].numpy() for k in (0, 1))
    wide, low = (inner + 1) * math.sin(half), inner * math.cos(half)
    if convert is to_convex:
        right, down = u * wide, low + (v + 1) / 2 * (inner + 1 - low)
        x, y = np.arctan2(right, down) / half, 2 * (np.hypot(right, down) - inner) - 1
    else:
        radius = inner + (v + 1) / 2
        x, y = radius * np.sin(u * half) / wide, radius * np.cos(u * half) - low
        y = 2 * y / (inner + 1 - low) - 1
    pixels = [(SIDE * (place + 1) - 1) / 2 for place in (y, x)]
    expected = ndimage.map_coordinates(image, pixels, order=3, mode="nearest")
    seen = convert(torch.from_numpy(image)[None, None].float(), None, ULTRAFEDFM)[0][0, 0].numpy()
    within = (np.abs(x) < 0.96) & (np.abs(y) < 0.96)
    outside = (np.abs(x) > 1.04) | (np.abs(y) > 1.04)
    assert np.abs(seen - expected)[within].max() < 0.02
    assert (seen[outside] == 0).all()
    assert outside.any() == (convert is to_convex)


@given(seed=st.integers(0, 1000), opening=st.floats(60, 180), inner=st.floats(0.2, 1))
def test_smooth_images_and_lesions_come_back(seed: int, opening: float, inner: float) -> None:
    sector = Sector(opening, inner)
    images, masks = waves(seed, 1), blobs(seed)
    convex, bent = to_convex(images, masks, sector)
    back, straight = to_linear(convex, bent, sector)
    edge = 4  # pixels where the sector's black border mixes in
    difference = (back - images).abs()[..., edge:-edge, edge:-edge]
    assert difference.max() < 0.05
    assert difference.mean() < 0.01
    assert straight is not None
    for label in (1, 2):
        assert dice(straight == label, masks == label) > 0.9


@given(seed=st.integers(0, 1000))
def test_sectors_come_back_from_their_linear_images(seed: int) -> None:
    convex, _ = to_convex(waves(seed), None, ULTRAFEDFM)
    linear, _ = to_linear(convex, None, ULTRAFEDFM)
    back, _ = to_convex(linear, None, ULTRAFEDFM)
    inside = torch.from_numpy(ndimage.binary_erosion(convex[0, 0].numpy() > 0, iterations=4))
    assert (back - convex).abs()[..., inside].max() < 0.05


@pytest.mark.parametrize("convert", [to_convex, to_linear])
@given(seed=st.integers(0, 1000))
def test_image_and_mask_move_together(convert: Convert, seed: int) -> None:
    masks = (blobs(seed) > 0).to(torch.uint8)
    images, moved = convert(masks[:, None].float(), masks, ULTRAFEDFM)
    assert moved is not None
    assert moved.dtype == masks.dtype
    shown = images[0, 0].numpy()
    labeled = moved[0].numpy() == 1
    clear = np.abs(shown - DEVICE_SHARE) > 1e-4
    np.testing.assert_array_equal(labeled[clear], shown[clear] > DEVICE_SHARE)


@given(st.integers(4, SIDE - 7), st.booleans())
def test_a_structure_of_three_pixels_stays_in_one_piece(place: int, upright: bool) -> None:
    across, masks = slice(place, place + 3), torch.zeros(1, SIDE, SIDE, dtype=torch.uint8)
    masks[:, slice(None) if upright else across, across if upright else slice(None)] = 1
    _, moved = to_convex(masks[:, None].float(), masks, ULTRAFEDFM)
    assert moved is not None
    assert ndimage.label(moved[0].numpy(), np.ones((3, 3)))[1] == 1
    assert moved.sum() > SIDE


@modes
def test_frames_need_not_be_square(mode: ScanMode) -> None:
    images = waves(0)[:, :, :64]
    masks = blobs(0).repeat(2, 1, 1)[:, :64]
    views, moved = random_scan_mode(mode, 1.0)(images, masks, rng())
    assert moved is not None
    assert (views.shape, moved.shape) == (images.shape, masks.shape)


@modes
def test_every_image_has_its_own_draw_and_the_others_stay(mode: ScanMode) -> None:
    images, masks = waves(0, 1).repeat(64, 1, 1, 1), blobs(0).repeat(64, 1, 1)
    before = images.clone(), masks.clone()
    views, moved = random_scan_mode(mode, 0.25)(images, masks, rng(3))
    convert = {"linear": to_convex, "convex": to_linear}[mode]
    other, bent = convert(images[:1], masks[:1], ULTRAFEDFM)
    assert moved is not None
    assert bent is not None
    converted = (views == other).flatten(1).all(1)
    assert torch.equal(converted, (moved == bent).flatten(1).all(1))
    assert torch.equal(~converted, (views == images).flatten(1).all(1))
    assert 6 <= converted.sum() <= 28  # 16 are expected; beyond 3.4 deviations
    assert torch.equal(images, before[0])
    assert torch.equal(masks, before[1])


@modes
@given(seed=st.integers(0, 2**32))
def test_the_generator_decides_and_nothing_else(mode: ScanMode, seed: int) -> None:
    transform = random_scan_mode(mode, 0.5)
    images, masks = waves(1, 8, 16), blobs(1, 16).repeat(8, 1, 1)
    torch.manual_seed(1)
    first = transform(images, masks, rng(seed))
    torch.manual_seed(2)
    second = transform(images, None, rng(seed))
    assert torch.equal(first[0], second[0])
    assert second[1] is None


@modes
def test_never_and_always_are_what_they_say(mode: ScanMode) -> None:
    images = waves(2)
    assert torch.equal(random_scan_mode(mode, 0.0)(images, None, rng())[0], images)
    changed = random_scan_mode(mode, 1.0)(images, None, rng())[0]
    assert (changed != images).flatten(1).any(1).all()
    nothing = images[:0]
    assert random_scan_mode(mode, 1.0)(nothing, None, rng())[0].shape == nothing.shape


@pytest.mark.parametrize(
    ("opening", "inner"), [(0, 1), (181, 1), (math.nan, 1), (90, -0.1), (90, math.inf)]
)
def test_impossible_sectors_are_refused(opening: float, inner: float) -> None:
    with pytest.raises(ConfigError, match="sector's"):
        Sector(opening, inner)


@pytest.mark.parametrize("probability", [-0.1, 1.1, math.nan])
def test_impossible_probabilities_are_refused(probability: float) -> None:
    with pytest.raises(ConfigError, match="probability"):
        random_scan_mode("linear", probability)

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fedefm.data.transforms import (
    Transform,
    _affine_grid,
    compose,
    gaussian_noise,
    light,
    random_crop,
    random_flip,
    random_intensity,
    random_rotation,
    random_view,
)

ALL: dict[str, Transform] = {
    "light": light(),
    "view": random_view((0.5, 1.0), True, True, 15),
    "crop": random_crop(),
    "flip": random_flip(True, True),
    "rotation": random_rotation(),
    "intensity": random_intensity(),
    "noise": gaussian_noise(0.1),
}


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def some(count: int = 8, side: int = 16) -> tuple[Tensor, Tensor]:
    images = torch.rand(count, 1, side, side, generator=rng(99))
    return images, (images[:, 0] * 3).to(torch.uint8)


@pytest.mark.parametrize("name", ALL)
def test_shapes_types_and_range_stay(name: str) -> None:
    images, masks = some()
    new_images, new_masks = ALL[name](images.clone(), masks.clone(), rng())
    assert new_masks is not None
    assert new_images.shape == images.shape
    assert new_images.dtype == images.dtype
    assert new_masks.dtype == masks.dtype
    assert new_images.min() >= 0
    assert new_images.max() <= 1
    assert set(new_masks.unique().tolist()) <= set(masks.unique().tolist())


@pytest.mark.parametrize("name", ALL)
@given(seed=st.integers(0, 2**32))
def test_the_generator_decides_and_nothing_else(name: str, seed: int) -> None:
    images, masks = some(3)
    torch.manual_seed(1)
    first = ALL[name](images, masks, rng(seed))
    torch.manual_seed(2)
    second = ALL[name](images, None, rng(seed))
    assert torch.equal(first[0], second[0])
    assert second[1] is None


@pytest.mark.parametrize("name", ALL)
def test_every_image_has_its_own_draw(name: str) -> None:
    image = some(1)[0].repeat(16, 1, 1, 1)
    views = ALL[name](image, None, rng())[0]
    assert len(views.flatten(1).unique(dim=0)) > 1


@pytest.mark.parametrize("name", ALL)
def test_the_input_is_not_changed(name: str) -> None:
    images, masks = some()
    before = images.clone(), masks.clone()
    ALL[name](images, masks, rng())
    assert torch.equal(images, before[0])
    assert torch.equal(masks, before[1])


@pytest.mark.parametrize(("horizontal", "vertical"), [(True, False), (False, True), (True, True)])
def test_flips_are_exact_and_take_the_mask_along(horizontal: bool, vertical: bool) -> None:
    images, masks = some(64)
    views, new_masks = random_flip(horizontal, vertical)(images, masks, rng())
    assert new_masks is not None
    axes = [[], *([[2]] if horizontal else []), *([[1]] if vertical else [])]
    axes += [[1, 2]] if horizontal and vertical else []
    seen = set()
    for image, mask, view, new_mask in zip(images, masks, views, new_masks, strict=True):
        fitting = [
            i for i, axis in enumerate(axes) if torch.allclose(image.flip(axis), view, atol=1e-5)
        ]
        assert len(fitting) == 1
        flipped = mask[None].flip(axes[fitting[0]])[0]
        assert torch.equal(flipped, new_mask)
        seen.add(fitting[0])
    assert len(seen) == len(axes)  # each about equally often


@given(low=st.floats(0.2, 1.0), seed=st.integers(0, 1000))
def test_crops_stay_inside_and_have_the_side_asked_for(low: float, seed: int) -> None:
    ramp = torch.linspace(0, 1, 64).repeat(8, 1, 64, 1)
    views = random_crop((low, low))(ramp, None, rng(seed))[0]
    spans = views[:, 0, 0, -1] - views[:, 0, 0, 0]
    assert torch.allclose(spans, torch.full((8,), low), atol=0.04)
    assert torch.equal(views.argsort(dim=3, stable=True)[0, 0, 0], torch.arange(64))


def test_image_and_mask_move_together() -> None:
    images = torch.zeros(32, 1, 32, 32)
    images[:, :, 8:20, 5:17] = 1
    views, masks = random_view((0.6, 1.0), True, True, 20)(
        images, images[:, 0].to(torch.uint8), rng()
    )
    assert masks is not None
    assert ((views[:, 0] > 0.5) == (masks == 1)).float().mean() > 0.98


def test_noise_has_the_deviation_asked_for() -> None:
    gray = torch.full((64, 1, 64, 64), 0.5)
    noisy = gaussian_noise((0.05, 0.1))(gray, None, rng())[0]
    spread = noisy.std(dim=(1, 2, 3))
    assert 0.048 < spread.min() < 0.06
    assert 0.09 < spread.max() < 0.102
    assert abs(gaussian_noise(0.02)(gray, None, rng())[0].std() - 0.02) < 1e-3


def test_intensity_keeps_order_and_masks() -> None:
    images, masks = some()
    changed, same = random_intensity()(images, masks, rng())
    assert same is masks
    ordered = changed.flatten(1).gather(1, images.flatten(1).argsort(1))
    assert (ordered.diff(dim=1) >= -1e-6).all()


def test_composition_is_one_after_the_other() -> None:
    images, _ = some()
    both = compose(random_flip(), gaussian_noise(0.1))(images, None, rng())[0]
    one = rng()
    expected = gaussian_noise(0.1)(random_flip()(images, None, one)[0], None, one)[0]
    assert torch.equal(both, expected)


@pytest.mark.parametrize("scale", [(0.0, 1.0), (0.5, 1.5), (0.9, 0.5)])
def test_impossible_crops_are_refused(scale: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="scale"):
        random_crop(scale)


@given(seed=st.integers(0, 1000), height=st.integers(2, 20), width=st.integers(2, 20))
def test_the_grid_is_that_of_torch(seed: int, height: int, width: int) -> None:
    maps = torch.randn(3, 2, 3, generator=rng(seed))
    expected = F.affine_grid(maps, [3, 1, height, width], align_corners=False)
    assert torch.allclose(_affine_grid(maps, height, width), expected, atol=1e-5)

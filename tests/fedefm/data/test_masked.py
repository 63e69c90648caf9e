"""Frames for masked autoencoding: clean targets, worse input, and masks that can be repeated."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedefm.config import parse
from fedefm.config.masking import MaskingConfig
from fedefm.data.dataset import FrameDataset, Origins, standardize
from fedefm.data.degrade import degraded
from fedefm.data.masked import MaskedBatch, MaskedFrames
from fedefm.data.masking import keep_plain, texture
from fedefm.data.scan_mode import ULTRAFEDFM, random_scan_mode, to_convex
from fedefm.data.transforms import compose, light
from fedefm.errors import ConfigError, DataError
from fedefm.train.assemble import merged


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def plain_frames(count: int = 12, side: int = 32, seed: int = 0) -> FrameDataset:
    origins = Origins(("c",), torch.zeros(count).long(), torch.ones(count, 2), torch.ones(count, 2))
    return FrameDataset(
        torch.randint(0, 256, (count, 1, side, side), generator=rng(seed), dtype=torch.uint8),
        torch.arange(count) % 3,
        torch.arange(count) // 2,
        ("a", "b", "c"),
        origins=origins,
    )


def masked_frames(count: int = 12, **settings) -> MaskedFrames:
    return MaskedFrames(plain_frames(count), 8, MaskingConfig(**settings))


ROWS = torch.tensor([3, 0, 7, 5])


@given(ratio=st.floats(0.05, 0.95), count=st.integers(0, 12), seed=st.none() | st.integers(0, 99))
@pytest.mark.parametrize("masking", ["texture", "random"])
def test_a_batch_has_what_every_image_needs(masking, ratio, count, seed):
    frames = masked_frames(masking=masking, mask_ratio=ratio)
    batch = frames.batch(torch.arange(count), rng=None if seed is None else rng(seed))
    assert isinstance(batch, MaskedBatch)
    assert batch.images.shape == batch.clean.shape == (count, 1, 32, 32)
    assert batch.kept.shape == (count, min(15, max(1, round(16 * (1 - ratio)))))
    assert batch.labels.tolist() == [row % 3 for row in range(count)]
    assert batch.rows.tolist() == list(range(count))


def test_for_validation_nothing_is_changed_and_masks_stay_with_their_row():
    frames = masked_frames()
    once, again = frames.batch(ROWS), frames.batch(ROWS.flip(0))
    assert torch.equal(once.kept, again.kept.flip(0))
    assert len(once.kept.unique(dim=0)) == len(ROWS)
    assert torch.equal(once.clean, frames.images[ROWS].float() / 255)
    torch.testing.assert_close(once.images, standardize(once.clean))
    alone = frames.batch(ROWS[1:2])
    assert torch.equal(alone.kept[0], once.kept[1])


def test_equal_frames_have_masks_of_their_own_in_validation():
    frames = masked_frames()
    frames.images[:] = frames.images[:1].clone()
    assert len(frames.batch(torch.arange(12)).kept.unique(dim=0)) > 6


def test_in_training_the_generator_decides():
    frames = masked_frames()
    first, same, other = (frames.batch(ROWS, light(), rng(seed)) for seed in (1, 1, 2))
    for name in ("images", "clean", "kept"):
        assert torch.equal(getattr(first, name), getattr(same, name))
        assert not torch.equal(getattr(first, name), getattr(other, name))


def test_the_target_is_the_varied_image_before_it_is_degraded():
    frames = masked_frames(60)
    rows = torch.arange(60)
    batch = frames.batch(rows, light(), rng(4))
    varied, _ = light()(frames.images[rows].float() / 255, None, rng(4))
    assert torch.equal(batch.clean, varied)
    as_it_is = (batch.images - standardize(varied)).abs().amax(dim=(1, 2, 3)) < 1e-5
    assert 15 < int(as_it_is.sum()) < 45  # half of them


def test_what_is_hidden_is_chosen_by_the_texture_of_the_target_and_not_of_what_is_seen():
    """Specks in what is seen would else decide."""
    frames, draws = masked_frames(60), rng(4)
    batch = frames.batch(torch.arange(60), light(), rng(4))
    target, _ = light()(frames.images.float() / 255, None, draws)
    degraded(target, draws)
    assert torch.equal(batch.kept, keep_plain(texture(target, 8), 0.75, draws))


def test_without_degrading_the_input_is_the_target():
    frames = masked_frames(degrade=False)
    batch = frames.batch(ROWS, light(), rng())
    torch.testing.assert_close(batch.images, standardize(batch.clean))


def scanned(convert, mode="linear", count=12, **settings):
    masking = MaskingConfig(convert=convert, **settings)
    return MaskedFrames(plain_frames(count), 8, masking, mode)


def test_some_targets_are_in_the_other_scan_mode_each_by_its_own_draw():
    frames = scanned(0.5, count=60, degrade=False)
    rows = torch.arange(60)
    batch = frames.batch(rows, rng=rng())
    as_they_are = frames.images.float() / 255
    bent, _ = to_convex(as_they_are, None, ULTRAFEDFM)
    stayed, moved = ((batch.clean == some).flatten(1).all(1) for some in (as_they_are, bent))
    assert torch.equal(stayed, ~moved)
    assert 15 < int(moved.sum()) < 45
    torch.testing.assert_close(batch.images, standardize(batch.clean))


def test_conversion_comes_before_what_varies_images_and_both_before_what_makes_them_worse():
    frames = scanned(1.0, "convex", count=60)
    rows = torch.arange(60)
    batch = frames.batch(rows, light(), rng(4))
    change = compose(random_scan_mode("convex", 1.0), light())
    target, _ = change(frames.images.float() / 255, None, rng(4))
    assert torch.equal(batch.clean, target)
    worse = (batch.images - standardize(target)).abs().amax(dim=(1, 2, 3)) > 1e-5
    assert 15 < int(worse.sum()) < 45


@pytest.mark.parametrize(("convert", "mode"), [(0.0, "linear"), (1.0, None)])
def test_nothing_is_converted_or_drawn_without_a_share_and_a_mode(convert, mode):
    batch, plain = (
        f.batch(ROWS, light(), rng()) for f in (scanned(convert, mode), scanned(0, None))
    )
    for name in ("images", "clean", "kept"):
        assert torch.equal(getattr(batch, name), getattr(plain, name))


def test_for_validation_nothing_is_converted():
    frames = scanned(1.0)
    assert torch.equal(frames.batch(ROWS).clean, frames.images[ROWS].float() / 255)


@pytest.mark.parametrize(("masking", "plain"), [("texture", True), ("random", False)])
def test_texture_decides_where_it_is_asked_to(masking, plain):
    frames = masked_frames(12, masking=masking, degrade=False)
    frames.images[:, :, :16] = 128  # the upper half has no texture: patches 0 to 7
    kept = torch.cat([frames.batch(torch.arange(12), rng=rng(seed)).kept for seed in range(30)])
    textured = texture(frames.images[:1].float(), 8)[0] > 0
    assert textured.tolist() == [False] * 4 + [True] * 12  # the border's texture is in the second
    share = float((kept >= 8).float().mean())
    assert share < 0.2 if plain else abs(share - 0.5) < 0.06


@pytest.mark.parametrize("convert", [0.0, 0.5])
def test_one_frame_does_not_change_another(convert):
    frames = scanned(convert)
    before = frames.batch(ROWS, light(), rng())
    frames.images[7] = 255 - frames.images[7]
    after = frames.batch(ROWS, light(), rng())
    stayed = torch.tensor([0, 1, 3])
    for name in ("images", "clean", "kept"):
        assert torch.equal(getattr(before, name)[stayed], getattr(after, name)[stayed])
    assert not torch.equal(before.clean[2], after.clean[2])


def test_a_transform_without_a_generator_is_refused():
    with pytest.raises(ValueError, match="generator"):
        masked_frames().batch(ROWS, light())


def test_parts_and_unions_are_masked_in_the_same_way():
    frames = scanned(0.5, mask_ratio=0.5)
    part = frames.subset(ROWS)
    together = merged([part, frames])
    for some in (part, together):
        assert isinstance(some, MaskedFrames)
        assert (some.patch, some.masking, some.scan_mode) == (8, frames.masking, "linear")
        assert isinstance(some.batch(torch.tensor([0])), MaskedBatch)
    assert part.origins is not None
    assert torch.equal(part.images, frames.images[ROWS])
    assert torch.equal(together.images[4:], frames.images)
    assert len(together.patients.unique()) == 4 + 6


@pytest.mark.parametrize("masked", [True, False])
def test_noise_is_of_the_same_kind_and_reads_no_frame(masked):
    frames = masked_frames() if masked else plain_frames()
    noise, real = frames.random_batch(4, rng()), frames.batch(ROWS)
    assert type(noise) is type(real)
    assert noise.images.dtype == real.images.dtype
    frames.images[:], frames.labels[:] = 0, 0
    again = frames.random_batch(4, rng())
    for name in vars(real):
        assert getattr(noise, name).shape == getattr(real, name).shape
        assert torch.equal(getattr(noise, name), getattr(again, name))


@pytest.mark.parametrize(("side", "use"), [(12, 16), (8, 16), (30, 32)])
def test_frames_that_cannot_be_cut_into_patches_are_refused(side, use):
    with pytest.raises(DataError, match=f"frames of {side} pixels .* of 8; use .* {use}, for"):
        MaskedFrames(plain_frames(2, side), 8, MaskingConfig())


@pytest.mark.parametrize(
    "settings",
    [
        {"mask_ratio": 0},
        {"mask_ratio": 1},
        {"masking": "none"},
        {"ratio": 0.5},
        {"convert": 1.5},
        {"convert": -0.1},
    ],
)
def test_settings_that_mean_nothing_are_refused(settings):
    with pytest.raises(ConfigError, match=next(iter(settings))):
        parse(settings, MaskingConfig, "run file")
    assert parse({}, MaskingConfig, "run file") == MaskingConfig()

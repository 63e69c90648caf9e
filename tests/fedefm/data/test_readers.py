from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fedefm.data import readers
from fedefm.data.readers import count_frames, frame_size, read_frames, read_image, read_mask
from fedefm.errors import DataError

RAMP = np.arange(12 * 20, dtype=np.uint8).reshape(12, 20)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.tiff", "a.gif", "a.pgm", "a.bmp", "A.PNG"])
def test_eight_bits_keep_their_range(tmp_path: Path, name: str) -> None:
    Image.fromarray(RAMP).save(tmp_path / name)
    image = read_image(tmp_path / name)
    assert image.dtype == np.float32
    np.testing.assert_allclose(image, RAMP / 255, atol=1e-6)
    assert frame_size(tmp_path / name) == (12, 20)
    assert count_frames(tmp_path / name) == 1


def test_jpeg_is_close(tmp_path: Path) -> None:
    smooth = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (64, 1))
    Image.fromarray(smooth).save(tmp_path / "a.jpg", quality=95)
    np.testing.assert_allclose(read_image(tmp_path / "a.jpg"), smooth / 255, atol=0.03)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P"])
def test_color_becomes_luminance(tmp_path: Path, mode: str) -> None:
    color = np.zeros((4, 4, 3), np.uint8)
    color[0], color[1], color[2] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    Image.fromarray(color).convert(mode).save(tmp_path / "a.png")
    rows = read_image(tmp_path / "a.png")[:, 0]
    np.testing.assert_allclose(rows, [0.299, 0.587, 0.114, 0], atol=0.01)


def test_twelve_bits_in_a_sixteen_bit_file_use_the_whole_range(tmp_path: Path) -> None:
    values = np.linspace(0, 4095, 10_000).astype(np.uint16).reshape(100, 100)
    Image.fromarray(values).save(tmp_path / "a.png")
    np.save(tmp_path / "a.npy", values)
    for name in ("a.png", "a.npy"):
        image = read_image(tmp_path / name)
        assert image.min() == 0
        assert image.max() == 1
        assert abs(image[50, 0] - 0.5) < 0.01


def test_a_thin_line_in_a_sixteen_bit_file_is_not_lost(tmp_path: Path) -> None:
    values = np.zeros((100, 100), np.uint16)
    values[40, :40] = 900  # 0.4 % of the pixels: outside the percentiles
    np.save(tmp_path / "a.npy", values)
    np.testing.assert_array_equal(read_image(tmp_path / "a.npy"), values / np.float32(900))


def test_floats_within_zero_and_one_stay(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((8, 9), dtype=np.float32) * 0.3
    np.save(tmp_path / "a.npy", values)
    np.testing.assert_array_equal(read_image(tmp_path / "a.npy"), values)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32", "float64", "bool"])
@given(seed=st.integers(0, 2**16), spread=st.floats(0, 1e4))
def test_every_array_lands_in_zero_to_one(
    tmp_path_factory: pytest.TempPathFactory, dtype: str, seed: int, spread: float
) -> None:
    values = np.random.default_rng(seed).normal(0, spread, (6, 7))
    if np.dtype(dtype).kind in "iu":
        values = values.clip(np.iinfo(dtype).min, np.iinfo(dtype).max)
    path = tmp_path_factory.mktemp("x") / "a.npy"
    np.save(path, values.astype(dtype))
    image = read_image(path)
    assert image.dtype == np.float32
    assert image.shape == (6, 7)
    assert image.min() >= 0
    assert image.max() <= 1


@pytest.mark.parametrize("name", ["a.tif", "a.gif"])
def test_pages_and_animations_are_frames(tmp_path: Path, name: str) -> None:
    pages = [Image.fromarray(np.full((5, 6), level, np.uint8)) for level in (0, 100, 200)]
    pages[0].save(tmp_path / name, save_all=True, append_images=pages[1:])
    assert count_frames(tmp_path / name) == 3
    levels = [frame.mean() * 255 for frame in read_frames(tmp_path / name)]
    np.testing.assert_allclose(levels, [0, 100, 200], atol=1)
    assert abs(read_image(tmp_path / name, 1).mean() * 255 - 100) < 1  # also backward


def test_pages_have_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "MOST_PAGES", 3)
    pages = [Image.new("L", (5 + page, 6), page) for page in range(4)]
    for count in (1, 3, 4):
        pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:count])
        if count == 4:
            with pytest.raises(DataError, match="more than 3 pages"):
                count_frames(tmp_path / "a.tif")
        else:
            assert count_frames(tmp_path / "a.tif") == count
            assert frame_size(tmp_path / "a.tif") == (6, 5)


def test_numpy_stacks_have_frames_first_and_color_last(tmp_path: Path) -> None:
    np.save(tmp_path / "stack.npy", np.stack([RAMP, 255 - RAMP]))
    np.save(tmp_path / "color.npy", np.stack([RAMP] * 3, axis=-1))
    assert count_frames(tmp_path / "stack.npy") == 2
    np.testing.assert_allclose(read_image(tmp_path / "stack.npy", 1), (255 - RAMP) / 255, atol=1e-6)
    assert count_frames(tmp_path / "color.npy") == 1
    np.testing.assert_allclose(read_image(tmp_path / "color.npy"), RAMP / 255, atol=1e-6)


@pytest.mark.parametrize("name", ["v.nii", "v.nii.gz"])
def test_nifti_slices_run_along_the_last_axis(tmp_path: Path, name: str) -> None:
    volume = np.zeros((4, 6, 3), np.int16)
    volume[:, :, 1] = 50
    volume[0, :, 2] = 100  # smallest first index: left in the picture
    volume[:, 5, 2] = 100  # largest second index: top of the picture
    nibabel.Nifti1Image(volume, np.eye(4)).to_filename(tmp_path / name)
    assert count_frames(tmp_path / name) == 3
    assert frame_size(tmp_path / name) == (6, 4)
    assert np.allclose(read_image(tmp_path / name, 1), 0.5)
    shown = read_image(tmp_path / name, 2)
    assert shown.shape == (6, 4)
    assert shown[0].min() == 1
    assert shown[:, 0].min() == 1
    assert shown[1:, 1:].max() == 0
    assert set(np.unique(read_mask(tmp_path / name, 2))) == {0, 100}


def test_nifti_of_two_axes_is_a_picture_whose_second_axis_points_down(tmp_path: Path) -> None:
    nibabel.Nifti1Image(RAMP.T, np.eye(4)).to_filename(tmp_path / "a.nii.gz")
    assert frame_size(tmp_path / "a.nii.gz") == RAMP.shape
    np.testing.assert_allclose(read_image(tmp_path / "a.nii.gz"), RAMP / 255, atol=1e-6)
    np.testing.assert_array_equal(read_mask(tmp_path / "a.nii.gz"), RAMP)


def test_masks_keep_label_values_and_255_means_one(tmp_path: Path) -> None:
    labels = np.array([[0, 1], [2, 7]], np.uint8)
    for name, stored in (("p.png", labels), ("b.png", (labels > 0) * np.uint8(255))):
        Image.fromarray(stored).save(tmp_path / name)
    palette = Image.fromarray(labels)
    palette.putpalette([level for i in range(256) for level in (i, 255 - i, 0)])
    palette.save(tmp_path / "palette.png")
    Image.fromarray(np.stack([labels] * 3, -1)).save(tmp_path / "rgb.png")
    Image.fromarray(labels.astype(np.uint16) * 300).save(tmp_path / "deep.png")
    Image.fromarray(labels > 0).save(tmp_path / "bits.png")
    np.save(tmp_path / "a.npy", labels.astype(np.float32))
    for name in ("p.png", "palette.png", "rgb.png", "a.npy"):
        np.testing.assert_array_equal(read_mask(tmp_path / name), labels)
        assert read_mask(tmp_path / name).dtype == np.int64
    for name in ("b.png", "bits.png"):
        np.testing.assert_array_equal(read_mask(tmp_path / name), labels > 0)
    np.testing.assert_array_equal(read_mask(tmp_path / "deep.png"), labels.astype(int) * 300)


def test_a_mask_must_hold_labels(tmp_path: Path) -> None:
    np.save(tmp_path / "half.npy", np.full((3, 3), 0.5))
    np.save(tmp_path / "minus.npy", np.full((3, 3), -1))
    Image.fromarray(np.eye(9, dtype=np.uint8).reshape(3, 9, 3) * 200).save(tmp_path / "color.png")
    for name, reason in (("half", "whole"), ("minus", "negative"), ("color", "not colors")):
        path = next(tmp_path.glob(f"{name}.*"))
        with pytest.raises(DataError, match=reason):
            read_mask(path)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.gif", "a.npy", "a.nii.gz", "a.dcm"])
@pytest.mark.parametrize("content", [b"", b"not an image", b"\0" * 300])
def test_corrupt_files_are_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=rf"{name} cannot be read as an image: ."):
        read_image(tmp_path / name)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.npy", "a.nii.gz"])
def test_files_cut_short_are_named(tmp_path: Path, name: str) -> None:
    values = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    path = tmp_path / name
    if name == "a.npy":
        np.save(path, values)
    elif name == "a.nii.gz":
        nibabel.Nifti1Image(values[..., None], np.eye(4)).to_filename(path)
    else:
        Image.fromarray(values).save(path)
    path.write_bytes(path.read_bytes()[:-800])
    with pytest.raises(DataError, match=name):
        read_image(path)


def test_volumes_of_one_file_follow_each_other_and_keep_a_range_each(tmp_path: Path) -> None:
    volumes = np.random.default_rng(0).random((6, 5, 4, 3)) * [100, 2000, 30_000]
    nibabel.Nifti1Image(volumes, np.eye(4)).to_filename(tmp_path / "channels.nii.gz")
    assert count_frames(tmp_path / "channels.nii.gz") == 12
    for channel in range(3):
        alone = tmp_path / f"{channel}.nii"
        nibabel.Nifti1Image(volumes[..., channel], np.eye(4)).to_filename(alone)
        for number in range(4):
            image = read_image(tmp_path / "channels.nii.gz", channel * 4 + number)
            np.testing.assert_array_equal(image, read_image(alone, number))


def test_other_faults_are_named(tmp_path: Path) -> None:
    Image.fromarray(RAMP).save(tmp_path / "a.png")
    np.save(tmp_path / "four.npy", np.zeros((2, 2, 2, 2)))
    np.save(tmp_path / "nan.npy", np.full((3, 3), np.nan))
    np.save(tmp_path / "pickle.npy", np.array([{}], dtype=object))
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "folder.png").mkdir()
    for name, frame, reason in (
        ("a.png", 1, "has no frame 1; it has 1"),
        ("a.png", -1, "has no frame -1"),
        ("none.png", 0, "does not exist"),
        ("four.npy", 0, "4 axes"),
        ("nan.npy", 0, "not numbers"),
        ("pickle.npy", 0, "cannot be read"),
        ("a.txt", 0, "of no known kind; known are .png"),
        ("folder.png", 0, "is a folder"),
    ):
        with pytest.raises(DataError, match=reason):
            read_image(tmp_path / name, frame)


def test_a_file_of_many_frames_is_opened_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("image.npy", "mask.npy"):
        np.save(tmp_path / name, np.zeros((50, 8, 8), np.uint8))
    opened = []
    original = readers.np.load
    monkeypatch.setattr(
        readers.np, "load", lambda *a, **k: (opened.append(a), original(*a, **k))[1]
    )
    for frame in range(50):  # image and mask in turn
        read_image(tmp_path / "image.npy", frame)
        read_mask(tmp_path / "mask.npy", frame)
    assert len(opened) == 2


def test_a_file_that_changed_is_read_again(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((4, 4), np.uint8))
    assert read_image(tmp_path / "a.npy").max() == 0
    np.save(tmp_path / "a.npy", np.full((5, 5), 255, np.uint8))
    assert read_image(tmp_path / "a.npy").min() == 1


def test_a_changed_array_leaves_the_file_alone(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((4, 4), np.float32))
    read_image(tmp_path / "a.npy")[:] = 1
    assert read_image(tmp_path / "a.npy").max() == 0

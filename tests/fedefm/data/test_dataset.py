import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fedefm.data.dataset import FrameDataset, resize_image, resize_mask
from fedefm.data.manifest import Manifest, Row
from fedefm.data.readers import read_image
from fedefm.data.transforms import light
from fedefm.errors import DataError

MakeManifest = Callable[..., Manifest]
ROWS = (
    Row("a.png", 0, "p1", "angio", "", "a_m.png", "train"),
    Row("b.png", 0, "p2", "angio", "wire", "b_m.png", "train"),
    Row("c.png", 0, "p1", "chest", "", "c_m.png", "train"),
    Row("d.png", 0, "p3", "chest", "", "d_m.png", "test"),
)
KINDS = ("angio", "chest", "wire")


@pytest.fixture
def manifest(make_manifest: MakeManifest) -> Manifest:
    return make_manifest(ROWS)


def random_dataset(count: int = 100, side: int = 32, masks: bool = False) -> FrameDataset:
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 1, side, side), dtype=torch.uint8, generator=rng)
    labels = torch.randint(0, 3, (count,), generator=rng)
    values = (images[:, 0] % 3) if masks else None
    return FrameDataset(images, labels, torch.arange(count) // 2, ("a", "b", "c"), values)


def test_a_manifest_becomes_frames_labels_and_patients(manifest: Manifest) -> None:
    classes = ("chest", "wire", "angio", "other")
    dataset = FrameDataset.from_manifest(manifest, "train", classes, 12)
    assert len(dataset) == 3
    assert dataset.images.shape == (3, 1, 12, 12)
    assert dataset.images.dtype == torch.uint8
    assert dataset.labels.tolist() == [2, 1, 0]  # label, or else corpus
    assert dataset.patients[0] == dataset.patients[2] != dataset.patients[1]
    assert dataset.present.tolist() == [True, True, True, False]
    assert dataset.masks is None
    stored = read_image(manifest.folder / "b.png") * 255
    np.testing.assert_allclose(dataset.images[1, 0].numpy(), stored, atol=0.6)
    assert len(FrameDataset.from_manifest(manifest, None, classes, 12)) == 4


def test_frames_remember_their_corpus_and_how_large_their_pixels_are(
    make_manifest: MakeManifest,
) -> None:
    rows = (*ROWS[:2], replace(ROWS[2], spacing_mm=0.25), ROWS[3])
    manifest = make_manifest(rows)
    height, width = read_image(manifest.folder / "c.png").shape
    origins = FrameDataset.from_manifest(manifest, None, ("chest", "angio", "wire"), 12).origins
    assert origins is not None
    assert [origins.names[k] for k in origins.corpora] == ["angio", "angio", "chest", "chest"]
    assert origins.spacing[[0, 1, 3]].isnan().all()
    assert origins.spacing[2].tolist() == pytest.approx([0.25 * height / 12, 0.25 * width / 12])
    assert origins.shrunk[2].tolist() == pytest.approx([height / 12, width / 12])
    assert not origins.shrunk.isnan().any()
    assert torch.equal(origins.at(torch.tensor([2])).shrunk, origins.shrunk[2:3])


def test_a_part_of_the_frames_keeps_its_origins(manifest: Manifest) -> None:
    dataset = FrameDataset.from_manifest(manifest, None, ("chest", "angio", "wire"), 12)
    part = dataset.subset(torch.tensor([3, 0])).origins
    assert part is not None
    assert [part.names[k] for k in part.corpora] == ["chest", "angio"]


def test_masks_come_along_when_asked_for(manifest: Manifest) -> None:
    classes = ("background", "catheter", "guidewire")
    dataset = FrameDataset.from_manifest(manifest, "test", classes, 12, masks=True)
    assert dataset.masks is not None
    mask = np.asarray(Image.open(manifest.folder / "d_m.png"))
    assert np.array_equal(dataset.masks[0].numpy(), mask)
    batch = dataset.batch(torch.tensor([0, 0]))
    assert batch.labels.shape == (2, 12, 12)
    assert batch.labels.dtype == torch.int64
    assert dataset.present.tolist() == [True, True, True]
    assert dataset.labels.tolist() == [-1]


def test_progress_is_told(manifest: Manifest) -> None:
    seen: list[tuple[int, int]] = []
    FrameDataset.from_manifest(
        manifest, "train", KINDS, 12, progress=lambda *step: seen.append(step)
    )
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_unknown_labels_empty_splits_and_missing_masks_are_named(
    manifest: Manifest, make_manifest: MakeManifest
) -> None:
    with pytest.raises(DataError, match=r"(?s)row 2 \(a.png\).*'angio'.*row 3.*'wire'"):
        FrameDataset.from_manifest(manifest, "train", ("chest",), 12)
    with pytest.raises(DataError, match="no rows in split 'validation'; it has test, train"):
        FrameDataset.from_manifest(manifest, "validation", KINDS, 12)
    bare = make_manifest([replace(ROWS[0], mask_path="")], folder="bare")
    with pytest.raises(DataError, match=r"row 2 \(a.png\) has no mask"):
        FrameDataset.from_manifest(bare, None, ("x", "y"), 12, masks=True)
    with pytest.raises(DataError, match="the mask has the value 2, but there are 2 classes"):
        FrameDataset.from_manifest(manifest, None, ("x", "y"), 12, masks=True)


def test_a_mask_of_another_size_is_named(manifest: Manifest) -> None:
    Image.new("L", (5, 7)).save(manifest.folder / "d_m.png")
    with pytest.raises(DataError, match=r"row 5 \(d.png\): the mask has 5 x 7 pixels and the im"):
        FrameDataset.from_manifest(manifest, "test", ("x", "y", "z"), 12, masks=True)


def test_frames_of_one_file_keep_their_order_and_their_masks(
    tmp_path: Path, make_manifest: MakeManifest
) -> None:
    base = make_manifest([Row("x.png", 0, "p", "c")])
    levels = np.array([[[0]], [[100]], [[200]]], np.uint8) * np.ones((3, 6, 6), np.uint8)
    np.save(base.folder / "stack.npy", levels)
    np.save(base.folder / "masks.npy", levels // 100)
    rows = tuple(Row("stack.npy", i, "p", "c", "", "masks.npy") for i in (2, 0, 1))
    dataset = FrameDataset.from_manifest(
        Manifest(base.folder, rows), None, ("0", "1", "2"), 6, masks=True
    )
    assert dataset.images[:, 0, 0, 0].tolist() == [200, 0, 100]
    assert dataset.masks is not None
    assert dataset.masks[:, 0, 0].tolist() == [2, 0, 1]


@given(seed=st.integers(0, 2**20), spread=st.floats(1, 120))
def test_batches_are_standardized_image_by_image(seed: int, spread: float) -> None:
    values = np.random.default_rng(seed).normal(128, spread, (4, 1, 8, 8)).clip(0, 255)
    images = torch.from_numpy(values.astype(np.uint8))
    images[3] = int(seed % 256)  # constant
    dataset = FrameDataset(images, torch.zeros(4).long(), torch.arange(4), ("a",))
    batch = dataset.batch(torch.tensor([3, 0, 2]))
    assert batch.images.dtype == torch.float32
    assert batch.rows.tolist() == [3, 0, 2]
    assert batch.images.mean(dim=(1, 2, 3)).abs().max() < 1e-2
    assert batch.images[0].abs().max() < 1e-2
    varied = images[[0, 2]].float().std(dim=(1, 2, 3)) > 0
    assert torch.allclose(
        batch.images[1:].std(dim=(1, 2, 3), correction=0)[varied], torch.ones(2)[varied], atol=1e-3
    )


def test_one_image_does_not_change_another() -> None:
    dataset = random_dataset()
    alone, together = dataset.batch(torch.tensor([5])), dataset.batch(torch.tensor([1, 5, 9]))
    assert torch.allclose(alone.images[0], together.images[1], atol=1e-6)


def test_transforms_draw_from_the_generator_given() -> None:
    dataset, rows = random_dataset(masks=True), torch.arange(8)
    first = dataset.batch(rows, light(), torch.Generator().manual_seed(3))
    second = dataset.batch(rows, light(), torch.Generator().manual_seed(3))
    third = dataset.batch(rows, light(), torch.Generator().manual_seed(4))
    assert torch.equal(first.images, second.images)
    assert torch.equal(first.labels, second.labels)
    assert not torch.equal(first.images, third.images)
    with pytest.raises(ValueError, match="generator"):
        dataset.batch(rows, light())


def test_a_batch_leaves_the_dataset_as_it_is() -> None:
    dataset = random_dataset()
    before = dataset.images.clone()
    dataset.batch(torch.arange(100), light(), torch.Generator().manual_seed(0))
    assert torch.equal(dataset.images, before)


def test_a_subset_keeps_what_belongs_together() -> None:
    dataset, rows = random_dataset(masks=True), torch.tensor([7, 3])
    part = dataset.subset(rows)
    assert len(part) == 2
    assert part.classes == dataset.classes
    assert torch.equal(part.labels, dataset.labels[rows])
    assert torch.equal(part.patients, dataset.patients[rows])
    assert torch.equal(part.batch(torch.arange(2)).labels, dataset.batch(rows).labels)


def test_differing_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="differ in number"):
        FrameDataset(torch.zeros(2, 1, 4, 4), torch.zeros(3), torch.zeros(2), ("a",))


@given(size=st.integers(4, 60), row=st.integers(0, 63), slope=st.floats(-1, 1))
def test_a_wire_of_one_pixel_survives_any_size(size: int, row: int, slope: float) -> None:
    mask = np.zeros((64, 80), np.int64)
    columns = np.arange(80)
    mask[np.clip(np.rint(row + slope * (columns - 40)).astype(int), 0, 63), columns] = 2
    small = resize_mask(mask, size, size)
    assert (small == 2).any(dim=0).all()  # in every column, without a gap


def test_larger_labels_are_on_top_and_background_stays() -> None:
    mask = np.zeros((8, 8), np.int64)
    mask[:2, :2] = [[1, 1], [1, 2]]
    assert resize_mask(mask, 4, 4).tolist() == [[2, 0, 0, 0], *[[0] * 4] * 3]


@pytest.mark.parametrize("size", [8, 11, 16, 40])
def test_growing_masks_take_the_nearest_value(size: int) -> None:
    mask = np.random.default_rng(0).integers(0, 4, (8, 8))
    grown = Image.fromarray(mask.astype(np.uint8)).resize((size, size), Image.Resampling.NEAREST)
    assert np.array_equal(resize_mask(mask, size, size).numpy(), np.asarray(grown))


def test_shrinking_images_are_antialiased() -> None:
    stripes = np.tile(np.array([[0, 1]], np.float32), (64, 32))
    small = resize_image(stripes, 8)
    assert small.shape == (8, 8)
    assert (small.float() - 127.5).abs().max() < 15


def test_a_batch_costs_about_a_millisecond() -> None:
    dataset, transform, rng = random_dataset(), light(), torch.Generator().manual_seed(0)
    rows = torch.arange(16)
    seconds = []
    for _ in range(50):
        start = time.perf_counter()
        dataset.batch(rows, transform, rng)
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.005  # 0.6 ms on an idle core; a loop over images takes many times more

"""Bright lines on noise: a segmentation task that a tiny network learns in seconds."""

import numpy as np
import pytest
import torch
from PIL import Image

from fedefm.data.dataset import FrameDataset
from fedefm.data.manifest import Row, write_manifest

CLASSES = ("background", "catheter", "guidewire")


def draw_lines(count, size, seed):
    """Images (count, size, size) uint8 and masks: a bright bar (1) and a dark row (2)."""
    rng = np.random.default_rng(seed)
    images = rng.normal(128, 8, (count, size, size))
    masks = np.zeros((count, size, size), np.uint8)
    for image, mask in zip(images, masks, strict=True):
        bar, row = rng.integers(4, size - 4, 2)
        image[:, bar : bar + 2], mask[:, bar : bar + 2] = 230, 1
        image[row], mask[row] = 20, 2
    return images.clip(0, 255).astype(np.uint8), masks


@pytest.fixture(scope="session")
def lines():
    """64 images of 16 patients, 32 px."""
    images, masks = draw_lines(64, 32, seed=0)
    return FrameDataset(
        torch.from_numpy(images)[:, None],
        torch.full((64,), -1),
        torch.arange(64) // 4,
        CLASSES,
        torch.from_numpy(masks),
    )


@pytest.fixture
def lines_manifest(tmp_path):
    """A folder of 12 images of 6 patients with masks, in three splits, 40 px."""
    folder = tmp_path / "lines"
    folder.mkdir()
    images, masks = draw_lines(12, 40, seed=1)
    rows = []
    for k, (image, mask) in enumerate(zip(images, masks, strict=True)):
        Image.fromarray(image).save(folder / f"{k:02}.png")
        Image.fromarray(mask).save(folder / f"{k:02}_mask.png")
        split = ("train", "train", "train", "train", "validation", "test")[k // 2]
        rows.append(
            Row(
                path=f"{k:02}.png",
                patient_id=f"secret-{k // 2}",
                corpus="lines",
                mask_path=f"{k:02}_mask.png",
                split=split,
            )
        )
    write_manifest(folder / "manifest.csv", rows)
    return folder / "manifest.csv"

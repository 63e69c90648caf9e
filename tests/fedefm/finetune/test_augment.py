"""A wire of one pixel is still there, in one piece and seen, after any augmentation."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from fedefm.finetune.augment import chest_views, fluoroscopy_views, random_tile

SIZE = 96
CONTRAST = 0.12  # of the thinnest wire in real frames, about a tenth of what is around it


def wires(count):
    """Straight wires of one pixel through the middle, in all directions, with their masks."""
    images, masks = torch.full((count, 1, SIZE, SIZE), 0.6), torch.zeros(count, SIZE, SIZE)
    along = np.arange(-SIZE, SIZE, 0.25)
    for k, angle in enumerate(np.linspace(0, np.pi, count, endpoint=False)):
        rows, columns = (
            np.rint(SIZE / 2 + along * step).astype(int) for step in (np.sin(angle), np.cos(angle))
        )
        inside = (rows >= 0) & (rows < SIZE) & (columns >= 0) & (columns < SIZE)
        masks[k, rows[inside], columns[inside]] = 2
    images[:, 0][masks > 0] -= CONTRAST
    return images, masks.to(torch.uint8)


@pytest.mark.parametrize("views", [fluoroscopy_views, chest_views])
def test_a_wire_of_one_pixel_survives(views):
    images, masks = wires(120)
    seen, marked = views()(images, masks, torch.Generator().manual_seed(1))
    longest, depths = [], []
    for image, mask in zip(seen[:, 0].numpy(), (marked == 2).numpy(), strict=True):
        pieces, number = ndimage.label(mask, structure=np.ones((3, 3)))
        if number == 0:
            continue  # another part of the frame
        longest.append(np.bincount(pieces.ravel())[1:].max() / mask.sum())
        beside = ndimage.binary_dilation(mask, iterations=4) & ~ndimage.binary_dilation(mask)
        depths.append(image[beside].mean() - image[mask].mean())
    assert len(longest) > 100
    assert np.quantile(longest, 0.05) > 0.9  # no gaps: a wire stays one piece
    assert np.median(depths) > 0.5 * CONTRAST  # half of it is what one resampling takes
    assert np.min(depths) > 0.25 * CONTRAST


def test_nothing_is_shrunk():
    images, masks = wires(60)
    for views in (fluoroscopy_views(), chest_views()):
        _, marked = views(images, masks, torch.Generator().manual_seed(2))
        seen = (marked > 0).sum(dim=(1, 2)).float()
        assert (seen[seen > 0].median() >= 0.9 * (masks > 0).sum(dim=(1, 2)).float().median()).all()


def test_a_chest_is_never_mirrored():
    images = torch.zeros(64, 1, 32, 32)
    images[..., :8] = 1.0  # the left edge
    seen, _ = chest_views()(images, None, torch.Generator().manual_seed(0))
    assert (seen[..., :16].mean(dim=(1, 2, 3)) > seen[..., 16:].mean(dim=(1, 2, 3))).all()


def test_tiles_are_parts_of_their_image_as_they_are():
    images = torch.rand(8, 1, 40, 56, generator=torch.Generator().manual_seed(0))
    masks = (images[:, 0] > 0.9).to(torch.uint8)
    tiles, marked = random_tile(16)(images, masks, torch.Generator().manual_seed(1))
    for image, mask, tile, label in zip(images, masks, tiles, marked, strict=True):
        places = image[0].unfold(0, 16, 1).unfold(1, 16, 1)
        same = (places == tile[0]).all(dim=(2, 3)).nonzero()
        assert len(same) == 1
        y, x = same[0].tolist()
        assert torch.equal(mask[y : y + 16, x : x + 16], label)


def test_half_of_the_tiles_have_the_device_in_their_middle():
    masks = torch.zeros(400, 128, 128, dtype=torch.uint8)
    masks[:, 40, 60] = 1
    images = torch.zeros(400, 1, 128, 128)
    _, marked = random_tile(16)(images, masks, torch.Generator().manual_seed(0))
    centered = marked[:, 8, 8].float().mean()
    assert 0.4 < centered < 0.6
    alone, nothing = random_tile(16)(images, None, torch.Generator().manual_seed(0))
    assert (alone.shape, nothing) == ((400, 1, 16, 16), None)

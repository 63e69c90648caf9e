from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fedefm.data.manifest import Manifest, Row
from fedefm.data.preview import CAPTION, GAP, MASK_COLORS, TILE, contact_sheet, save_sheet
from fedefm.errors import DataError

MakeManifest = Callable[..., Manifest]


@pytest.fixture
def manifest(make_manifest: MakeManifest) -> Manifest:
    rows = [Row(f"{i}.png", 0, f"p{i}", "angio", "wire" * (i % 2), f"m{i}.png") for i in range(9)]
    return make_manifest([*rows, Row("x.png", 0, "p", "größe 図" * 40)], side=40)


def test_one_strip_for_each_corpus_and_label(manifest: Manifest) -> None:
    sheet = contact_sheet(manifest, columns=3)
    assert sheet.size == (GAP + 3 * (TILE + GAP), GAP + 3 * (CAPTION + TILE + GAP))
    captions = np.asarray(sheet)[GAP : GAP + CAPTION]
    assert captions.min() < 80  # something is written there


def test_masks_are_drawn_in_their_color(make_manifest: MakeManifest) -> None:
    manifest = make_manifest([Row("a.png", 0, "p", "c", "", "m.png")], side=64)
    gray, mask = np.full((64, 64), 100, np.uint8), np.zeros((64, 64), np.uint8)
    mask[:, 10] = 2  # a wire of one pixel
    Image.fromarray(gray).save(manifest.folder / "a.png")
    Image.fromarray(mask).save(manifest.folder / "m.png")
    tile = np.asarray(contact_sheet(manifest, columns=1))[GAP + CAPTION :, GAP:][:TILE, :TILE]
    column = round(10.5 * TILE / 64)
    expected = 0.4 * 100 + 0.6 * np.array(MASK_COLORS[1])
    np.testing.assert_allclose(tile[TILE // 2, column], expected, atol=2)
    assert tile[TILE // 2, TILE // 2].tolist() == [100] * 3


def test_proportions_are_kept(make_manifest: MakeManifest) -> None:
    manifest = make_manifest([Row("a.png", 0, "p", "c")])
    Image.new("L", (40, 10), 255).save(manifest.folder / "a.png")
    tile = np.asarray(contact_sheet(manifest, columns=1))[GAP + CAPTION :, GAP:][:TILE, :TILE]
    white = (tile == 255).all(axis=2)
    assert white.any(axis=0).sum() == TILE
    assert white.any(axis=1).sum() == TILE // 4


def test_progress_is_told(manifest: Manifest) -> None:
    seen: list[tuple[int, int]] = []
    contact_sheet(manifest, 4, lambda *step: seen.append(step))
    assert seen == [(i, 9) for i in range(1, 10)]


def test_the_sheet_is_saved_whole_or_not_at_all(manifest: Manifest, tmp_path: Path) -> None:
    sheet = contact_sheet(manifest, 1)
    save_sheet(sheet, tmp_path / "out.png")
    assert Image.open(tmp_path / "out.png").size == sheet.size
    for path, reason in ((tmp_path / "no" / "x.png", "cannot be"), (tmp_path / "x.jpg", "end in")):
        with pytest.raises(DataError, match=reason):
            save_sheet(sheet, path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.png", "set"]

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from fedefm.data.manifest import Manifest, Row
from fedefm.data.preview import (
    CAPTION,
    FOOT,
    GAP,
    LEGEND,
    MOST_STRIPS,
    contact_sheet,
    save_sheet,
)
from fedefm.data.tile import MASK_COLORS, TILE, draw_tile
from fedefm.errors import DataError

MakeManifest = Callable[..., Manifest]


@pytest.fixture
def manifest(make_manifest: MakeManifest) -> Manifest:
    rows = [
        Row(f"{i}.png", 0, f"p{i}", "angio", "wire" * (i % 2), f"m{i}.png", "train")
        for i in range(9)
    ]
    return make_manifest([*rows, Row("x.png", 0, "p", "größe 図" * 40)], side=40)


def tile_at(sheet: Image.Image, strip: int, column: int) -> np.ndarray:
    top = LEGEND + strip * (CAPTION + TILE + FOOT + GAP) + CAPTION
    left = GAP + column * (TILE + GAP)
    return np.asarray(sheet)[top : top + TILE, left : left + TILE]


def test_one_strip_for_each_corpus_and_class(manifest: Manifest) -> None:
    sheet = contact_sheet(manifest, columns=3)
    assert sheet.size == (GAP + 3 * (TILE + GAP), LEGEND + 3 * (CAPTION + TILE + FOOT + GAP))
    assert np.asarray(sheet)[LEGEND : LEGEND + CAPTION].min() < 80  # something is written there


def test_the_legend_tells_the_values_that_are_drawn(make_manifest: MakeManifest) -> None:
    manifest = make_manifest([Row("a.png", 0, "p", "c", "", "m.png")])
    for value, shown in ((2, MASK_COLORS[1]), (1, MASK_COLORS[0])):
        Image.fromarray(np.eye(12, dtype=np.uint8) * value).save(manifest.folder / "m.png")
        legend = np.asarray(contact_sheet(manifest, 1))[:LEGEND].reshape(-1, 3)
        colors = {tuple(pixel) for pixel in legend.tolist()} & set(MASK_COLORS)
        assert colors == {shown}


def test_a_legend_too_long_for_its_sheet_says_how_many_values_it_leaves_out(
    make_manifest: MakeManifest,
) -> None:
    manifest = make_manifest([Row("a.png", 0, "p", "c", "", "m.png")])
    for values in (12, 40):
        mask = np.zeros((12, 12), dtype=np.uint16)
        mask.flat[:values] = 60000 + np.arange(values)
        Image.fromarray(mask).save(manifest.folder / "m.png")
        legend = np.asarray(contact_sheet(manifest, 1))[:LEGEND].astype(int)
        ink = legend[:, legend.min(axis=(0, 2)) < 245]
        right = np.flatnonzero(legend.min(axis=(0, 2)) < 245).max()
        assert right < legend.shape[1] - GAP, f"cut at {right}"
        assert ink[:, -8:].max(axis=2).min() < 80, "it ends with words, not with a color"
        swatch = (legend[15] == MASK_COLORS[(60000 - 1) % len(MASK_COLORS)]).all(axis=1)
        assert swatch.any(), "the first value has its color"


def test_a_frame_of_several_classes_is_shown_with_each(make_manifest: MakeManifest) -> None:
    rows = [Row("a.png", 0, "p", "c", "x|y"), Row("b.png", 0, "q", "c", "y")]
    manifest = make_manifest(rows)
    sheet = contact_sheet(manifest, 2)
    a, b = (
        np.asarray(draw_tile(np.asarray(Image.open(manifest.folder / n), np.float32) / 255, None))
        for n in ("a.png", "b.png")
    )
    np.testing.assert_array_equal(tile_at(sheet, 0, 0), a)
    np.testing.assert_array_equal(tile_at(sheet, 1, 0), a)
    np.testing.assert_array_equal(tile_at(sheet, 1, 1), b)


def test_corpus_and_split_leave_only_theirs(manifest: Manifest) -> None:
    strip = CAPTION + TILE + FOOT + GAP
    assert contact_sheet(manifest, 3, corpus="angio").height == LEGEND + 2 * strip
    assert contact_sheet(manifest, 3, split="").height == LEGEND + strip
    with pytest.raises(DataError, match="no rows of corpus 'x' and split 'test'; its corpora are"):
        contact_sheet(manifest, 3, corpus="x", split="test")


def test_too_many_classes_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    rows = tuple(Row("none.png", 0, "p", "c", f"class {k}") for k in range(MOST_STRIPS + 1))
    with pytest.raises(DataError, match="81 classes, too many for one sheet"):
        contact_sheet(Manifest(tmp_path, rows))


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


@pytest.mark.parametrize(("columns", "told"), [(8, "10 images (8 shown), 2"), (12, "10 images, 2")])
def test_a_strip_says_how_many_of_its_images_it_shows(
    make_manifest: MakeManifest, monkeypatch: pytest.MonkeyPatch, columns: int, told: str
) -> None:
    written: list[str] = []
    draw = ImageDraw.ImageDraw.text

    def text(pen: ImageDraw.ImageDraw, place: tuple[int, int], words: str, *style: object) -> None:
        written.append(words)
        draw(pen, place, words, *style)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)
    rows = [Row(f"{i}.png", 0, f"p{i % 2}", "angio") for i in range(10)]
    contact_sheet(make_manifest(rows), columns)
    assert any(words.startswith(told) for words in written), written

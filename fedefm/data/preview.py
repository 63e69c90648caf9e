"""A contact sheet: what a manifest holds, at one glance, with masks drawn over the images."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from fedefm.data.dataset import Progress, read_row_mask, resize_mask
from fedefm.data.manifest import Manifest
from fedefm.data.readers import read_image
from fedefm.errors import DataError

TILE, GAP, CAPTION = 144, 8, 30  # pixels
PAPER, INK, FRAME = (250, 250, 250), (25, 25, 25), (20, 20, 20)
MASK_COLORS = (  # by label value from 1; distinct for the color-blind as well (Okabe and Ito)
    (230, 159, 0),
    (0, 158, 230),
    (0, 190, 120),
    (240, 228, 66),
    (213, 94, 0),
    (204, 121, 167),
)
MASK_STRENGTH = 0.6


def contact_sheet(
    manifest: Manifest, columns: int = 8, progress: Progress | None = None
) -> Image.Image:
    """One strip of up to ``columns`` frames for each corpus and label, with counts above it.

    Raises DataError where a frame or mask cannot be read.
    """
    strips = _strips(manifest)
    total = sum(min(len(positions), columns) for positions in strips.values())
    size = (GAP + columns * (TILE + GAP), GAP + len(strips) * (CAPTION + TILE + GAP))
    sheet = Image.new("RGB", size, PAPER)
    draw, done = ImageDraw.Draw(sheet), 0
    for strip, ((corpus, label), positions) in enumerate(sorted(strips.items())):
        top = GAP + strip * (CAPTION + TILE + GAP)
        caption = _caption(manifest, corpus, label, positions)
        draw.text((GAP, top + 4), _fitting(caption, size[0] - 2 * GAP), INK, _font())
        for column, position in enumerate(_spread(positions, columns)):
            place = (GAP + column * (TILE + GAP), top + CAPTION)
            sheet.paste(_tile(manifest, position), place)
            done += 1
            if progress:
                progress(done, total)
    return sheet


def save_sheet(sheet: Image.Image, path: Path) -> None:
    """Write the sheet as PNG, whole or not at all. Raises DataError where that is not possible."""
    if path.suffix.lower() != ".png":
        raise DataError(f"the preview {path} must end in .png")
    temporary = path.with_name(f".{path.name}.part")
    try:
        sheet.save(temporary, "PNG")
        temporary.replace(path)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror or error}") from None
    finally:
        if temporary.exists():
            temporary.unlink()


def _strips(manifest: Manifest) -> dict[tuple[str, str], list[int]]:
    strips: dict[tuple[str, str], list[int]] = {}
    for position, row in enumerate(manifest.rows):
        strips.setdefault((row.corpus, row.label), []).append(position)
    return strips


def _caption(manifest: Manifest, corpus: str, label: str, positions: Sequence[int]) -> str:
    rows = [manifest.rows[position] for position in positions]
    name = f"{corpus}: {label}" if label else corpus
    masks = sum(bool(row.mask_path) for row in rows)
    patients = len({row.patient_id for row in rows})
    counts = [_counted(len(rows), "image"), _counted(patients, "patient")]
    if masks:
        counts.append(_counted(masks, "mask"))
    return f"{name}   {', '.join(counts)}"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _spread(positions: Sequence[int], count: int) -> list[int]:
    """Up to ``count`` of the positions, evenly spaced, the first among them."""
    step = max(len(positions) / count, 1)
    return [positions[int(i * step)] for i in range(min(count, len(positions)))]


def _tile(manifest: Manifest, position: int) -> Image.Image:
    """A frame in a square, its proportions kept, with its mask over it."""
    row = manifest.rows[position]
    gray = read_image(manifest.folder / row.path, row.frame)
    scale = TILE / max(gray.shape)
    height, width = (max(round(side * scale), 1) for side in gray.shape)
    small = Image.fromarray(gray).resize((width, height), Image.Resampling.BILINEAR)
    pixels = np.repeat(np.asarray(small)[..., None] * 255, 3, axis=2)
    if row.mask_path:
        mask = np.minimum(read_row_mask(manifest, position), 255)
        _tint(pixels, resize_mask(mask, height, width).numpy())
    tile = Image.new("RGB", (TILE, TILE), FRAME)
    picture = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    tile.paste(picture, ((TILE - width) // 2, (TILE - height) // 2))
    return tile


def _tint(pixels: NDArray[np.float32], mask: NDArray[np.uint8]) -> None:
    """Color ``pixels`` (H, W, 3) where ``mask`` (H, W) has a label, in place."""
    for value in np.unique(mask[mask > 0]):
        color = np.array(MASK_COLORS[(int(value) - 1) % len(MASK_COLORS)], np.float32)
        inside = mask == value
        pixels[inside] = (1 - MASK_STRENGTH) * pixels[inside] + MASK_STRENGTH * color


def _font() -> ImageFont.FreeTypeFont:
    """Matplotlib's own font: it has Latin, Greek and Cyrillic letters, on every system."""
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"), 15)


def _fitting(text: str, width: int) -> str:
    """``text``, shortened in the middle of its name until it fits."""
    font = _font()
    if font.getlength(text) <= width:
        return text
    name, _, counts = text.rpartition("   ")
    while name and font.getlength(f"{name}...   {counts}") > width:
        name = name[:-1]
    return f"{name}...   {counts}"

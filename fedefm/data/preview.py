"""A contact sheet: what a manifest holds, at one glance, with outlines of the masks."""

from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from fedefm.data.manifest import FIRST_ROW, SPLITS, Manifest
from fedefm.data.masks import read_row_mask
from fedefm.data.preview_choice import Strip, spread_over_patients, strips_of
from fedefm.data.readers import read_image
from fedefm.data.tile import TILE, color_of, draw_tile
from fedefm.errors import DataError
from fedefm.words import several

Progress = Callable[[int, int], None]  # tiles done, tiles in all

GAP, CAPTION, FOOT, LEGEND = 8, 46, 18, 30  # pixels
NARROWEST = 3  # tiles; captions need the room
PAPER, INK, FAINT = (250, 250, 250), (25, 25, 25), (95, 95, 95)
MOST_STRIPS = 80
MOST_VALUES = 12  # that the legend tells


def contact_sheet(
    manifest: Manifest,
    columns: int = 8,
    progress: Progress | None = None,
    corpus: str | None = None,
    split: str | None = None,
) -> Image.Image:
    """One strip of up to ``columns`` frames for each corpus and class, with counts above it.

    Frames are of as many patients as possible. ``corpus`` and ``split`` leave only theirs.

    Raises DataError where nothing is left, there are more than MOST_STRIPS strips, or a frame or
    mask cannot be read.
    """
    strips = strips_of(manifest, corpus, split)
    if len(strips) > MOST_STRIPS:
        raise DataError(
            f"the manifest in {manifest.folder} has {len(strips)} classes, too many for one sheet; "
            "draw one corpus at a time by --corpus"
        )
    chosen = [spread_over_patients(manifest, strip.positions, columns) for strip in strips]
    total, done = sum(map(len, chosen)), 0
    size = (
        GAP + max(columns, NARROWEST) * (TILE + GAP),
        LEGEND + len(strips) * (CAPTION + TILE + FOOT + GAP),
    )
    sheet = Image.new("RGB", size, PAPER)
    pen, values = ImageDraw.Draw(sheet), set[int]()
    for number, (strip, positions) in enumerate(zip(strips, chosen, strict=True)):
        top = LEGEND + number * (CAPTION + TILE + FOOT + GAP)
        _write_caption(pen, manifest, strip, len(positions), top, size[0] - 2 * GAP)
        for column, position in enumerate(positions):
            left = GAP + column * (TILE + GAP)
            tile, found = _tile(manifest, position)
            sheet.paste(tile, (left, top + CAPTION))
            pen.text((left, top + CAPTION + TILE + 2), _foot(manifest, position), FAINT, _font(11))
            values |= found
            done += 1
            if progress:
                progress(done, total)
    _write_legend(pen, sorted(values), size[0] - GAP)
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


def _tile(manifest: Manifest, position: int) -> tuple[Image.Image, set[int]]:
    row = manifest.rows[position]
    gray = read_image(manifest.folder / row.path, row.frame)
    mask = read_row_mask(manifest, position) if row.mask_path else None
    values = set() if mask is None else set(np.unique(mask[mask > 0]).tolist())
    return draw_tile(gray, mask), values


def _foot(manifest: Manifest, position: int) -> str:
    """Which row it is; nothing of the patient."""
    split = manifest.rows[position].split
    return f"row {position + FIRST_ROW}" + (f", {split}" if split else "")


def _write_caption(
    pen: ImageDraw.ImageDraw, manifest: Manifest, strip: Strip, drawn: int, top: int, width: int
) -> None:
    name = f"{strip.corpus}: {strip.name}" if strip.name else strip.corpus
    pen.text((GAP, top + 4), _fitting(name, width), INK, _font(15))
    pen.text((GAP, top + 25), _fitting(_counts(manifest, strip, drawn), width), FAINT, _font(12))


def _counts(manifest: Manifest, strip: Strip, drawn: int) -> str:
    """What the strip stands for, and how many of its images it draws where that is not all."""
    rows = [manifest.rows[position] for position in strip.positions]
    masks = sum(bool(row.mask_path) for row in rows)
    images = several(len(rows), "image")
    counts = [
        images if drawn == len(rows) else f"{images} ({drawn} shown)",
        several(len({row.patient_id for row in rows}), "patient"),
        several(masks, "mask") if masks else "no masks",
    ]
    splits = [
        f"{split} {sum(row.split == split for row in rows)}"
        for split in SPLITS
        if any(row.split == split for row in rows)
    ]
    return ", ".join(counts) + (f"; {', '.join(splits)}" if splits else "")


def _write_legend(pen: ImageDraw.ImageDraw, values: Sequence[int], right: int) -> None:
    """Up to MOST_VALUES of the values, as far as they fit left of ``right``, and how many more."""
    if not values:
        pen.text((GAP, 8), "no masks are drawn", FAINT, _font(12))
        return
    pen.text((GAP, 8), "mask values:", INK, _font(12))
    left = GAP + 90
    for shown, value in enumerate(values):
        after = left + 32 + int(_font(12).getlength(str(value)))
        more = f"and {len(values) - shown} more"
        room = right - _font(12).getlength(more)
        if shown == MOST_VALUES or (after > room and shown < len(values) - 1):
            pen.text((left, 8), more, INK, _font(12))
            return
        pen.rectangle((left, 9, left + 13, 22), fill=color_of(value))
        pen.text((left + 18, 8), str(value), INK, _font(12))
        left = after


def _font(size: int) -> ImageFont.FreeTypeFont:
    """Matplotlib's own font: it has Latin, Greek and Cyrillic letters, on every system."""
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"), size)


def _fitting(text: str, width: int) -> str:
    """``text``, cut at its end where it is too long."""
    if _font(15).getlength(text) <= width:
        return text
    while text and _font(15).getlength(f"{text}...") > width:
        text = text[:-1]
    return f"{text}..."

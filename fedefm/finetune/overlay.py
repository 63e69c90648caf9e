"""Masks drawn on their image, in colors that also a color-blind reader tells apart."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

# Okabe and Ito's palette, the pair with the largest difference in lightness and hue first.
COLORS = (
    (230, 159, 0),  # orange: catheter
    (86, 180, 233),  # sky blue: guidewire
    (0, 158, 115),
    (240, 228, 66),
    (204, 121, 167),
    (213, 94, 0),
    (0, 114, 178),
)
OPACITY = 0.75
_SMALLEST_SIDE = 320  # pixels; smaller images are enlarged so that one-pixel wires can be seen
_LINE = 22  # pixels a line of the legend
_BACKDROP = (24, 24, 24)

Gray = npt.NDArray[np.floating]
Mask = npt.NDArray[np.integer]


def draw_overlay(image: Gray, mask: Mask, classes: Sequence[str]) -> Image.Image:
    """``image`` (H, W) in [0, 1] with ``mask`` (H, W) on it and a legend below.

    ``classes[0]`` is the background and is not drawn. Small images are enlarged by a whole factor.
    """
    factor = max(1, -(-_SMALLEST_SIDE // min(image.shape)))
    picture = Image.fromarray(_blend(image, mask)).resize(
        (image.shape[1] * factor, image.shape[0] * factor), Image.Resampling.NEAREST
    )
    return _above_legend(picture, classes[1:])


def draw_pair(image: Gray, truth: Mask, predicted: Mask, classes: Sequence[str]) -> Image.Image:
    """Truth on the left, prediction on the right, each as ``draw_overlay`` has it."""
    left, right = (draw_overlay(image, mask, classes) for mask in (truth, predicted))
    pair = Image.new("RGB", (left.width + right.width + 4, left.height + _LINE), _BACKDROP)
    for x, title, half in ((0, "truth", left), (left.width + 4, "prediction", right)):
        pair.paste(half, (x, _LINE))
        ImageDraw.Draw(pair).text((x + 6, 3), title, "white", _font())
    return pair


def _blend(image: Gray, mask: Mask) -> npt.NDArray[np.uint8]:
    gray = np.repeat(np.clip(image, 0, 1)[..., None] * 255, 3, axis=2)
    colors = np.array(COLORS, dtype=float)
    drawn = mask > 0
    gray[drawn] += OPACITY * (colors[(mask[drawn] - 1) % len(colors)] - gray[drawn])
    return np.rint(gray).astype(np.uint8)


def _above_legend(picture: Image.Image, names: Sequence[str]) -> Image.Image:
    places, lines = _flow(names, picture.width)
    framed = Image.new("RGB", (picture.width, picture.height + lines * _LINE), _BACKDROP)
    framed.paste(picture)
    pen = ImageDraw.Draw(framed)
    for k, (name, (x, line)) in enumerate(zip(names, places, strict=True)):
        y = picture.height + line * _LINE
        pen.rectangle((x, y + 5, x + 12, y + 17), fill=COLORS[k % len(COLORS)])
        pen.text((x + 18, y + 3), name, "white", _font())
    return framed


def _flow(names: Sequence[str], width: int) -> tuple[list[tuple[int, int]], int]:
    """Where each legend entry goes (pixel from the left, line), and how many lines there are."""
    places, x, line = [], 6, 0
    for name in names:
        length = 18 + int(_font().getlength(name)) + 14
        if x > 6 and x + length > width:
            x, line = 6, line + 1
        places.append((x, line))
        x += length
    return places, line + 1


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=13)

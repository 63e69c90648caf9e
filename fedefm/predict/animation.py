"""A run of frames as one animated GIF, which browsers, viewers and slides all play.

GIF rather than MP4: Pillow writes it, whereas an MP4 encoder is a binary of tens of megabytes. The
price is 256 colors, which gray frames with a few device colors do not miss, and size, which is
bounded here by fewer pixels and fewer frames.
"""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pydicom
from PIL import Image

from fedefm.finetune.overlay import COLORS, OPACITY

LARGEST = 8_000_000  # bytes of one GIF
MOST_FRAMES = 200  # of a longer run every second, third, ... is shown
DEFAULT_MS = 100.0  # between frames of a run that does not say
_SIDES = (512, 384, 256, 192)  # pixels of the longer side, tried in turn
_FASTEST = 2  # hundredths of a second: browsers slow down what is faster
_GRAYS = 100  # gray levels; each device color gets a part of the rest


def write_animation(path: Path, overlays: Sequence[Path], milliseconds: float) -> None:
    """Write the pictures at ``overlays``, ``milliseconds`` apart, of at most ``LARGEST`` bytes."""
    stride = -(-len(overlays) // MOST_FRAMES)
    shown = overlays[::stride]
    for side in _SIDES:
        encoded = _encoded(shown, side, milliseconds * stride)
        if len(encoded) <= LARGEST or side == _SIDES[-1]:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded)
            return


def frame_milliseconds(path: Path) -> float | None:
    """The time between frames that a DICOM header tells (PS3.3 C.7.6.5); None if it does not."""
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True)
        vector = [float(value) for value in header.get("FrameTimeVector") or []][1:]
        times = [float(header.get("FrameTime") or 0), float(np.mean(vector)) if vector else 0.0]
        rates = [header.get("CineRate"), header.get("RecommendedDisplayFrameRate")]
        times += [1000 / float(rate) for rate in rates if rate and float(rate) > 0]
    except Exception:  # pydicom raises whatever it trips over in a corrupt header
        return None
    return next((time for time in times if np.isfinite(time) and time > 0), None)


def _encoded(overlays: Sequence[Path], side: int, milliseconds: float) -> bytes:
    palette = _palette()
    frames = [_reduced(path, side, palette) for path in overlays]
    ends = np.rint(np.arange(1, len(frames) + 1) * milliseconds / 10)  # rounding does not add up
    hundredths = np.maximum(np.diff(ends, prepend=0), _FASTEST).astype(int)
    file = io.BytesIO()
    frames[0].save(
        file,
        format="GIF",
        save_all=True,
        append_images=frames[1:],
        duration=[int(10 * step) for step in hundredths],
        loop=0,
        optimize=False,
    )
    return file.getvalue()


def _reduced(path: Path, side: int, palette: Image.Image) -> Image.Image:
    with Image.open(path) as picture:
        small: Image.Image = picture.convert("RGB")
    small.thumbnail((side, side))
    return small.quantize(palette=palette, dither=Image.Dither.NONE)


def _palette() -> Image.Image:
    """One palette for all frames, or colors would flicker: grays, and each color over grays."""
    grays = np.linspace(0, 255, _GRAYS)
    levels = np.linspace(0, 255, (256 - _GRAYS) // len(COLORS))
    over = (1 - OPACITY) * levels[None, :, None] + OPACITY * np.array(COLORS)[:, None, :]
    colors = np.concatenate([np.repeat(grays[:, None], 3, axis=1), over.reshape(-1, 3)])
    image = Image.new("P", (1, 1))
    image.putpalette(np.rint(colors).astype(np.uint8).tobytes())
    return image

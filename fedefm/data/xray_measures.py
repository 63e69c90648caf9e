"""Gray levels and noise, by which real and simulated fluoroscopy are compared.

One set of estimators for both, with those for devices in ``xray_lines``: nothing here knows where a
frame came from. Frames are (H, W) or (N, H, W) gray values from 0 to 255, as a monitor shows them;
``inside`` is the field of view.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_erosion, convolve

from fedefm.data.xray_raster import Float

Inside = npt.NDArray[np.bool_]
PERCENTILES = (1, 5, 50, 95, 99)
TILE = 16  # side of the squares in which noise is taken to be even
BLADE = 8.0  # darker than this is behind the blades
_IMMERKAER = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)


@dataclass(frozen=True)
class GrayLevels:
    """Mean, deviation and ``PERCENTILES`` of all pixels in the field of view."""

    mean: float
    std: float
    percentiles: tuple[float, ...]


def field_of_view(frames: Float, darkest: float = BLADE) -> Inside:
    """What is not black behind blades in the mean of all frames (N, H, W), less its border."""
    return np.asarray(binary_erosion(frames.mean(0) > darkest, iterations=4))


def gray_levels(frames: Float, inside: Inside) -> GrayLevels:
    """Gray levels of frames (N, H, W) within one field of view."""
    values = frames[:, inside]
    found = np.percentile(values, PERCENTILES)
    return GrayLevels(float(values.mean()), float(values.std()), tuple(float(p) for p in found))


def noise_tiles(before: Float, after: Float, inside: Inside) -> tuple[Float, Float]:
    """Gray level (T,) of each tile of two frames, and its noise (T, TILE, TILE).

    The noise is the difference of the frames over the root of 2, without its mean over the tile: a
    tile in which something moved holds more than noise. Tiles at the ends of the scale are left
    out, where clipping hides noise.
    """
    gray, noise = _tiles((before + after) / 2), _tiles((after - before) / np.float32(2**0.5))
    whole = _tiles(inside.astype(np.float32)).min((1, 2)) > 0
    usable = whole & (gray.min((1, 2)) > 4) & (gray.max((1, 2)) < 251)
    noise = noise[usable] - noise[usable].mean((1, 2), keepdims=True)
    return gray[usable].mean((1, 2)), noise


def noise_by_gray(
    gray: Float, noise: Float, bins: Sequence[tuple[float, float]]
) -> tuple[tuple[float, float], ...]:
    """Deviation of the noise in tiles of each range of gray: root mean square, and median.

    Motion raises the first, as it is in few tiles but strong; the second hardly. NaN where a range
    has fewer than 5 tiles.
    """
    spread = noise.std((1, 2))
    found = []
    for low, high in bins:
        there = spread[(gray >= low) & (gray < high)]
        both = (np.sqrt((there**2).mean()), np.median(there)) if len(there) >= 5 else (np.nan,) * 2
        found.append((float(both[0]), float(both[1])))
    return tuple(found)


def autocorrelation(noise: Float, lags: int = 6) -> Float:
    """Correlation of noise (T, TILE, TILE) with itself 0 to ``lags`` pixels along rows and columns.

    The median over tiles, as something moves in some of them. A tile's mean is not its noise's, so
    that a correlation of 0.74 is told as about 0.72.
    """
    power = (noise**2).mean((1, 2))
    found = [np.ones(len(noise))]
    for lag in range(1, lags + 1):
        along = (noise[:, :, lag:] * noise[:, :, :-lag]).mean((1, 2))
        across = (noise[:, lag:] * noise[:, :-lag]).mean((1, 2))
        found.append((along + across) / 2 / power)
    return np.asarray([np.median(values) for values in found], np.float32)


def noise_power(noise: Float) -> tuple[Float, Float]:
    """Frequency in cycles a pixel, and the radial noise power spectrum in gray^2 px^2.

    As in IEC 62220-1, of the calmer half of the tiles, each under a Hann window.
    """
    power = (noise**2).mean((1, 2))
    calm = noise[power <= np.median(power)]
    window = np.outer(np.hanning(TILE), np.hanning(TILE))
    spectrum = (np.abs(np.fft.fft2(calm * window)) ** 2).mean(0) / (window**2).sum()
    axis = np.fft.fftfreq(TILE)
    radius = np.hypot(axis[:, None], axis[None])
    rings = np.rint(radius * TILE).astype(int)
    frequencies = np.arange(1, TILE // 2 + 1)
    radial = [spectrum[rings == ring].mean() for ring in frequencies]
    return (frequencies / TILE).astype(np.float32), np.asarray(radial, np.float32)


def single_frame_noise(frame: Float, inside: Inside) -> float:
    """Noise from one frame alone (Immerkaer 1996): white noise is told exactly, correlated less."""
    response = np.abs(convolve(frame.astype(np.float32), _IMMERKAER))
    return float(np.sqrt(np.pi / 2) / 6 * response[inside].mean())


def _tiles(image: Float) -> Float:
    height, width = (side // TILE * TILE for side in image.shape)
    cut = image[:height, :width].reshape(height // TILE, TILE, width // TILE, TILE)
    return np.asarray(cut.swapaxes(1, 2).reshape(-1, TILE, TILE), np.float32)

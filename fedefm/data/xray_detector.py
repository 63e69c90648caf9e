"""From attenuation to the picture on the monitor: exposure, scatter, blur, noise, window, shutters.

The chain of Beer and Lambert, then of the detector: primary ``exp(-A)``, scatter as a wide blur in
proportion to the primary (SPR), heel effect, focal-spot blur, Poisson quanta, electronic noise with
the correlation that the vendor's filter leaves, tone curve, edge enhancement, window.

A frame that is not subtracted is shown as angiography systems store it (Pixel Intensity
Relationship LIN in DICOM): nearly in proportion to the signal, so that noise grows with the gray
level and ``ln(background / device)`` is nearly that of the signal. A subtracted one shows the
logarithm.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from fedefm.data.xray_raster import Float, Range, resize

# Blurs and quanta are given for a frame of this width, and scaled so that a small frame is a
# binned large one.
REFERENCE = 256
_SCATTER_GRID = 48


@dataclass(frozen=True)
class Detector:
    """Ranges that each patient's acquisition is drawn from; blurs in pixels of a 256 px frame.

    ``tone`` is the power of the signal that is shown, ``black`` the share of the darkest signal
    that is shown as black, and ``least_window`` the smallest range of log signal that fills the
    scale of a subtracted frame.
    """

    scatter: Range = (0.4, 1.0)
    blur: Range = (0.4, 0.7)
    quanta: Range = (800, 2500)
    electronic: float = 0.004
    correlation: Range = (0.4, 0.8)
    heel: Range = (0.0, 0.25)
    vignette: Range = (0.0, 0.2)
    tone: Range = (0.8, 1.0)
    black: Range = (0.0, 0.2)
    sharpening: Range = (0.0, 0.6)
    least_window: float = 0.4
    brightness: Range = (0.65, 1.0)
    blades: Range = (0.0, 0.08)
    circle: Range = (0.75, 0.75)
    subtracted: bool = False
    misregistration: Range = (0.0, 0.0)
    contrast_in_mask: bool = False


@dataclass(frozen=True)
class View:
    """The field of view: what blades (left, top, right, bottom) and a round aperture leave open."""

    blades: tuple[float, float, float, float]
    circle: float

    def contains(self, points: Float) -> npt.NDArray[np.bool_]:
        """Which of the points (..., 2), x and y in fractions of the width, are exposed."""
        return self._depth(points[..., 0], points[..., 1]) > 0

    def aperture(self, size: int) -> Float:
        """Distance into the open field in pixels, (size, size); negative behind the blades."""
        y, x = (np.mgrid[:size, :size].astype(np.float32) + np.float32(0.5)) / np.float32(size)
        return np.asarray(self._depth(x, y) * np.float32(size), np.float32)

    def _depth(self, x: Float, y: Float) -> Float:
        left, top, right, bottom = self.blades
        straight = np.minimum(
            np.minimum(x - left, 1 - right - x), np.minimum(y - top, 1 - bottom - y)
        )
        return np.asarray(
            np.minimum(straight, self.circle - np.hypot(x - 0.5, y - 0.5)), np.float32
        )


@dataclass(frozen=True)
class Exposure:
    """One patient's acquisition settings, drawn from a :class:`Detector`."""

    detector: Detector
    view: View
    scatter: float
    blur: float
    quanta: float
    correlation: float
    heel: float
    heel_angle: float
    vignette: float
    tone: float
    sharpening: float
    brightness: float
    black: float


@dataclass(frozen=True)
class Window:
    """The tones that are shown as black and as the monitor's white."""

    black: float
    white: float


def set_up(detector: Detector, rng: np.random.Generator) -> Exposure:
    """Draws the settings that all frames of one patient share."""
    blades = tuple(rng.uniform(*detector.blades, 4).tolist())
    return Exposure(
        detector,
        View((blades[0], blades[1], blades[2], blades[3]), rng.uniform(*detector.circle)),
        scatter=rng.uniform(*detector.scatter),
        blur=rng.uniform(*detector.blur),
        quanta=rng.uniform(*detector.quanta),
        correlation=rng.uniform(*detector.correlation),
        heel=rng.uniform(*detector.heel),
        heel_angle=rng.uniform(0, 2 * np.pi),
        vignette=rng.uniform(*detector.vignette),
        tone=rng.uniform(*detector.tone),
        sharpening=rng.uniform(*detector.sharpening),
        brightness=rng.uniform(*detector.brightness),
        black=rng.uniform(*detector.black),
    )


def expose(attenuation: Float, exposure: Exposure) -> Float:
    """Noise-free detector signal (size, size) behind ``attenuation``; about 1 at middle gray."""
    size = len(attenuation)
    depth = exposure.view.aperture(size)
    primary = np.exp(-attenuation)
    primary *= np.clip(depth + np.float32(0.5), 0, 1) / np.median(primary[depth > 0])
    scatter = gaussian_filter(resize(primary, _SCATTER_GRID), 0.09 * _SCATTER_GRID)
    signal = (primary + exposure.scatter * resize(scatter, size)) / (1 + exposure.scatter)
    return np.asarray(
        gaussian_filter(signal * _unevenness(exposure, size), exposure.blur * size / REFERENCE),
        np.float32,
    )


def detect(signal: Float, exposure: Exposure, rng: np.random.Generator) -> Float:
    """Adds quantum and electronic noise, correlated as after the vendor's filter."""
    size = len(signal)
    binned = REFERENCE / size
    quanta = exposure.quanta * binned**2
    noise = rng.poisson(np.maximum(signal, 0) * quanta) / quanta - signal
    noise += (
        exposure.detector.electronic / binned * rng.standard_normal(signal.shape, dtype=np.float32)
    )
    noise = gaussian_filter(noise, exposure.correlation / binned)
    return np.asarray(np.maximum(signal + noise, np.float32(0.01)), np.float32)


def display(
    live: Float, mask: Float | None, exposure: Exposure, window: Window | None = None
) -> Float:
    """The frame in [0, 1]: subtracted from ``mask`` where there is one, windowed and shuttered.

    ``window`` is that of another frame of the same run, or else the frame's own.
    """
    size = len(live)
    tones = _tones(live, mask, exposure)
    shown = window or _window(tones, exposure)
    gray = np.clip((tones - shown.black) / (shown.white - shown.black), 0, 1)
    depth = exposure.view.aperture(size)
    shutter = np.clip(depth * np.float32(REFERENCE / size / 2) + np.float32(0.5), 0, 1)
    return np.asarray(gray * shutter * np.float32(exposure.brightness), np.float32)


def window_of(live: Float, mask: Float | None, exposure: Exposure) -> Window:
    """The window in which ``display`` shows this frame where it is given none."""
    return _window(_tones(live, mask, exposure), exposure)


def _tones(live: Float, mask: Float | None, exposure: Exposure) -> Float:
    """A power of the signal, or the log of what is left after subtraction; edges enhanced."""
    tones = live ** np.float32(exposure.tone) if mask is None else np.log(live / mask)
    edges = tones - gaussian_filter(tones, 2 * len(live) / REFERENCE)
    return np.asarray(tones + np.float32(exposure.sharpening) * edges, np.float32)


def _window(tones: Float, exposure: Exposure) -> Window:
    depth = exposure.view.aperture(len(tones))
    low, high = (float(p) for p in np.percentile(tones[depth > 1], (0.5, 99.5)))
    if not exposure.detector.subtracted:
        return Window(exposure.black * low, high)
    missing = max(0.0, exposure.detector.least_window - (high - low))
    return Window(low - 0.6 * missing, high + 0.4 * missing)


def _unevenness(exposure: Exposure, size: int) -> Float:
    """Heel effect (a slope along the tube's axis) and vignetting."""
    y, x = (np.mgrid[:size, :size].astype(np.float32) + np.float32(0.5)) / np.float32(size) - 0.5
    slope = x * np.cos(exposure.heel_angle) + y * np.sin(exposure.heel_angle)
    uneven = 1 + exposure.heel * slope - 2 * exposure.vignette * (x * x + y * y)
    return np.asarray(uneven, np.float32)

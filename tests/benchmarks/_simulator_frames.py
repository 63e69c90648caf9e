"""What the simulator benchmark compares: real frames from a folder, simulated runs, their devices.

Both go through the estimators of ``xray_measures`` and ``xray_lines`` in ``fedefm.data``. Simulated
frames are runs at 30 frames a second, as the real ones are, with breath, heartbeat and an advancing
device in them.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedefm.data.fluoroscopy import scene_of
from fedefm.data.readers import count_frames, is_image_file, read_frames
from fedefm.data.xray_detector import detect, display, expose
from fedefm.data.xray_lines import contrast_and_width, profiles, trace
from fedefm.data.xray_measures import (
    PERCENTILES,
    GrayLevels,
    autocorrelation,
    field_of_view,
    gray_levels,
    noise_by_gray,
    noise_power,
    noise_tiles,
    single_frame_noise,
)
from fedefm.data.xray_scene import Scene, attenuation, mask_attenuation
from fedefm.data.xray_sequence import Sequence

SEED, SIZE, RATE = 3, 256, 30.0
GRAYS = ((20, 60), (60, 100), (100, 140), (140, 220))
Array = NDArray[np.float32]
Point = tuple[float, float]


@dataclass(frozen=True)
class Measured:
    """One row of the comparison; lists of arrays where runs have fields of view of their own."""

    name: str
    levels: GrayLevels
    histogram: Array
    noise: tuple[tuple[float, float], ...]
    single_frame: float
    correlation: Array
    spectrum: tuple[Array, Array]


@dataclass(frozen=True)
class Device:
    """Profiles across a device (P, samples), their contrast, and width in px of a 300 px frame.

    ``pixel`` is the width of the frame's own pixel in the same unit.
    """

    name: str
    profiles: Array
    contrast: float
    width: float
    pixel: float


def real_runs(folder: Path) -> dict[str, Array]:
    """Name and frames (N, H, W), from 0 to 255, of each file in a folder with two frames or more.

    A run has no name of its own here: file names may hold a patient's.
    """
    files = sorted(path for path in folder.rglob("*") if is_image_file(path))
    found = [path for path in files if count_frames(path) > 1]
    return {
        f"real run {number}": np.stack([frame * 255 for frame in read_frames(path)])
        for number, path in enumerate(found, start=1)
    }


def halved(frames: Array) -> Array:
    """Frames (N, H, W) binned 2 x 2."""
    count, height, width = frames.shape
    cut = frames[:, : height // 2 * 2, : width // 2 * 2]
    return cut.reshape(count, height // 2, 2, width // 2, 2).mean((2, 4))


def simulated_runs(domain: str, runs: int, frames: int) -> list[Array]:
    """Runs of a domain, each (N, SIZE, SIZE) from 0 to 255, as a PNG would hold them."""
    return [
        np.stack(
            [
                np.rint(frame.image * 255)
                for frame in Sequence(domain, SEED, index, SIZE, rate=RATE).frames(frames)
            ]
        )
        for index in range(runs)
    ]


def measure(name: str, runs: list[Array]) -> Measured:
    """Gray levels and noise of runs; noise is of consecutive frames."""
    values, single, grays, noises = [], [], [], []
    for frames in runs:
        inside = field_of_view(frames)
        values.append(frames[:, inside].ravel())
        single += [single_frame_noise(frame, inside) for frame in frames[:: len(frames) // 2]]
        for before, after in zip(frames[:-1:4], frames[1::4], strict=False):
            gray, noise = noise_tiles(before, after, inside)
            grays.append(gray)
            noises.append(noise)
    gray, noise = np.concatenate(grays), np.concatenate(noises)
    pooled = np.concatenate(values)[None]
    levels = gray_levels(pooled, np.ones(pooled.shape[1], bool))
    return Measured(
        name,
        levels,
        np.histogram(pooled, 64, (0, 256), density=True)[0],
        noise_by_gray(gray, noise, GRAYS),
        float(np.median(single)),
        autocorrelation(noise),
        noise_power(noise),
    )


def real_device(frames: Array, frame: int, start: Point, end: Point) -> Device:
    """The device between two points (x, y in pixels) of one frame and of four more around it."""
    chosen = frames[max(0, frame - 2) : frame + 3]
    found = [profiles(each, trace(each, start, end)) for each in chosen]
    return _device("real", np.concatenate(found), 300 / frames.shape[2])


def simulated_devices(domain: str, runs: int) -> list[Device]:
    """Catheters, and wires that have left them, without contrast agent around them."""
    found: dict[str, list[Array]] = {"catheter": [], "guidewire": []}
    for index in range(runs):
        scene = replace(scene_of(domain, SEED, index, negatives=0), opacity=0.0)
        frame = _shown(scene, index)
        inside = scene.patient.exposure.view.aperture(SIZE) > 12
        catheter, wire = scene.placement.catheter.points, scene.placement.wire
        found["catheter"] += _across(frame, inside, catheter[:-4])
        if wire is not None:
            found["guidewire"] += _across(frame, inside, wire.points[len(catheter) + 3 : -14])
    return [
        _device(kind, np.concatenate(all_of_them), 300 / SIZE)
        for kind, all_of_them in found.items()
        if all_of_them
    ]


def _shown(scene: Scene, index: int) -> Array:
    """The frame on the monitor; a subtracted one as the signal whose logarithm is shown there."""
    rng, exposure = np.random.default_rng(index), scene.patient.exposure
    live = detect(expose(attenuation(scene, SIZE), exposure), exposure, rng)
    if not exposure.detector.subtracted:
        return display(live, None, exposure) * 255
    return 100 * live / detect(expose(mask_attenuation(scene, SIZE), exposure), exposure, rng)


def _across(frame: Array, inside: NDArray[np.bool_], points: Array) -> list[Array]:
    """Profiles of the longest part of a device inside the view, traced from end to end."""
    pixels = points * SIZE
    cells = np.clip(pixels.astype(int), 0, SIZE - 1)
    seen = np.flatnonzero(inside[cells[:, 1], cells[:, 0]])
    if len(seen) < 18:
        return []
    run = max(np.split(seen, np.flatnonzero(np.diff(seen) > 1) + 1), key=len)
    if len(run) < 18:
        return []
    start, end = pixels[run[0]], pixels[run[-1]]
    across = profiles(frame, trace(frame, (start[0], start[1]), (end[0], end[1])))
    return [across[across.min(1) > 8]]  # not where it was traced along the blades


def _device(name: str, across: Array, scale: float) -> Device:
    measured = np.array([contrast_and_width(profile) for profile in across])
    contrast, width = np.median(measured, axis=0)
    return Device(name, across, float(contrast), float(width * scale), scale)


def as_json(measured: Measured) -> dict[str, object]:
    """What a row of the table says, for scripts."""
    levels = dict(zip(PERCENTILES, measured.levels.percentiles, strict=True))
    return {
        "mean": measured.levels.mean,
        "std": measured.levels.std,
        "percentiles": levels,
        "noise_rms_by_gray": [_told(rms) for rms, _ in measured.noise],
        "noise_median_by_gray": [_told(median) for _, median in measured.noise],
        "noise_immerkaer": measured.single_frame,
        "autocorrelation": measured.correlation.tolist(),
        "noise_power": measured.spectrum[1].tolist(),
    }


def _told(value: float) -> float | None:
    """JSON knows no NaN: a range of gray in which there is too little to measure is null."""
    return None if np.isnan(value) else value

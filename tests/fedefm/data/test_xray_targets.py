"""Frames are what was measured on real fluoroscopy: contrast, width, noise, gray levels.

The figures are of real angiograms of several systems; each is measured here with the estimator that
``tests/benchmarks/simulator.py`` applies to real frames as well.
"""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from fedefm.data.fluoroscopy import DOMAINS, scene_of
from fedefm.data.xray_detector import detect, display, expose
from fedefm.data.xray_lines import contrast_and_width, profiles
from fedefm.data.xray_measures import (
    autocorrelation,
    gray_levels,
    noise_by_gray,
    noise_tiles,
)
from fedefm.data.xray_raster import arc_lengths
from fedefm.data.xray_scene import attenuation, device_mask, mask_attenuation

SIZE = 256
PATIENTS = range(24)
SHOWN_AS_STORED = [name for name, domain in DOMAINS.items() if not domain.detector.subtracted]


def signals(scene, rng):
    """Two exposures of one scene that differ in noise alone, and what is subtracted from both."""
    exposure = scene.patient.exposure
    clean = expose(attenuation(scene, SIZE), exposure)
    reference = None
    if exposure.detector.subtracted:
        reference = detect(expose(mask_attenuation(scene, SIZE), exposure), exposure, rng)
    return [detect(clean, exposure, rng) for _ in range(2)], reference


@cache
def noise(domain: str) -> tuple[np.ndarray, np.ndarray]:
    """Gray level and noise of tiles of twelve patients."""
    grays, noises = [], []
    for index in PATIENTS[:12]:
        scene = scene_of(domain, 3, index)
        exposure = scene.patient.exposure
        pair, reference = signals(scene, np.random.default_rng(index))
        frames = [display(live, reference, exposure) * 255 for live in pair]
        gray, found = noise_tiles(*frames, exposure.view.aperture(SIZE) > 4)
        grays.append(gray)
        noises.append(found)
    return np.concatenate(grays), np.concatenate(noises)


@cache
def devices(domain: str) -> dict[str, np.ndarray]:
    """Contrast and width (in pixels of a 300 px frame) along catheters and along bare wires.

    In a subtracted frame the gray level is a logarithm already: the contrast is that of the signal.
    Vessels are left empty, as the background is else that of contrast agent or of a tube's wall.
    """
    found: dict[str, list[tuple[float, float]]] = {"catheter": [], "wire": []}
    for index in PATIENTS:
        scene = replace(scene_of(domain, 3, index, negatives=0), opacity=0.0)
        (live, _), reference = signals(scene, np.random.default_rng(index))
        shown = display(live, None, scene.patient.exposure) * 255
        frame = shown if reference is None else 100 * live / reference
        catheter, wire = scene.placement.catheter, scene.placement.wire
        found["catheter"] += across(frame, scene, catheter.points, 0)
        if wire is not None:
            found["wire"] += across(frame, scene, wire.points, arc_lengths(catheter.points)[-1])
    return {kind: np.array(values) for kind, values in found.items()}


def across(frame, scene, points, start):
    """Profiles of a device from ``start`` on, away from the border of the view."""
    far = arc_lengths(points)
    marks = np.arange(start + 0.01, far[-1], 1 / SIZE)
    line = np.stack([np.interp(marks, far, points[:, axis]) for axis in (0, 1)], 1) * SIZE
    cell = np.clip(line.astype(int), 0, SIZE - 1)
    line = line[scene.patient.exposure.view.aperture(SIZE)[cell[:, 1], cell[:, 0]] > 12]
    if len(line) < 20:
        return []
    measured = [contrast_and_width(profile) for profile in profiles(frame, line)]
    return [(contrast, width * 300 / SIZE) for contrast, width in measured]


@pytest.mark.parametrize("domain", list(DOMAINS))
def test_catheters_and_wires_are_as_dark_on_the_monitor_as_real_ones(domain):
    thick, thin = devices(domain)["catheter"][:, 0], devices(domain)["wire"][:, 0]
    assert 0.24 <= np.median(thick) <= 0.36  # measured 0.26, 0.30, 0.35
    assert 0.10 <= np.median(thin) <= 0.18  # measured 0.11, 0.14, 0.17


@pytest.mark.parametrize("domain", list(DOMAINS))
def test_catheters_and_wires_are_as_wide_on_the_monitor_as_real_ones(domain):
    assert 1.5 <= np.median(devices(domain)["catheter"][:, 1]) <= 3.0
    assert 1.5 <= np.median(devices(domain)["wire"][:, 1]) <= 3.0


@pytest.mark.parametrize("domain", SHOWN_AS_STORED)
def test_noise_grows_with_the_gray_level(domain):
    gray, found = noise(domain)
    dark, bright = np.quantile(gray, (0.25, 0.75))
    (_, low), (_, high) = noise_by_gray(gray, found, ((0, dark), (bright, 256)))
    # 0.79 to 1.30 from gray 20-60 to 140-220 in a real angiogram, without what moves
    assert 1.15 < high / low < 3


def test_noise_of_a_filtered_system_is_as_strong_and_as_correlated_as_measured():
    gray, found = noise("cardiac")
    ranges = ((20, 60), (60, 100), (100, 140), (140, 220))
    medians = [median for _, median in noise_by_gray(gray, found, ranges)]
    np.testing.assert_allclose(medians, (0.79, 1.14, 1.27, 1.30), rtol=0.3)
    assert autocorrelation(found)[1] == pytest.approx(0.74, abs=0.05)


@pytest.mark.parametrize("domain", SHOWN_AS_STORED)
def test_gray_levels_lie_between_those_of_real_frames(domain):
    means, spreads = [], []
    for index in PATIENTS[:12]:
        scene = scene_of(domain, 3, index)
        (live, _), reference = signals(scene, np.random.default_rng(index))
        exposure = scene.patient.exposure
        frame = display(live, reference, exposure)[None] * 255
        levels = gray_levels(frame, exposure.view.aperture(SIZE) > 4)
        means.append(levels.mean)
        spreads.append(levels.std)
        assert levels.percentiles[0] > 10  # nothing in the field of view is black
    assert 80 < np.mean(means) < 185  # 86 and 118 in real frames; a phantom is brighter
    assert 16 < np.mean(spreads) < 57  # 17 and 56 in real frames


@pytest.mark.parametrize("domain", list(DOMAINS))
def test_pixels_of_a_device_are_darker_than_beside_it(domain):
    for index in range(6):
        scene = scene_of(domain, 5, index, negatives=0)
        exposure = scene.patient.exposure
        with_device = expose(attenuation(scene, 128), exposure)
        without = expose(attenuation(replace(scene, placement=None), 128), exposure)
        labeled = device_mask(scene, 128) > 0
        assert np.median(np.log(without / with_device)[labeled]) > 0.03
        assert np.abs(np.log(without / with_device)[~labeled]).mean() < 0.02

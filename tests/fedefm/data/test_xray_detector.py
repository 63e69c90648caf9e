"""Exposure, noise and display."""

from dataclasses import replace

import numpy as np
import pytest

from fedefm.data.xray_detector import Detector, View, detect, display, expose, set_up

OPEN = View((0.0, 0.0, 0.0, 0.0), 0.8)
STILL = replace(
    set_up(Detector(), np.random.default_rng(0)),
    view=OPEN,
    heel=0.0,
    vignette=0.0,
    blur=0.01,
    scatter=0.0,
)


def slab(size: int = 64) -> np.ndarray:
    """A body with a denser half."""
    body = np.ones((size, size), np.float32)
    body[:, size // 2 :] += 0.3
    return body


def log_contrast(signal: np.ndarray) -> float:
    size = len(signal)
    edge = size // 2
    return float(np.log(signal[:, edge - 2].mean() / signal[:, edge + 1].mean()))


def test_without_scatter_attenuation_is_read_back_by_beer_lambert():
    signal = expose(slab(), STILL)
    assert np.log(signal[32, 10] / signal[32, 50]) == pytest.approx(0.3, rel=1e-3)


def test_scatter_veils_contrast():
    veiled = expose(slab(), replace(STILL, scatter=1.0))
    assert 0 < log_contrast(veiled) < 0.7 * log_contrast(expose(slab(), STILL))


def test_noise_grows_as_the_root_of_the_signal():
    plain = replace(STILL, quanta=100.0, correlation=0.01, detector=Detector(electronic=0.0))
    rng = np.random.default_rng(0)
    spread = [
        np.std(detect(np.full((256, 256), level, np.float32), plain, rng)) for level in (1, 4)
    ]
    assert spread[0] == pytest.approx(0.1, rel=0.03)
    assert spread[1] == pytest.approx(0.2, rel=0.03)


def test_the_filter_correlates_neighboring_noise():
    rng = np.random.default_rng(0)
    noise = detect(np.ones((256, 256), np.float32), replace(STILL, correlation=0.9), rng) - 1
    # exp(-1 / (4 sigma^2)); 0.74 was measured on real angiograms.
    assert np.corrcoef(noise[:, 1:].ravel(), noise[:, :-1].ravel())[0, 1] == pytest.approx(
        0.73, abs=0.05
    )


def test_the_picture_is_black_behind_the_shutters_and_in_range():
    shuttered = replace(STILL, view=View((0.1, 0.2, 0.0, 0.0), 0.6))
    shown = display(expose(slab(96), shuttered), None, shuttered)
    assert (shown[:17] == 0).all()
    assert (shown[:, :7] == 0).all()
    assert shown.min() >= 0
    assert shown.max() <= 1
    assert shown.max() > 0.5


def test_subtraction_leaves_only_what_changed():
    before, after = slab(), slab()
    after[30:34] += 0.2
    shown = display(expose(after, STILL), expose(before, STILL), STILL)
    still = np.concatenate([shown[:20], shown[44:]])
    assert still.std() < 0.02
    assert shown[31:33].mean() < still.mean() - 0.2


def test_a_view_knows_what_it_shows():
    view = View((0.1, 0.1, 0.1, 0.1), 0.5)
    points = np.array([(0.5, 0.5), (0.05, 0.5), (0.5, 0.95), (0.12, 0.12)], np.float32)
    assert view.contains(points).tolist() == [True, False, False, False]
    assert (view.aperture(50) > 0)[25, 25]

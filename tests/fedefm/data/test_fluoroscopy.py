"""Simulated fluoroscopy keeps its promises: purity, labels, negatives, contrast, domains."""

import hashlib
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from fedefm.data.fluoroscopy import (
    CATHETER,
    DOMAINS,
    GUIDEWIRE,
    is_negative,
    scene_of,
    simulate_frame,
)
from fedefm.data.xray_detector import expose
from fedefm.data.xray_scene import attenuation, device_mask
from fedefm.errors import DataError

EVERY_DOMAIN = pytest.mark.parametrize("domain", list(DOMAINS))


def first_positive(domain: str, start: int = 0) -> int:
    return next(i for i in range(start, start + 20) if not is_negative(domain, 7, i))


@EVERY_DOMAIN
def test_a_frame_is_an_image_and_a_mask_of_its_size(domain):
    frame = simulate_frame(domain, 7, 1, 80)
    assert frame.image.shape == frame.mask.shape == (80, 80)
    assert frame.image.dtype == np.float32
    assert frame.mask.dtype == np.uint8
    assert np.isfinite(frame.image).all()
    assert frame.image.min() >= 0
    assert frame.image.max() <= 1
    assert frame.image.std() > 0.04
    assert set(np.unique(frame.mask)) <= {0, CATHETER, GUIDEWIRE}


@EVERY_DOMAIN
def test_the_same_arguments_give_the_same_frame_in_any_order(domain):
    first = simulate_frame(domain, 7, 3, 64)
    for other in (9, 5, 11, 2, 8):
        simulate_frame(domain, 7, other, 32)
    again = simulate_frame(domain, 7, 3, 64)
    assert first.image.tobytes() == again.image.tobytes()
    assert first.mask.tobytes() == again.mask.tobytes()


def test_index_seed_and_domain_each_change_the_frame():
    frames = [
        simulate_frame("animal", 7, 3, 64),
        simulate_frame("animal", 7, 4, 64),
        simulate_frame("animal", 8, 3, 64),
        simulate_frame("low_dose", 7, 3, 64),
    ]
    assert len({frame.image.tobytes() for frame in frames}) == len(frames)


def test_a_scene_is_the_same_at_every_size():
    index = first_positive("animal")
    small, large = (simulate_frame("animal", 7, index, size).mask > 0 for size in (64, 256))
    blocks = large.reshape(64, 4, 64, 4).max((1, 3))
    # A mask one pixel wide at 64 px covers nearly all the blocks that the large one touches.
    assert (small & blocks).sum() / small.sum() > 0.85


@EVERY_DOMAIN
def test_no_frame_is_negative_by_accident(domain):
    for index in range(60):
        mask = device_mask(scene_of(domain, 7, index, patient=index // 6), 96)
        if is_negative(domain, 7, index):
            assert not mask.any()
        else:
            assert (mask > 0).sum() >= 12


@EVERY_DOMAIN
def test_the_share_of_negatives_is_exact(domain):
    assert DOMAINS[domain].negatives == 0.1
    for block in range(4):
        assert sum(is_negative(domain, 7, 20 * block + i) for i in range(20)) == 2


@pytest.mark.parametrize(("share", "count"), [(0, 0), (0.25, 5), (0.52, 10), (1, 20)])
def test_the_share_of_negatives_can_be_chosen(share, count):
    found = [is_negative("animal", 7, index, share) for index in range(20)]
    assert sum(found) == count
    few = [is_negative("animal", 7, index, share / 2) for index in range(20)]
    assert all(more for more, fewer in zip(found, few, strict=True) if fewer)


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
def test_an_impossible_share_of_negatives_is_refused(share):
    with pytest.raises(DataError, match="from 0 to 1"):
        simulate_frame("animal", 7, 0, 64, negatives=share)


@settings(max_examples=40, deadline=None)
@given(
    domain=st.sampled_from(list(DOMAINS)),
    seed=st.integers(0, 1_000_000),
    index=st.integers(0, 1_000_000),
    size=st.integers(48, 100),
)
def test_no_seed_leads_the_device_out_of_the_frame(domain, seed, index, size):
    mask = simulate_frame(domain, seed, index, size).mask
    assert set(np.unique(mask)) <= {0, CATHETER, GUIDEWIRE}
    if is_negative(domain, seed, index):
        assert not mask.any()
    else:
        assert (mask > 0).sum() >= size / 10


def test_another_process_draws_the_same_frame():
    code = (
        "import hashlib; from fedefm.data.fluoroscopy import simulate_frame;"
        "f = simulate_frame('neuro_dsa', 7, 3, 64, distractors=True);"
        "print(hashlib.sha256(f.image.tobytes() + f.mask.tobytes()).hexdigest())"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    frame = simulate_frame("neuro_dsa", 7, 3, 64, distractors=True)
    assert told.strip() == hashlib.sha256(frame.image.tobytes() + frame.mask.tobytes()).hexdigest()


def test_negatives_are_not_at_the_same_places_in_every_block():
    places = {
        tuple(is_negative("animal", 7, 20 * block + i) for i in range(20)) for block in range(6)
    }
    assert len(places) > 1


@EVERY_DOMAIN
def test_devices_are_as_dark_as_in_real_fluoroscopy(domain):
    contrasts: dict[int, list[float]] = {CATHETER: [], GUIDEWIRE: []}
    for index in range(16):
        scene = scene_of(domain, 7, index, patient=index // 4)
        exposure = scene.patient.exposure
        with_device = expose(attenuation(scene, 256), exposure)
        without = expose(attenuation(replace(scene, placement=None), 256), exposure)
        labels = device_mask(scene, 256)
        for kind, found in contrasts.items():
            if (labels == kind).sum() > 20:
                found.append(float(np.median(np.log(without / with_device)[labels == kind])))
    for found in contrasts.values():
        assert 0.08 <= np.median(found) <= 0.45
        assert min(found) > 0.05
        assert max(found) < 0.5
    assert np.median(contrasts[GUIDEWIRE]) < np.median(contrasts[CATHETER])


@EVERY_DOMAIN
def test_devices_are_as_wide_as_in_real_fluoroscopy(domain):
    scene = scene_of(domain, 7, first_positive(domain))
    assert scene.placement is not None
    assert 1.5 <= 2 * scene.placement.catheter.radius[0] * 300 <= 3.5
    wires = DOMAINS[domain].devices.wire_radius
    assert 1.0 <= 600 * wires[0] < 600 * wires[1] <= 2.2


def test_frames_of_one_patient_share_anatomy_but_not_device_or_noise():
    here = [simulate_frame("cardiac", 7, index, 96, patient=1) for index in (0, 1)]
    elsewhere = simulate_frame("cardiac", 7, 1, 96, patient=2)
    same, other = (likeness(here[0].image, f.image) for f in (here[1], elsewhere))
    assert same > 0.9
    assert same > other + 0.1
    assert here[0].mask.tobytes() != here[1].mask.tobytes()


def likeness(a: np.ndarray, b: np.ndarray) -> float:
    smooth = [gaussian_filter(image, 3).ravel() for image in (a, b)]
    return float(np.corrcoef(*smooth)[0, 1])


def test_domains_can_be_told_apart():
    names = list(DOMAINS)
    seen, asked = (
        np.array([[signature(name, index) for index in range(*span)] for name in names])
        for span in ((0, 6), (6, 10))
    )
    spread = seen.std((0, 1)) + 1e-6
    gaps = np.abs(asked[:, :, None, None] - seen[None, None]) / spread
    nearest = gaps.mean(-1).min(-1).argmin(-1)
    right = (nearest == np.arange(len(names))[:, None]).mean()
    assert right > 0.5  # chance is 1 in 8; near pairs are meant to be hard


def signature(name: str, index: int) -> np.ndarray:
    """Grain, gray levels and a coarse picture."""
    image = simulate_frame(name, 7, index, 64).image
    grain = (image - gaussian_filter(image, 1))[16:48, 16:48].std()
    levels = np.quantile(image, (0.02, 0.1, 0.3, 0.5, 0.7, 0.9))
    coarse = image.reshape(4, 16, 4, 16).mean((1, 3)).ravel()
    return np.concatenate([np.repeat(np.log(grain), 6), levels, coarse])


def test_an_unknown_domain_is_refused_with_those_that_exist():
    with pytest.raises(DataError, match=r"fluoroscopy domain 'knee' is unknown.*cardiac"):
        simulate_frame("knee", 7, 0)


@pytest.mark.parametrize(("index", "size"), [(-1, 64), (0, 16)])
def test_impossible_frames_are_refused(index, size):
    with pytest.raises(DataError):
        simulate_frame("animal", 7, index, size)

"""Frames of a run: pure, moving, newly noisy, and labeled throughout."""

import hashlib
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from fedefm.data.fluoroscopy import CATHETER, DOMAINS, GUIDEWIRE, is_negative
from fedefm.data.xray_sequence import Sequence
from fedefm.errors import DataError

EVERY_DOMAIN = pytest.mark.parametrize("domain", list(DOMAINS))


def positive(domain: str) -> int:
    return next(i for i in range(20) if not is_negative(domain, 7, i))


def digest(frame) -> str:
    return hashlib.sha256(frame.image.tobytes() + frame.mask.tobytes()).hexdigest()


@EVERY_DOMAIN
def test_a_frame_does_not_depend_on_the_order_or_on_other_frames(domain):
    run = Sequence(domain, 7, 2, 64)
    forward = [digest(frame) for frame in run.frames(4)]
    fresh = Sequence(domain, 7, 2, 64)
    backward = [digest(fresh.frame(number)) for number in (3, 2, 1, 0)]
    assert forward == backward[::-1]
    assert len(set(forward)) == 4


def test_another_process_draws_the_same_frame():
    code = (
        "import hashlib; from fedefm.data.xray_sequence import Sequence;"
        "f = Sequence('cardiac', 7, 3, 64, patient=1).frame(5);"
        "print(hashlib.sha256(f.image.tobytes() + f.mask.tobytes()).hexdigest())"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert told.strip() == digest(Sequence("cardiac", 7, 3, 64, patient=1).frame(5))


def test_at_twice_the_rate_every_second_frame_shows_the_same_moment():
    slow, fast = (Sequence("cardiac", 7, positive("cardiac"), 96, rate=rate) for rate in (5, 10))
    for number in (1, 4):
        assert (slow.frame(number).mask == fast.frame(2 * number).mask).all()
        assert digest(slow.frame(number)) != digest(fast.frame(2 * number))  # noise is new


@EVERY_DOMAIN
def test_the_device_advances_and_is_seen_in_every_frame(domain):
    run = Sequence(domain, 7, positive(domain), 96, rate=2)
    masks = [frame.mask for frame in run.frames(9)]
    assert {value for mask in masks for value in np.unique(mask)} <= {0, CATHETER, GUIDEWIRE}
    seen = [int((mask > 0).sum()) for mask in masks]
    assert min(seen) >= 10
    assert seen[-1] > seen[0]


@EVERY_DOMAIN
def test_noise_is_new_in_each_frame_and_anatomy_stays(domain):
    run = Sequence(domain, 7, 4, 128, rate=60, negatives=1)
    frames = [run.frame(number).image for number in (0, 1, 2)]
    if not DOMAINS[domain].detector.subtracted:  # which leaves nothing of the anatomy
        smooth = [gaussian_filter(image, 3).ravel() for image in frames[:2]]
        assert np.corrcoef(*smooth)[0, 1] > 0.98
    changes = [(b - a)[40:88, 40:88].ravel() for a, b in pairwise(frames)]
    # Independent noise: two changes share the middle frame alone, with opposite sign.
    assert np.corrcoef(*changes)[0, 1] == pytest.approx(-0.5, abs=0.15)


def test_the_heart_beats_in_a_chest_and_not_in_a_phantom():
    for domain, beats in (("cardiac", True), ("phantom", False)):
        run = Sequence(domain, 7, positive(domain), 96, rate=8)
        shapes = {run.moment(number).squeeze for number in range(8)}
        assert (len(shapes) > 4) == beats
        assert (max(shapes) > 0.005) == beats


def test_a_run_without_a_device_has_none_in_any_frame():
    assert not any(
        frame.mask.any() for frame in Sequence("animal", 7, 3, 64, negatives=1).frames(4)
    )


@settings(max_examples=25, deadline=None)
@given(
    domain=st.sampled_from(list(DOMAINS)),
    seed=st.integers(0, 10_000),
    number=st.integers(0, 400),
    rate=st.floats(1, 60),
)
def test_no_run_loses_its_device(domain, seed, number, rate):
    frame = Sequence(domain, seed, 1, 64, rate=rate, negatives=0).frame(number)
    assert (frame.mask > 0).sum() >= 6
    assert np.isfinite(frame.image).all()


@pytest.mark.parametrize("rate", [0, -1, 61, float("nan")])
def test_an_impossible_rate_is_refused(rate):
    with pytest.raises(DataError, match="frame rate"):
        Sequence("animal", 7, 0, 64, rate=rate)


def test_what_no_frame_can_be_is_refused_before_any_is_drawn():
    with pytest.raises(DataError, match="unknown"):
        Sequence("knee", 7, 0)
    with pytest.raises(DataError, match="at least 32 px"):
        Sequence("animal", 7, 0, 16)
    with pytest.raises(DataError, match="numbered from 0"):
        Sequence("animal", 7, 0, 64).frame(-1)

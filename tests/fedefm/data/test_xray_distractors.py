"""Distractors are dark, different in each patient, and never labeled."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedefm.data.fluoroscopy import DOMAINS, scene_of, simulate_frame
from fedefm.data.xray_distractors import (
    clips,
    draw_distractors,
    electrodes,
    pacemaker_leads,
    sternal_wires,
)
from fedefm.data.xray_scene import attenuation

EVERY_DOMAIN = pytest.mark.parametrize("domain", list(DOMAINS))
KINDS = (clips, electrodes, pacemaker_leads, sternal_wires)


@EVERY_DOMAIN
def test_they_change_the_picture_and_not_the_mask(domain):
    for index in range(4):
        plain = simulate_frame(domain, 7, index, 96)
        cluttered = simulate_frame(domain, 7, index, 96, distractors=True)
        assert (plain.mask == cluttered.mask).all()
        assert not np.array_equal(plain.image, cluttered.image)


@EVERY_DOMAIN
def test_they_only_absorb(domain):
    scene = scene_of(domain, 7, 1, distractors=True)
    bare = replace(scene, patient=replace(scene.patient, distractors=()))
    added = attenuation(scene, 128) - attenuation(bare, 128)
    assert added.min() > -1e-4
    assert (added > 0.05).sum() >= 5


def test_frames_of_a_patient_share_them():
    here, there = (scene_of("cardiac", 7, i, patient=3, distractors=True) for i in (0, 1))
    elsewhere = scene_of("cardiac", 7, 1, patient=4, distractors=True)
    assert points(here) == points(there) != points(elsewhere)


def points(scene) -> list[bytes]:
    return [t.points.tobytes() for metal in scene.patient.distractors for t in metal.tubes]


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), kind=st.sampled_from(KINDS))
def test_each_kind_is_as_dark_and_as_thin_as_what_it_is_taken_for(seed, kind):
    metal = kind(np.random.default_rng(seed))
    wires = [t for t in metal.tubes if np.ptp(t.points, axis=0).max() > 0.01]
    assert all(0.3 <= 2 * t.radius[0] * 300 <= 3 for t in wires)
    absorbed = metal.attenuation(192, (0.0, 0.0))
    assert np.isfinite(absorbed).all()
    assert absorbed.min() >= 0
    assert 0.02 < absorbed.max() < 3


@given(seed=st.integers(0, 10_000))
def test_no_breastbone_lies_in_an_abdomen(seed):
    abdomen = draw_distractors(False, np.random.default_rng(seed))
    assert 2 == len(abdomen) <= len(draw_distractors(True, np.random.default_rng(seed)))


def test_they_breathe_with_the_patient():
    metal = clips(np.random.default_rng(2))
    still, moved = (metal.attenuation(100, shift) for shift in ((0.0, 0.0), (0.0, 0.1)))
    np.testing.assert_allclose(moved[30:], still[20:-10], atol=1e-3)

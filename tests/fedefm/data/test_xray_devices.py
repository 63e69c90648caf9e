"""Devices lie where they can be seen, and are labeled as they lie."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fedefm.data.xray_detector import View
from fedefm.data.xray_devices import (
    CATHETER,
    GUIDEWIRE,
    LEAST_VISIBLE,
    Devices,
    Placement,
    insert_devices,
)
from fedefm.data.xray_domains import DOMAINS
from fedefm.data.xray_raster import arc_lengths, covered_pixels
from fedefm.data.xray_vessels import grow_tree, routes

ROUND = View((0.0, 0.0, 0.0, 0.0), 0.45)
WIRED = Devices(wireless=0.0)


def place_devices(devices: Devices, roads, view: View, rng: np.random.Generator) -> Placement:
    return insert_devices(devices, roads, view, rng).placed()


def roads(seed: int) -> list[np.ndarray]:
    return list(routes(grow_tree(DOMAINS["animal"].vessels, np.random.default_rng(seed))))


def visible_pixels(placement, view: View, size: int) -> int:
    return int((placement.mask(size) * (view.aperture(size) > 0) > 0).sum())


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_enough_of_the_device_is_seen_whatever_is_drawn(seed):
    placement = place_devices(Devices(), roads(seed), ROUND, np.random.default_rng(seed))
    # A diagonal of n pixels is 1.41 n long.
    assert visible_pixels(placement, ROUND, 96) >= LEAST_VISIBLE * 96 / 1.5


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), withdrawn=st.floats(0, 2))
def test_a_device_that_is_pulled_back_is_shorter_but_still_seen(seed, withdrawn):
    insertion = insert_devices(WIRED, roads(seed), ROUND, np.random.default_rng(seed))
    full, pulled = insertion.placed(), insertion.placed(withdrawn)
    assert length(pulled.catheter) <= length(full.catheter) + 1e-5
    assert length(pulled.wire) <= length(full.wire) + 1e-5
    assert visible_pixels(pulled, ROUND, 96) >= LEAST_VISIBLE * 96 / 1.5


def length(body) -> float:
    return float(arc_lengths(body.points)[-1])


def test_a_tip_moves_by_less_than_a_pixel_when_it_is_pulled_by_less():
    insertion = insert_devices(WIRED, roads(3), ROUND, np.random.default_rng(3))
    tips = [insertion.placed(0.001 * k).wire.points[-1] for k in range(40)]
    # the bent tip turns with the road, which lets its end sweep a little faster
    assert np.hypot(*np.diff(tips, axis=0).T).max() < 0.005
    assert np.hypot(*(tips[-1] - tips[0])) > 0.02


def test_a_patient_without_a_usable_vessel_still_gets_a_visible_device():
    astray = [np.array([(-0.1, 0.0), (-0.5, 0.5), (-0.1, 1.0)], np.float32)]
    placement = place_devices(Devices(), astray, ROUND, np.random.default_rng(0))
    assert visible_pixels(placement, ROUND, 96) >= LEAST_VISIBLE * 96 / 1.5


def test_the_wire_is_labeled_only_where_it_has_left_the_catheter():
    placement = place_devices(WIRED, roads(1), ROUND, np.random.default_rng(1))
    assert placement.wire is not None
    labels = placement.mask(128)
    inside = covered_pixels(128, placement.catheter)
    assert (labels[inside] == CATHETER).all()
    assert (labels[covered_pixels(128, placement.wire) & ~inside] == GUIDEWIRE).all()
    assert (labels == GUIDEWIRE).sum() > 5


def test_a_catheter_without_a_wire_has_one_label():
    bare = place_devices(Devices(wireless=1.0), roads(2), ROUND, np.random.default_rng(2))
    assert bare.wire is None
    assert set(np.unique(bare.mask(96))) == {0, CATHETER}


def test_a_wire_ends_in_a_bend():
    straight = place_devices(
        Devices(wireless=0.0, curl=(0.0, 0.0)), roads(4), ROUND, np.random.default_rng(4)
    )
    bent = place_devices(
        Devices(wireless=0.0, curl=(2.5, 2.5)), roads(4), ROUND, np.random.default_rng(4)
    )
    assert turning(bent.wire.points[-12:]) > turning(straight.wire.points[-12:]) + 1.5


def turning(points: np.ndarray) -> float:
    x, y = np.diff(points, axis=0).T
    return float(np.abs(np.diff(np.unwrap(np.arctan2(y, x)))).sum())

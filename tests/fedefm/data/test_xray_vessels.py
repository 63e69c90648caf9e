"""The vessel tree and the roads along it."""

import numpy as np
import pytest

from fedefm.data.xray_domains import DOMAINS
from fedefm.data.xray_vessels import STEP, grow_tree, routes


@pytest.mark.parametrize("domain", ["animal", "neuro_dsa"])
def test_branches_divide_by_murrays_law(domain):
    tree = grow_tree(DOMAINS[domain].vessels, np.random.default_rng(3))
    for number, parent in enumerate(tree):
        children = [branch for branch in tree if branch.parent == number]
        if children:
            cubes = sum(float(child.tube.radius[0]) ** 3 for child in children)
            assert cubes == pytest.approx(float(parent.tube.radius[-1]) ** 3, rel=1e-4)


def test_every_generation_doubles_the_vessels():
    vessels = DOMAINS["cardiac"].vessels
    tree = grow_tree(vessels, np.random.default_rng(0))
    assert len(tree) == 2 ** (vessels.generations + 1) - 1


def test_every_road_runs_from_the_entry_to_an_end_without_a_gap():
    tree = grow_tree(DOMAINS["animal"].vessels, np.random.default_rng(1))
    roads = list(routes(tree))
    assert len(roads) == 2 ** DOMAINS["animal"].vessels.generations
    for road in roads:
        assert (road[0] == tree[0].tube.points[0]).all()
        assert np.hypot(*np.diff(road, axis=0).T).max() <= STEP * 1.01

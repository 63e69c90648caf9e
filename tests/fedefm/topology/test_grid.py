"""The grid: rows large enough to hide in, and the exact mean of all after one sweep."""

import os
import subprocess
import sys
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedefm.errors import ConfigError
from fedefm.topology.grid import Grid


def names(count):
    return [f"s{i:02}" for i in range(count)]


@st.composite
def grids(draw):
    """A grid of 3 to 40 sites with rows of 2 to 6, and its sites."""
    row = draw(st.integers(2, 6))
    sites = draw(st.permutations(names(draw(st.integers(max(3, row), 40)))))
    return sites, row, Grid(sites, row)


def sizes(grid, round_index):
    return sorted(len(cohort) for cohort in grid.cohorts(round_index))


def after(rounds, grid, sites, begin=0):
    """The oracle: what each site holds as exact shares of all inputs, and by plain means."""
    held = {site: {site: Fraction(1)} for site in sites}
    for k in range(begin, begin + rounds):
        means = {}
        for cohort in grid.cohorts(k):
            mean = dict.fromkeys(sites, Fraction(0))
            for member in cohort:
                weight = Fraction(grid.weight(member, k)).limit_denominator(10**6)
                for site, share in held[member].items():
                    mean[site] += weight * share
            means |= dict.fromkeys(cohort, mean)
        held = means
    return held


@given(grids())
def test_after_one_sweep_all_sites_hold_the_exact_mean(drawn):
    sites, _, grid = drawn
    everybody = dict.fromkeys(sites, Fraction(1, len(sites)))
    assert all(held == everybody for held in after(grid.period, grid, sites).values())


@given(grids(), st.integers(0, 5))
def test_a_sweep_from_the_mean_keeps_the_mean(drawn, begin):
    """A sweep that begins in the middle changes nothing that was agreed on."""
    sites, _, grid = drawn
    everybody = dict.fromkeys(sites, Fraction(1, len(sites)))
    rounds = begin % grid.period + grid.period * 2
    assert all(held == everybody for held in after(rounds, grid, sites).values())


@given(grids(), st.integers(0, 12))
def test_each_site_is_in_one_cohort_of_at_least_a_row(drawn, k):
    sites, row, grid = drawn
    cohorts = grid.cohorts(k)
    assert sorted(site for cohort in cohorts for site in cohort) == sorted(sites)
    assert all(len(cohort) >= row for cohort in cohorts)
    for cohort in cohorts:
        assert list(cohort) == sorted(cohort)
        assert all(grid.cohort(site, k) == cohort for site in cohort)


@given(grids(), st.integers(0, 12))
def test_the_weights_of_a_cohort_sum_to_one(drawn, k):
    _, _, grid = drawn
    for cohort in grid.cohorts(k):
        weights = [grid.weight(site, k) for site in cohort]
        assert min(weights) > 0
        assert sum(weights) == pytest.approx(1, abs=1e-12)


@given(grids(), st.integers(0, 12))
def test_there_are_as_many_axes_as_rows_allow_so_cohorts_stay_small(drawn, k):
    sites, row, grid = drawn
    assert row**grid.period <= len(sites) < row ** (grid.period + 1)
    assert max(sizes(grid, k)) <= row**2  # of rows of two; longer ones stay below it
    assert all(grid.cohorts(k + grid.period) == grid.cohorts(k) for k in range(3))


@given(grids())
def test_every_member_collects_equally_often(drawn):
    _, _, grid = drawn
    for axis in range(grid.period):
        for cohort in grid.cohorts(axis):
            rounds = range(axis, axis + grid.period * len(cohort), grid.period)
            for site in cohort:
                assert sorted(grid.collector(site, k) for k in rounds) == list(cohort)
            for k in rounds:
                assert len({grid.collector(site, k) for site in cohort}) == 1


@given(grids(), st.integers(1, 7), st.integers(0, 30))
def test_pauses_make_no_difference_to_the_order_of_the_means(drawn, pause, k):
    """With every pause-th round, 0-based pause - 1 and so on, left out, the rest is the same."""
    sites, row, grid = drawn
    paused = Grid(sites, row, pause)
    taking = [j for j in range(k + 1) if (j + 1) % pause]
    for turn, j in enumerate(taking):
        assert paused.cohorts(j) == grid.cohorts(turn)
        for site in sites[:3]:
            assert paused.cohort(site, j) == grid.cohort(site, turn)
            assert paused.weight(site, j) == grid.weight(site, turn)
            assert paused.collector(site, j) == grid.collector(site, turn)


@pytest.mark.parametrize(
    ("count", "row", "expected"),
    [
        (9, 3, [[3, 3, 3], [3, 3, 3]]),
        (16, 4, [[4] * 4, [4] * 4]),
        (8, 3, [[8]]),
        (8, 2, [[2] * 4] * 3),  # the hypercube
        (27, 3, [[3] * 9] * 3),
        (16, 3, [[4] * 4, [4] * 4]),
        (11, 3, [[3, 4, 4], [3, 4, 4]]),
        (10, 3, [[3, 3, 4], [3, 3, 4]]),
        (3, 3, [[3]]),
    ],
)
def test_known_grids(count, row, expected):
    grid = Grid(names(count), row)
    assert [sizes(grid, k) for k in range(grid.period)] == expected


def test_a_ragged_grid_weighs_a_column_by_the_rows_that_its_members_speak_for():
    """Ten sites stand as 4, 3 and 3; the column with two of the first row halves its part."""
    grid = Grid(names(10), 3)
    assert grid.cohorts(0)[0] == ("s00", "s01", "s02", "s03")
    column = grid.cohort("s00", 1)
    assert column == ("s00", "s03", "s06", "s09")
    assert [grid.weight(site, 1) for site in column] == pytest.approx([0.2, 0.2, 0.3, 0.3])


def test_neighbors_in_the_list_share_the_first_row():
    assert Grid(names(9)[::-1], 3).cohort("s08", 0) == ("s06", "s07", "s08")


@pytest.mark.parametrize(("count", "row"), [(2, 3), (0, 2), (5, 6)])
def test_too_few_sites_are_refused_with_the_numbers(count, row):
    with pytest.raises(ConfigError) as error:
        Grid(names(count), row)
    assert f"rows of {row}" in str(error.value)
    assert f"this job has {count}" in str(error.value)


@pytest.mark.parametrize(
    ("count", "row", "least", "words"),
    [
        (5, 6, 2, "set federation.cohort to 5 or less"),
        (2, 3, 2, "set federation.cohort to 2 or less"),
        (3, 4, 3, "set federation.cohort to 3 or less"),
        (2, 3, 3, "; at least 3 sites must take part"),
        (1, 2, 2, "; at least 2 sites must take part"),
    ],
)
def test_a_row_too_short_to_hide_anybody_is_not_proposed(count, row, least, words):
    with pytest.raises(ConfigError) as error:
        Grid(names(count), row, least=least)
    assert words in str(error.value)
    assert ("federation.cohort" in str(error.value)) == (count >= least)


@pytest.mark.parametrize("row", [1, 0, -3])
def test_a_row_of_one_is_refused(row):
    with pytest.raises(ConfigError, match="nobody to hide among"):
        Grid(names(9), row)


def test_a_stranger_is_refused_by_name():
    with pytest.raises(ConfigError, match="site 'zoe' is not in this job; sites: s00, s01, s02"):
        Grid(names(3), 3).cohort("zoe", 0)


def test_all_processes_draw_the_same_grid():
    """Python's hashes differ from process to process, and a set's order with them."""
    program = (
        "from fedefm.topology.grid import Grid\n"
        "g = Grid([f'hospital {i}' for i in range(23)], 2)\n"
        "print([g.cohorts(k) for k in range(4)], [g.collector('hospital 5', k) for k in range(9)],"
        " [g.weight(f'hospital {i}', k) for i in range(23) for k in range(4)])"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(told) == 1

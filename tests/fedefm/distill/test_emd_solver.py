import numpy as np
import ot
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from fedefm.distill import emd_simplex, emd_solver
from fedefm.distill.emd_solver import solve_assignment
from fedefm.errors import ModelError


def problem(seed, batch=1, n=5, m=5):
    rng = np.random.default_rng(seed)
    a, b = rng.random((batch, n)) + 0.01, rng.random((batch, m)) + 0.01
    cost = rng.random((batch, n, m)) * 2
    return cost, a / a.sum(1, keepdims=True), b / b.sum(1, keepdims=True)


def uniform(batch, nodes):
    return np.full((batch, nodes), 1 / nodes)


def by_linear_program(cost, a, b):
    n, m = cost.shape
    rows, columns = np.kron(np.eye(n), np.ones(m)), np.kron(np.ones(n), np.eye(m))
    marginals = np.concatenate([a, b])
    return linprog(cost.ravel(), A_eq=np.vstack([rows, columns]), b_eq=marginals, method="highs")


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), n=st.integers(1, 8), m=st.integers(1, 8))
def test_finds_the_value_of_a_general_linear_program_solver(solve, seed, n, m):
    cost, a, b = problem(seed, 1, n, m)
    assert solve(cost, a, b).value[0] == pytest.approx(by_linear_program(cost[0], a[0], b[0]).fun)


@pytest.mark.parametrize(("n", "m"), [(25, 25), (49, 30)])
def test_finds_the_value_of_pot(solve, n, m):
    cost, a, b = problem(1, 3, n, m)
    plan = solve(cost, a, b)
    expected = [ot.emd2(a[i], b[i], cost[i]) for i in range(3)]
    np.testing.assert_allclose(plan.value, expected, rtol=1e-12)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32), n=st.integers(1, 12), m=st.integers(1, 12))
def test_swapping_sources_and_targets_changes_nothing(solve, seed, n, m):
    cost, a, b = problem(seed, 2, n, m)
    swapped = solve(np.ascontiguousarray(cost.transpose(0, 2, 1)), b, a)
    np.testing.assert_allclose(solve(cost, a, b).value, swapped.value, atol=1e-12)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_adding_a_constant_to_a_row_adds_it_times_the_weight(solve, seed):
    cost, a, b = problem(seed, 2, 6, 4)
    shift = np.random.default_rng(seed).normal(size=(2, 6))
    moved = solve(cost + shift[:, :, None], a, b).value
    np.testing.assert_allclose(moved, solve(cost, a, b).value + (shift * a).sum(1), atol=1e-12)


def test_one_dimensional_transport_agrees_with_the_closed_form(solve):
    rng = np.random.default_rng(3)
    x, y = rng.random(20), rng.random(30)
    _, a, b = problem(4, 1, 20, 30)
    cost = np.abs(x[:, None] - y)[None]
    expected = ot.emd2_1d(x, y, a[0], b[0], metric="euclidean")
    assert solve(cost, a, b).value[0] == pytest.approx(expected, rel=1e-10)


def test_one_node_on_each_side_has_only_one_plan(solve):
    assert solve(np.full((1, 1, 1), 0.7), np.ones((1, 1)), np.ones((1, 1))).value[0] == 0.7


def test_one_source_is_spread_over_all_targets(solve):
    cost, a, b = problem(5, 2, 1, 7)
    np.testing.assert_allclose(solve(cost, a, b).value, (cost[:, 0] * b).sum(1))


def test_an_empty_batch_has_an_empty_answer(solve):
    plan = solve(np.zeros((0, 4, 5)), np.zeros((0, 4)), np.zeros((0, 5)))
    assert plan.value.shape == (0,)
    assert plan.source_potentials.shape == (0, 4)
    assert solve_assignment(np.zeros((0, 4, 4))).value.shape == (0,)


@pytest.mark.parametrize("weightless", ["sources", "targets", "both"])
def test_nodes_without_weight_get_feasible_potentials(solve, weightless):
    cost, a, b = problem(6, 3, 6, 5)
    if weightless != "targets":
        a[1, :3] = 0
    if weightless != "sources":
        b[1, 2:] = 0
        b[2, 0] = 0
    plan = solve(cost, a / a.sum(1, keepdims=True), b / b.sum(1, keepdims=True))
    assert np.isfinite(plan.source_potentials).all()


def test_tiny_weights_are_not_lost(solve):
    cost, a, b = problem(7, 1, 10, 10)
    a[0, :4] = 1e-9
    solve(cost, a / a.sum(), b)


@pytest.mark.parametrize("nodes", [7, 200])
def test_duplicated_nodes_have_an_optimum(solve, nodes):
    cost, a, b = problem(8, 2, nodes, nodes)
    cost[:, ::2] = cost[:, :1]
    cost[:, :, ::2] = cost[:, :, :1]
    solve(cost, uniform(2, nodes), uniform(2, nodes))
    solve(np.full_like(cost, 0.5), a, b)


@pytest.mark.parametrize("nodes", [7, 200])
def test_equal_sets_have_distance_zero(solve, nodes):
    points = np.random.default_rng(9).normal(size=(nodes, 3))
    cost = np.linalg.norm(points[:, None] - points, axis=2)[None]
    _, a, _ = problem(9, 1, nodes, nodes)
    assert solve(cost, a, a).value[0] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("solver", ["simplex", "assignment"])
def test_a_cost_that_is_not_finite_is_refused_with_the_number_of_samples(solve, bad, solver):
    cost, a, b = problem(10, 4)
    cost[1, 2, 3] = cost[3, 0, 0] = bad
    with pytest.raises(ModelError, match=r"NaN or Inf in 2 of 4 samples"):
        solve_assignment(cost) if solver == "assignment" else solve(cost, a, b)


@pytest.mark.parametrize("change", [lambda a: -a, lambda a: a * 2, lambda a: a * np.nan])
@pytest.mark.parametrize("side", ["source", "target"])
def test_weights_that_are_no_distribution_are_refused(change, side):
    cost, a, b = problem(11)
    a, b = (change(a), b) if side == "source" else (a, change(b))
    with pytest.raises(ModelError, match=f"{side} weights must be >= 0"):
        emd_solver.solve(cost, a, b)


def test_weights_of_another_shape_are_refused():
    cost, a, b = problem(12)
    with pytest.raises(ModelError, match=r"source weights have shape \(1, 4\)"):
        emd_solver.solve(cost, a[:, :4], b)


def test_a_solver_without_an_optimum_is_an_error_that_names_the_sample(monkeypatch):
    cost, a, b = problem(13, 3)
    monkeypatch.setattr(emd_simplex, "MAX_PIVOTS", 1)
    with pytest.raises(ModelError, match="no optimum for sample 0"):
        emd_solver.solve(cost, a, b)


@pytest.mark.parametrize("nodes", [1, 2, 9])
def test_equal_weights_make_it_an_assignment(solve, nodes):
    cost, _, _ = problem(14, 5, nodes, nodes)
    plan = solve_assignment(cost)
    expected = solve(cost, uniform(5, nodes), uniform(5, nodes))
    np.testing.assert_allclose(plan.value, expected.value, atol=1e-12)
    np.testing.assert_allclose((cost.ravel()[plan.entries] * plan.mass).sum(), plan.value.sum())
    assert np.bincount(plan.sources).tolist() == [1] * (5 * nodes)
    assert np.bincount(plan.targets).tolist() == [1] * (5 * nodes)


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_threads_change_no_bit(solve, threads):
    cost, a, b = problem(15, 6, 80, 80)
    alone, together = solve(cost, a, b, threads=1), solve(cost, a, b, threads=threads)
    for field in ("value", "entries", "mass", "source_potentials", "target_potentials"):
        np.testing.assert_array_equal(getattr(alone, field), getattr(together, field))


def test_threads_follow_torch_and_small_batches_start_none(monkeypatch):
    pools = []

    class Pool(emd_solver.ThreadPoolExecutor):
        def __init__(self, workers):
            pools.append(workers)
            super().__init__(workers)

    monkeypatch.setattr(emd_solver, "ThreadPoolExecutor", Pool)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    emd_solver.solve(*problem(16, 8, 100, 100))
    emd_solver.solve(*problem(16, 8, 16, 16))
    assert pools == [3]

import numpy as np
import ot
import pytest

from fedefm.distill import emd_simplex, emd_solver
from fedefm.distill.emd_simplex import _compiled, solve_one, solve_shortlisted

public = ot.emd


@pytest.fixture
def fresh_choice():
    emd_simplex.simplex.cache_clear()
    emd_simplex.has_arcs.cache_clear()
    yield
    emd_simplex.simplex.cache_clear()
    emd_simplex.has_arcs.cache_clear()


def problem(seed, n, m, smooth=True):
    rng = np.random.default_rng(seed)
    a, b = rng.random(n) + 0.01, rng.random(m) + 0.01
    x, y = rng.normal(size=(n, 4 if smooth else 60)), rng.normal(size=(m, 4 if smooth else 60))
    x, y = (p / np.linalg.norm(p, axis=1, keepdims=True) for p in (x, y))
    a, b = a / a.sum(), b / b.sum()
    return 1 - x @ y.T, a, b * (a.sum() / b.sum())


def test_the_compiled_solvers_of_the_pinned_pot_are_used(fresh_choice):
    assert emd_simplex.simplex() is emd_simplex._compiled
    assert emd_simplex.has_arcs()


def gone(*_):
    raise TypeError("another signature")


def lies(*_):
    return np.eye(2), 0.0, np.zeros(2), np.zeros(2), 1


@pytest.mark.parametrize("other", [gone, lies, None])
@pytest.mark.parametrize("nodes", [6, 170])
def test_the_public_solver_takes_over_where_the_private_one_changed(
    fresh_choice, monkeypatch, solve, other, nodes
):
    cost, a, b = problem(1, nodes, nodes)
    before = solve(cost[None], a[None], b[None])
    emd_simplex.simplex.cache_clear()
    emd_simplex.has_arcs.cache_clear()
    for name in ("emd_c", "emd_c_sparse"):
        if other is None:
            monkeypatch.delattr(ot.lp.emd_wrap, name)
        else:
            monkeypatch.setattr(ot.lp.emd_wrap, name, other)
    calls = []
    monkeypatch.setattr(ot, "emd", lambda *a, **k: calls.append(1) or public(*a, **k))
    after = emd_solver.solve(cost[None], a[None], b[None])
    assert calls
    np.testing.assert_allclose(after.value, before.value, atol=1e-12)


@pytest.mark.parametrize(("n", "m"), [(196, 196), (160, 230), (250, 170)])
@pytest.mark.parametrize("smooth", [True, False])
def test_a_shortlist_finds_the_optimum_of_all_arcs(n, m, smooth):
    cost, a, b = problem(2, n, m, smooth)
    short, full = solve_shortlisted(cost, a, b), _compiled(cost, a, b)
    assert short is not None
    assert short.value == pytest.approx(full.value, abs=1e-12)
    assert (cost - short.u[:, None] - short.v).min() >= -1e-10
    plan = np.zeros(cost.size)
    plan[short.entries] = short.mass
    np.testing.assert_allclose(plan.reshape(n, m).sum(1), a, atol=1e-12)
    np.testing.assert_allclose(plan.reshape(n, m).sum(0), b, atol=1e-12)


def test_missing_arcs_are_found_and_added(monkeypatch):
    monkeypatch.setattr(emd_simplex, "SHORTLIST_ARCS", 3)
    monkeypatch.setattr(emd_simplex, "SHORTLIST_ROUNDS", 50)
    sizes = []
    solve_arcs = emd_simplex._solve_arcs

    def counted(cost, a, b, arcs, potentials):
        sizes.append(len(arcs))
        return solve_arcs(cost, a, b, arcs, potentials)

    monkeypatch.setattr(emd_simplex, "_solve_arcs", counted)
    cost, a, b = problem(3, 200, 200, smooth=False)
    assert solve_shortlisted(cost, a, b).value == pytest.approx(_compiled(cost, a, b).value)
    assert len(sizes) > 1
    assert sizes == sorted(set(sizes))


def test_ties_without_end_go_to_all_arcs():
    cost, a, b = problem(4, 200, 200)
    cost = np.full_like(cost, 0.5)
    assert solve_shortlisted(cost, a, b) is None
    assert solve_one(cost, a, b).value == pytest.approx(_compiled(cost, a, b).value, abs=1e-12)


def test_too_few_rounds_go_to_all_arcs(monkeypatch):
    monkeypatch.setattr(emd_simplex, "SHORTLIST_ROUNDS", 1)
    monkeypatch.setattr(emd_simplex, "SHORTLIST_ARCS", 3)
    cost, a, b = problem(5, 200, 200, smooth=False)
    assert solve_shortlisted(cost, a, b) is None
    assert solve_one(cost, a, b).value == pytest.approx(_compiled(cost, a, b).value, abs=1e-12)


def test_the_shortlist_is_taken_for_many_nodes_only(monkeypatch):
    taken = []
    monkeypatch.setattr(emd_simplex, "solve_shortlisted", lambda *a: taken.append(len(a[1])))
    for nodes in (49, 159, 160, 196):
        solve_one(*problem(6, nodes, nodes))
    assert taken == [160, 196]

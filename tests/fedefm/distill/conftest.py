"""Every plan that a test of this folder makes must prove its own optimality."""

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from fedefm.distill import emd_gradient, emd_solver
from fedefm.distill.emd_solver import Transport

Solve = Callable[..., Transport]


def certify(plan: Transport, cost: np.ndarray, source: np.ndarray, target: np.ndarray) -> None:
    """Primal feasible, dual feasible, and equal values: that is optimal, whoever solved it."""
    batch, n, m = cost.shape
    assert np.all(plan.mass > 0)
    assert np.all(np.diff(plan.entries) > 0)
    assert len(plan.entries) <= batch * (n + m - 1)
    dense = np.zeros(batch * n * m)
    dense[plan.entries] = plan.mass
    dense = dense.reshape(batch, n, m)
    flat = np.zeros((batch * n, batch * m))
    flat[plan.sources, plan.targets] = plan.mass
    for sample in range(batch):
        rows, columns = slice(sample * n, (sample + 1) * n), slice(sample * m, (sample + 1) * m)
        np.testing.assert_array_equal(flat[rows, columns], dense[sample])
    np.testing.assert_allclose(dense.sum(2), source, atol=1e-9)
    np.testing.assert_allclose(dense.sum(1), target, atol=1e-9)
    u, v = plan.source_potentials, plan.target_potentials
    slack = cost - u[:, :, None] - v[:, None, :]
    assert slack.min(initial=0.0) >= -1e-10
    primal, dual = (dense * cost).sum((1, 2)), (u * source).sum(1) + (v * target).sum(1)
    np.testing.assert_allclose(primal, dual, atol=1e-10)
    np.testing.assert_allclose(plan.value, primal, atol=1e-10)


def certified_solve(
    cost: np.ndarray, source: np.ndarray, target: np.ndarray, threads: int | None = None
) -> Transport:
    plan = emd_solver.solve(cost, source, target, threads)
    certify(plan, cost, source, target)
    return plan


@pytest.fixture(scope="module", autouse=True)
def _certificate_on_every_solve() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(emd_gradient, "solve", certified_solve)
        yield


@pytest.fixture(scope="module")
def solve() -> Solve:
    return certified_solve

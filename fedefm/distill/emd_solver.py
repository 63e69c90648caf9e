"""Exact optimal transport for a batch of small problems, on the CPU, in threads.

Each sample of a batch is its own linear program, ``min <P, cost>`` over ``P >= 0`` with the node
weights as marginals. POT's compiled network simplex solves it exactly. Its Python wrapper costs
more than the solution at up to 50 nodes, so the compiled entry point is called directly where it is
found and works, and the public ``ot.emd`` otherwise. All solvers here release the interpreter lock,
so threads scale.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import ot
import torch
from scipy.optimize import linear_sum_assignment

from fedefm.errors import ModelError

Floats: TypeAlias = npt.NDArray[np.float64]
Indices: TypeAlias = npt.NDArray[np.int64]
# (source weights, target weights, cost) -> plan, value, source and target potentials, optimal?
Simplex: TypeAlias = Callable[[Floats, Floats, Floats], tuple[Floats, float, Floats, Floats, bool]]
# (flat positions in the plan, mass there, value, source and target potentials)
Solution: TypeAlias = tuple[Indices, Floats, float, Floats | None, Floats | None]

MAX_PIVOTS = 10_000_000  # 196 nodes need a few thousand; this only ends what would never end
OPTIMAL = 1  # POT's result code
WORTH_A_THREAD = 20_000  # plan entries; starting a thread costs as much as solving fewer


@dataclass(frozen=True)
class Transport:
    """Optimal plans of B problems with n sources and m targets, as their nonzero entries.

    A plan that is a vertex of its polytope has at most n + m - 1 nonzeros. Entries are sorted by
    source. ``sources`` counts on over the batch (sample * n + i), ``targets`` likewise with m.
    Potentials are dual optimal: ``u_i + v_j <= cost_ij``, with equality where the plan is not zero;
    they are None for problems with constant equal weights, where nobody needs them.
    """

    value: Floats  # (B,)
    entries: Indices  # (nonzeros,) positions in the flattened (B, n, m)
    sources: Indices  # (nonzeros,)
    targets: Indices  # (nonzeros,)
    mass: Floats  # (nonzeros,)
    source_potentials: Floats | None  # (B, n)
    target_potentials: Floats | None  # (B, m)


def solve(cost: Floats, source: Floats, target: Floats, threads: int | None = None) -> Transport:
    """Exact optimal transport between weighted nodes, one problem a sample.

    Args:
        cost: ``(B, n, m)``, finite.
        source: ``(B, n)`` weights, not negative, each row with a sum of 1; zeros are allowed.
        target: ``(B, m)`` likewise.
        threads: default ``torch.get_num_threads()``, which follows ``OMP_NUM_THREADS``.
    Raises:
        ModelError: inputs that are no transport problem, or a solver that found no optimum.
    """
    _check(cost, source, target)
    simplex = _simplex()

    def one(sample: int) -> Solution:
        return _solve_simplex(simplex, cost[sample], source[sample], target[sample], sample)

    return _collect(_each(one, cost, threads), cost.shape)


def solve_assignment(cost: Floats, threads: int | None = None) -> Transport:
    """Exact optimal transport between n sources and n targets of equal weight 1 / n.

    A vertex of that polytope is a permutation, so this is an assignment problem, several times
    faster than the general one. Equal weights are constants: no potentials are returned.

    Args:
        cost: ``(B, n, n)``, finite.
        threads: as for ``solve``.
    Raises:
        ModelError: a cost that is not finite.
    """
    _check_finite(cost)
    size = cost.shape[1]
    mass = np.full(size, 1.0 / size) if size else np.zeros(0)

    def one(sample: int) -> Solution:
        rows, columns = linear_sum_assignment(cost[sample])
        flat = rows * size + columns
        return flat, mass, float(cost[sample].ravel()[flat].mean()), None, None

    return _collect(_each(one, cost, threads), cost.shape)


def _solve_simplex(
    simplex: Simplex, cost: Floats, source: Floats, target: Floats, sample: int
) -> Solution:
    plan, value, u, v, optimal = simplex(source, target, cost)
    if not optimal:
        raise ModelError(
            f"the solver found no optimum for sample {sample} ({len(source)} x {len(target)} "
            "nodes); check the node weights, or use weights='uniform'"
        )
    if source.min() == 0.0 or target.min() == 0.0:
        u, v = _extended(cost, source, target, u, v)
    flat = np.flatnonzero(plan > 0)  # three times faster than on the numbers themselves
    return flat, plan.ravel()[flat], value, u, v


def _extended(
    cost: Floats, source: Floats, target: Floats, u: Floats, v: Floats
) -> tuple[Floats, Floats]:
    """Potentials made feasible at nodes without weight, which the solver leaves out."""
    u = np.where(source > 0, u, (cost - v)[:, target > 0].min(axis=1))
    return u, np.where(target > 0, v, (cost - u[:, None]).min(axis=0))


def _each(one: Callable[[int], Solution], cost: Floats, threads: int | None) -> list[Solution]:
    """``one`` for every sample, in threads where there is enough to do for them."""
    samples = range(cost.shape[0])
    wanted = torch.get_num_threads() if threads is None else threads
    workers = min(wanted, len(samples), max(1, cost.size // WORTH_A_THREAD))
    if workers <= 1:
        return [one(sample) for sample in samples]
    # A pool of its own for each call: nothing to shut down, nothing that a fork could break.
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(one, samples))


def _collect(solutions: list[Solution], shape: tuple[int, ...]) -> Transport:
    batch, n, m = shape
    if not solutions:
        none = np.zeros(0, dtype=np.int64)
        return Transport(
            np.zeros(0), none, none, none, np.zeros(0), np.zeros((0, n)), np.zeros((0, m))
        )
    flats, masses, values, us, vs = zip(*solutions, strict=True)
    sample = np.repeat(np.arange(batch), [len(flat) for flat in flats])
    entries = np.concatenate(flats) + sample * (n * m)
    sources = entries // m
    return Transport(
        value=np.array(values),
        entries=entries,
        sources=sources,
        targets=entries - (sources - sample) * m,
        mass=np.concatenate(masses),
        source_potentials=None if us[0] is None else np.stack(us),
        target_potentials=None if vs[0] is None else np.stack(vs),
    )


def _check(cost: Floats, source: Floats, target: Floats) -> None:
    _check_finite(cost)
    batch, n, m = cost.shape
    for name, weights, nodes in (("source", source, n), ("target", target, m)):
        if weights.shape != (batch, nodes):
            raise ModelError(
                f"{name} weights have shape {weights.shape}, the cost needs {(batch, nodes)}"
            )
        if batch and not (np.all(weights >= 0) and np.abs(weights.sum(axis=1) - 1).max() < 1e-6):
            raise ModelError(f"{name} weights must be >= 0 with a sum of 1 in every sample")


def _check_finite(cost: Floats) -> None:
    """POT returns 0 for a cost with a NaN in it, without a word."""
    if not np.isfinite(cost.sum()):
        bad = int((~np.isfinite(cost.sum(axis=(1, 2)))).sum())
        raise ModelError(f"the transport cost is NaN or Inf in {bad} of {len(cost)} samples")


@cache
def _simplex() -> Simplex:
    """The compiled solver where this version of POT has it as we know it, else the public one."""
    try:
        half = np.array([0.5, 0.5])
        value = _compiled(half, half, np.array([[0.0, 3.0], [1.0, 0.0]]))[1]
        return _compiled if value == 0.0 else _public
    except Exception:  # a private function may change in any way
        return _public


def _compiled(
    source: Floats, target: Floats, cost: Floats
) -> tuple[Floats, float, Floats, Floats, bool]:
    plan, value, u, v, code = ot.lp.emd_wrap.emd_c(source, target, cost, MAX_PIVOTS, 1)
    return plan, value, u, v, code == OPTIMAL


def _public(
    source: Floats, target: Floats, cost: Floats
) -> tuple[Floats, float, Floats, Floats, bool]:
    plan, log = ot.emd(
        source, target, cost, MAX_PIVOTS, log=True, center_dual=False, check_marginals=False
    )
    return plan, float(log["cost"]), log["u"], log["v"], log["warning"] is None

"""Exact optimal transport for a batch of small problems, on the CPU, in threads.

Each sample of a batch is its own linear program, ``min <P, cost>`` over ``P >= 0`` with the node
weights as marginals. The solvers release the interpreter lock, so threads scale.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from fedefm.distill.emd_simplex import Floats, Indices, Vertex, solve_one
from fedefm.errors import ModelError

WORTH_A_THREAD = 20_000  # plan entries; starting a thread costs as much as solving fewer


@dataclass(frozen=True)
class Transport:
    """Optimal plans of B problems with n sources and m targets, as their nonzero entries.

    A plan that is a vertex of its polytope has at most n + m - 1 nonzeros. Entries are ascending,
    so they are sorted by source. Potentials are dual optimal: ``u_i + v_j <= cost_ij``, with
    equality where the plan is not zero; None for assignments, where nobody needs them.
    """

    value: Floats  # (B,)
    entries: Indices  # (nonzeros,) positions in the flattened (B, n, m)
    sources: Indices  # (nonzeros,) sample * n + i
    targets: Indices  # (nonzeros,) sample * m + j
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
    _check_finite(cost)
    batch, n, m = cost.shape
    mass = _checked_mass("source", source, (batch, n))
    # The simplex wants equal masses to the last bit, or calls the problem infeasible.
    target = target * (mass / _checked_mass("target", target, (batch, m)))[:, None]
    vertices = _each(lambda i: _solve_sample(cost[i], source[i], target[i], i), cost, threads)
    potentials = (
        np.array([vertex.u for vertex in vertices]).reshape(source.shape),
        np.array([vertex.v for vertex in vertices]).reshape(target.shape),
    )
    _extend_to_weightless(cost, source, target, *potentials)
    return _collect(vertices, cost.shape, potentials)


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
    return _collect(_each(lambda i: _assign_sample(cost[i]), cost, threads), cost.shape, None)


def _solve_sample(cost: Floats, source: Floats, target: Floats, sample: int) -> Vertex:
    vertex = solve_one(cost, source, target)
    if vertex is None:
        raise ModelError(
            f"the solver found no optimum for sample {sample} ({len(source)} x {len(target)} "
            "nodes); check the node weights, or use weights='uniform'"
        )
    return vertex


def _assign_sample(cost: Floats) -> Vertex:
    size = len(cost)
    rows, columns = linear_sum_assignment(cost)
    entries = rows * size + columns
    none = np.zeros(0)
    return Vertex(entries, np.full(size, 1.0 / size), cost.ravel()[entries].mean(), none, none)


def _extend_to_weightless(
    cost: Floats, source: Floats, target: Floats, u: Floats, v: Floats
) -> None:
    """Give nodes without weight, which a solver leaves out, the highest feasible potential."""
    for sample in np.flatnonzero((source == 0).any(axis=1) | (target == 0).any(axis=1)):
        rows, columns = source[sample] == 0, target[sample] == 0
        slack = cost[sample] - v[sample]
        u[sample, rows] = slack[rows][:, ~columns].min(axis=1)
        v[sample, columns] = (cost[sample] - u[sample, :, None])[:, columns].min(axis=0)


def _each(one: Callable[[int], Vertex], cost: Floats, threads: int | None) -> list[Vertex]:
    """``one`` for every sample, in threads where there is enough to do for them."""
    samples = range(cost.shape[0])
    wanted = torch.get_num_threads() if threads is None else threads
    workers = min(wanted, len(samples), max(1, cost.size // WORTH_A_THREAD))
    if workers <= 1:
        return [one(sample) for sample in samples]
    # A pool of its own for each call: nothing to shut down, nothing that a fork could break.
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(one, samples))


def _collect(
    vertices: list[Vertex], shape: tuple[int, ...], potentials: tuple[Floats, Floats] | None
) -> Transport:
    batch, n, m = shape
    empty = np.zeros(0, dtype=np.int64)
    sample = np.repeat(np.arange(batch), [len(vertex.entries) for vertex in vertices])
    entries = np.concatenate([empty, *(vertex.entries for vertex in vertices)]) + sample * (n * m)
    sources = entries // m
    return Transport(
        value=np.array([vertex.value for vertex in vertices], dtype=np.float64),
        entries=entries,
        sources=sources,
        targets=entries - (sources - sample) * m,
        mass=np.concatenate([np.zeros(0), *(vertex.mass for vertex in vertices)]),
        source_potentials=potentials[0] if potentials else None,
        target_potentials=potentials[1] if potentials else None,
    )


def _checked_mass(name: str, weights: Floats, shape: tuple[int, int]) -> Floats:
    if weights.shape != shape:
        raise ModelError(f"{name} weights have shape {weights.shape}, the cost needs {shape}")
    mass: Floats = weights.sum(axis=1)
    if not (np.all(weights >= 0) and np.all(np.abs(mass - 1) < 1e-6)):
        raise ModelError(f"{name} weights must be >= 0 with a sum of 1 in every sample")
    return mass


def _check_finite(cost: Floats) -> None:
    """POT returns 0 for a cost with a NaN in it, without a word."""
    if not np.isfinite(cost.sum()):
        bad = int((~np.isfinite(cost.sum(axis=(1, 2)))).sum())
        raise ModelError(f"the transport cost is NaN or Inf in {bad} of {len(cost)} samples")

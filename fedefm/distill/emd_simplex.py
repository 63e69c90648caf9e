"""One exact transport problem by POT's network simplex, by the shortest way that is there.

POT's Python wrapper costs more than the solution at up to 50 nodes, so its compiled entry points
are called directly. They are private: each is tried on a tiny problem before it is used, and the
public ``ot.emd`` takes over where a POT has it no more, or has it otherwise.

With many nodes most of the time goes into arcs that no good plan would ever use. There the problem
is first solved on a shortlist of cheap arcs. The dual potentials of that solution either fit all
other arcs, too, and then prove that it is the optimum of the whole problem; or they name the arcs
that were missing, which join the list.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import ot

Floats: TypeAlias = npt.NDArray[np.float64]
Indices: TypeAlias = npt.NDArray[np.int64]

MAX_PIVOTS = 10_000_000  # 196 nodes need a few thousand; this only ends what would never end
OPTIMAL = 1  # POT's result code
SHORTLIST_NODES = 160  # from here on a shortlist is faster than all arcs
SHORTLIST_ARCS = 16  # of each node, to its cheapest partners
SHORTLIST_ROUNDS = 6
REDUCED_COST = 1e-11  # an arc may undercut the potentials by so much: rounding, in costs up to 2


class Vertex(NamedTuple):
    """An optimal plan's nonzeros, its value, and dual potentials ``u_i + v_j <= cost_ij``.

    Potentials are left open (0) at nodes without weight.
    """

    entries: Indices  # positions in the flattened cost, ascending
    mass: Floats
    value: float
    u: Floats
    v: Floats


Simplex: TypeAlias = Callable[[Floats, Floats, Floats], Vertex | None]


def solve_one(cost: Floats, source: Floats, target: Floats) -> Vertex | None:
    """The optimum for contiguous float64 input of equal mass; None if the solver finds none."""
    shortlist = min(cost.shape) >= SHORTLIST_NODES and source.min() > 0 and target.min() > 0
    vertex = solve_shortlisted(cost, source, target) if shortlist and has_arcs() else None
    return simplex()(cost, source, target) if vertex is None else vertex


def solve_shortlisted(cost: Floats, source: Floats, target: Floats) -> Vertex | None:
    """The optimum, proven by its potentials; None where a shortlist does not pay."""
    listed = _cheapest(cost)
    listed[_staircase(source, target)] = True
    potentials: tuple[Floats, ...] = ()
    for _ in range(SHORTLIST_ROUNDS):
        if 4 * np.count_nonzero(listed) > cost.size:
            return None
        vertex = _solve_arcs(cost, source, target, np.flatnonzero(listed), potentials)
        if vertex is None:
            return None
        missing = _undercut(cost, vertex)
        if missing is None:
            return vertex
        listed |= missing
        potentials = (vertex.u, vertex.v)
    return None


def _cheapest(cost: Floats) -> npt.NDArray[np.bool_]:
    rough = cost.astype(np.float32)  # ranks need no more, and sorting is faster
    by_row = np.partition(rough, SHORTLIST_ARCS, axis=1)[:, SHORTLIST_ARCS]
    by_column = np.partition(np.ascontiguousarray(rough.T), SHORTLIST_ARCS)[:, SHORTLIST_ARCS]
    listed: npt.NDArray[np.bool_] = rough <= np.maximum(by_row[:, None], by_column)
    return listed


def _staircase(source: Floats, target: Floats) -> tuple[Indices, Indices]:
    """Arcs of the north-west corner plan, which make any shortlist feasible."""
    rows, columns = source.cumsum()[:-1], target.cumsum()[:-1]
    cuts = np.concatenate([[0.0], np.sort(np.concatenate([rows, columns]))])
    return np.searchsorted(rows, cuts, "right"), np.searchsorted(columns, cuts, "right")


def _undercut(cost: Floats, vertex: Vertex) -> npt.NDArray[np.bool_] | None:
    """The worst arcs that are cheaper than the potentials allow, or None if there is none."""
    reduced = cost - vertex.u[:, None]
    reduced -= vertex.v
    cheaper: npt.NDArray[np.bool_] = reduced < -REDUCED_COST
    count, most = np.count_nonzero(cheaper), max(cost.shape)
    if count == 0:
        return None
    if count > most:
        cheaper = reduced <= np.partition(reduced[cheaper], most)[most]
    return cheaper


def _solve_arcs(
    cost: Floats, source: Floats, target: Floats, arcs: Indices, potentials: tuple[Floats, ...]
) -> Vertex | None:
    columns = cost.shape[1]
    tails = arcs // columns
    heads = arcs - tails * columns
    sources, targets, mass, value, u, v, code = ot.lp.emd_wrap.emd_c_sparse(
        source,
        target,
        tails.astype(np.uint64),
        heads.astype(np.uint64),
        cost.ravel()[arcs],
        MAX_PIVOTS,
        *potentials,
    )
    if code != OPTIMAL:
        return None
    entries = sources.astype(np.int64) * columns + targets.astype(np.int64)
    order = entries.argsort()
    return Vertex(entries[order], mass[order], value, u, v)


@cache
def simplex() -> Simplex:
    """POT's compiled solver where it is as we know it, else its public one."""
    return _compiled if _works(_compiled) else _public


@cache
def has_arcs() -> bool:
    """Whether POT's solver for listed arcs is there and as we know it."""
    return _works(lambda cost, a, b: _solve_arcs(cost, a, b, np.arange(cost.size), ()))


def _works(solver: Simplex) -> bool:
    half = np.array([0.5, 0.5])
    cost = np.array([[2.0, 3.0], [1.0, 4.0]])
    try:
        vertex = solver(cost, half, half)
    except Exception:  # a private function may change in any way
        return False
    return (
        vertex is not None
        and vertex.entries.tolist() == [1, 2]
        and vertex.value == 2.0
        and bool(np.all(vertex.u[:, None] + vertex.v <= cost))
    )


def _compiled(cost: Floats, source: Floats, target: Floats) -> Vertex | None:
    plan, value, u, v, code = ot.lp.emd_wrap.emd_c(source, target, cost, MAX_PIVOTS, 1)
    return _vertex(plan, value, u, v) if code == OPTIMAL else None


def _public(cost: Floats, source: Floats, target: Floats) -> Vertex | None:
    plan, log = ot.emd(
        source, target, cost, MAX_PIVOTS, log=True, center_dual=False, check_marginals=False
    )
    return _vertex(plan, log["cost"], log["u"], log["v"]) if log["warning"] is None else None


def _vertex(plan: Floats, value: Any, u: Floats, v: Floats) -> Vertex:
    entries = np.flatnonzero(plan > 0)  # three times faster than on the numbers themselves
    return Vertex(entries, plan.ravel()[entries], float(value), u, v)

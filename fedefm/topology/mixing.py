"""How much of whose weights goes into a site's next weights (the consensus matrix of DPASGD).

A row is ``{site: weight}``, its own site included, and sums to 1. Where the columns do, too (doubly
stochastic), the sites' mean survives every exchange, and so it is what the sites agree on.
"""

from collections.abc import Mapping, Sequence, Set

import networkx as nx
import numpy as np

from fedefm.errors import ConfigError

Row = dict[str, float]


def metropolis(graph: nx.Graph) -> dict[str, Row]:
    """Metropolis-Hastings weights, ``W_ij = 1 / (1 + max(degree_i, degree_j))``.

    Symmetric and doubly stochastic on any graph, and each site needs its neighbors' degrees only.
    """
    degree = dict(graph.degree)
    return {
        site: _completed(site, {j: 1 / (1 + max(degree[site], degree[j])) for j in graph[site]})
        for site in graph
    }


def ring_half(graph: nx.Graph) -> dict[str, Row]:
    """``W = (A + I) / 2``: half own, the other half in equal parts from the neighbors.

    Raises:
        ConfigError: unless all sites have equally many links; only then is it doubly stochastic.
    """
    degrees = {degree for _, degree in graph.degree}
    if len(degrees) > 1:
        raise ConfigError(
            "half-and-half mixing needs the same number of links at every site, as in a ring, and "
            f"this graph has {min(degrees)} to {max(degrees)}; use metropolis weights"
        )
    return {
        site: _completed(site, {j: 0.5 / len(graph[site]) for j in graph[site]}) for site in graph
    }


def pair_average(own: str, partners: Sequence[str]) -> Row:
    """Half own, half from the one partner; all own in a round without a partner."""
    if len(partners) > 1:
        raise ValueError(f"a pair has one partner, site {own!r} has {len(partners)} this round")
    return _completed(own, dict.fromkeys(partners, 0.5))


def reweighted(row: Mapping[str, float], present: Set[str], own: str) -> Row:
    """``row`` over ``own`` and who answered; what the missing would have given, ``own`` gives.

    Not scaled up evenly: when both ends of a lost link keep their own part, a symmetric matrix
    stays doubly stochastic and the mean does not drift towards the sites with fewer losses.

    Raises:
        ValueError: for somebody present whom the row has no weight for.
    """
    strangers = sorted(present - row.keys() - {own})
    if strangers:
        raise ValueError(f"site {own!r} has no mixing weight for {', '.join(strangers)}")
    return _completed(own, {j: row[j] for j in row if j in present and j != own})


def spectral_gap(matrix: Mapping[str, Mapping[str, float]]) -> float:
    """One minus the second largest eigenvalue modulus: 0 never agrees, 1 agrees in one exchange."""
    sites = list(matrix)
    if len(sites) == 1:
        return 1.0
    dense = np.array([[matrix[i].get(j, 0.0) for j in sites] for i in sites])
    return 1.0 - float(np.sort(np.abs(np.linalg.eigvals(dense)))[-2])


def _completed(own: str, others: Row) -> Row:
    return {own: 1.0 - sum(others.values()), **others}

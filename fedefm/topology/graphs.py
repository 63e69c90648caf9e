"""Which hospitals are linked: an undirected networkx graph whose nodes are the site names.

A graph says who *may* exchange; :mod:`fedefm.topology.schedules` says who does in which round.
"""

import difflib
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from pathlib import Path

import networkx as nx

from fedefm.errors import ConfigError, all_problems

NAMED = ("ring", "star", "complete", "mst")


def build_graph(
    spec: str,
    sites: Sequence[str],
    *,
    hub: str | None = None,
    latencies: Mapping[tuple[str, str], float] | None = None,
) -> nx.Graph:
    """The links between ``sites``: connected, simple, nodes exactly the sites and in their order.

    Args:
        spec: ``ring`` (in the order of ``sites``), ``star``, ``complete``, ``mst`` (minimum
            spanning tree), or a file: ``.gml``, ``.csv`` (``site,site`` a line), else two site
            names a line with whitespace between; further columns are ignored.
        sites: site names, each once. One site is a graph without links, a ring of two is one link.
        hub: center of the star; the first site if not given.
        latencies: for ``mst``, milliseconds of each possible link (either order of the pair, see
            ``cycle_time.latencies_between``). Without them all links cost the same and every
            spanning tree is minimal: the balanced binary tree is taken, so that no site has more
            than three links and any two sites are within ``2 log2 N`` hops.

    Raises:
        ConfigError: for a spec that is neither a name nor a readable graph, for names in the graph
            that are not sites and the reverse, links from a site to itself, and unconnected parts.
    """
    _check_sites(sites)
    graph = nx.Graph()
    graph.add_nodes_from(sites)
    graph.add_edges_from(_links(spec, list(sites), hub, latencies))
    _check_connected(spec, graph)
    return graph


def sites_in(spec: str) -> list[str]:
    """The site names in a graph file, sorted. Raises ConfigError where it cannot be read."""
    return sorted(_read_file(spec))


def _check_sites(sites: Sequence[str]) -> None:
    if not sites:
        raise ConfigError("a topology needs at least one site; none is in this job")
    twice = sorted({site for site in sites if list(sites).count(site) > 1})
    if twice:
        raise ConfigError(f"sites must have different names; named twice: {', '.join(twice)}")


def _links(
    spec: str,
    sites: list[str],
    hub: str | None,
    latencies: Mapping[tuple[str, str], float] | None,
) -> list[tuple[str, str]]:
    builders: dict[str, Callable[[], list[tuple[str, str]]]] = {
        "ring": lambda: _ring(sites),
        "star": lambda: _star(sites, sites[0] if hub is None else hub),
        "complete": lambda: list(combinations(sites, 2)),
        "mst": lambda: _minimum_spanning_tree(sites, latencies),
    }
    return builders[spec]() if spec in builders else _links_from_file(spec, sites)


def _ring(sites: list[str]) -> list[tuple[str, str]]:
    links = list(zip(sites, sites[1:] + sites[:1], strict=True))
    return links if len(sites) > 2 else links[: len(sites) - 1]


def _star(sites: list[str], hub: str) -> list[tuple[str, str]]:
    if hub not in sites:
        raise ConfigError(f"the star's hub {hub!r} is not in this job; sites: {', '.join(sites)}")
    return [(hub, site) for site in sites if site != hub]


def _minimum_spanning_tree(
    sites: list[str], latencies: Mapping[tuple[str, str], float] | None
) -> list[tuple[str, str]]:
    if latencies is None:
        tree = nx.full_rary_tree(2, len(sites))
        return [(sites[i], sites[j]) for i, j in tree.edges]
    possible = nx.Graph()
    possible.add_nodes_from(sites)
    for one, other in combinations(sites, 2):
        latency = latencies.get((one, other), latencies.get((other, one)))
        if latency is not None:
            possible.add_edge(one, other, latency=latency)
    return list(nx.minimum_spanning_tree(possible, weight="latency").edges)


def _links_from_file(spec: str, sites: list[str]) -> list[tuple[str, str]]:
    path, graph = Path(spec), _read_file(spec)
    strangers, missing = set(graph) - set(sites), set(sites) - set(graph)
    problems = [f"{name!r} is not a site of this job" for name in sorted(strangers)]
    problems += [f"site {name!r} is not in the graph" for name in sorted(missing)]
    problems += [f"{name!r} is linked to itself" for name in sorted(nx.nodes_with_selfloops(graph))]
    if problems:
        raise ConfigError(all_problems(f"topology file {path}", problems))
    return list(graph.edges)


def _read_file(spec: str) -> nx.Graph:
    path = Path(spec)
    if not path.is_file():
        near = difflib.get_close_matches(spec, NAMED, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigError(f"topology {spec!r} is neither {', '.join(NAMED)} nor a file{hint}")
    return _read(path)


def _read(path: Path) -> nx.Graph:
    """The file as an undirected graph with text nodes; parallel links count once."""
    try:
        graph = _parse(path.read_text(encoding="utf-8-sig"), path.suffix.lower())
    # networkx meets a damaged file with anything from its own errors to KeyError and TypeError.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(f"topology file {path} is not a readable graph: {reason}") from error
    if graph.is_directed():
        raise ConfigError(f"topology file {path} is directed, but links run both ways; undirect it")
    return nx.Graph(nx.relabel_nodes(graph, lambda name: str(name).strip()))


def _parse(text: str, suffix: str) -> nx.Graph:
    if suffix == ".gml":
        return nx.parse_gml(text)
    delimiter = "," if suffix == ".csv" else None
    lines = [line.partition("#")[0] for line in text.splitlines()]
    for number, line in enumerate(lines, start=1):
        # networkx would pass over such a line, and a link would be missing without a word.
        if len(line.split(delimiter)) < 2 and line.strip():
            raise ValueError(f"line {number} does not name two sites")
    return nx.parse_edgelist(lines, delimiter=delimiter, data=False)


def _check_connected(spec: str, graph: nx.Graph) -> None:
    parts = [sorted(part) for part in nx.connected_components(graph)]
    if len(parts) > 1:
        listed = " | ".join(", ".join(part) for part in parts)
        raise ConfigError(
            f"topology {spec!r} is not connected, it falls into {len(parts)} parts: {listed}; "
            "add links between them"
        )

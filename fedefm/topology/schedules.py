"""Who exchanges with whom in which round.

Every schedule is a pure function of (site, round) that all sites compute alike, on their own, from
the same graph and seed: nothing is negotiated, and a resumed run goes on where it stopped.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, Protocol, TypeAlias

import networkx as nx

from fedefm.errors import ConfigError
from fedefm.seeding import numpy_generator

ScheduleKind = Literal[
    "neighbors", "matchings", "random_matchings", "hypercube", "one_peer_exponential"
]
Pair: TypeAlias = tuple[str, str]
Partners: TypeAlias = Mapping[str, tuple[str, ...]]


class Schedule(Protocol):
    """Partners by site and round; ``ConfigError`` for a site that the schedule does not know."""

    @property
    def period(self) -> int:
        """Rounds after which the partners repeat; 1 where each round is drawn alike."""

    def partners(self, site: str, round_index: int) -> tuple[str, ...]:
        """To whom ``site`` sends in this round; empty where it has nobody."""

    def sources(self, site: str, round_index: int) -> tuple[str, ...]:
        """Who sends to ``site`` in this round; the same as ``partners`` in symmetric schedules."""


def build_schedule(kind: ScheduleKind, graph: nx.Graph, seed: int) -> Schedule:
    """The schedule called ``kind`` over the sites of ``graph``; ``seed`` is for the random one.

    * ``neighbors``: all neighbors, every round.
    * ``matchings``: a proper edge coloring, one color a round, so that each site has one partner at
      most and each link is used exactly once a period. A ring of even length has two matchings,
      any bipartite graph and any complete graph the fewest possible.
    * ``random_matchings``: each round a new maximal matching of the links, drawn by (seed, round).
    * ``hypercube``: site i with site i XOR 2^(k mod log2 N), in the graph's site order. Pair
      averages over one period give the exact mean. Needs 2^n sites, and uses links that the graph
      may lack: only for networks in which any two sites can reach each other.
    * ``one_peer_exponential``: site i sends to site i + 2^(k mod ceil(log2 N)) modulo N and hears
      from another one, so it is *directed*: use ``sources``. Links as with ``hypercube``, for any N
      (Ying et al. 2021, "Exponential graph is provably efficient").

    Raises:
        ConfigError: for another kind, or a hypercube over a number of sites that is no power of 2.
    """
    if kind == "neighbors":
        return PeriodicSchedule([{site: tuple(graph[site]) for site in graph}])
    if kind == "matchings":
        return PeriodicSchedule([_both_ways(graph, pairs) for pairs in matchings(graph)])
    if kind == "random_matchings":
        return RandomMatchings(graph, seed)
    if kind == "hypercube":
        return PeriodicSchedule(_hypercube(list(graph)))
    if kind == "one_peer_exponential":
        return PeriodicSchedule(_one_peer_exponential(list(graph)))
    raise ConfigError(
        f"schedule {kind!r} is not known; use neighbors, matchings, random_matchings, hypercube "
        "or one_peer_exponential"
    )


class PeriodicSchedule:
    """One table of partners a round, again and again."""

    def __init__(self, rounds: Sequence[Partners]) -> None:
        """``rounds``: at least one table, each with every site as a key."""
        self._partners = tuple(rounds)
        self._sources = tuple(_reversed(table) for table in rounds)

    @property
    def period(self) -> int:
        return len(self._partners)

    def partners(self, site: str, round_index: int) -> tuple[str, ...]:
        return _of(site, self._partners[round_index % self.period])

    def sources(self, site: str, round_index: int) -> tuple[str, ...]:
        return _of(site, self._sources[round_index % self.period])


class EveryNth:
    """A schedule for what happens in every n-th round only: it goes on by one each time.

    Asked by the number of the round, it would skip partners whenever n and its period have a common
    divisor, and meet the same one forever where they are equal.
    """

    def __init__(self, schedule: Schedule, every: int) -> None:
        """``schedule`` is asked for turn ``round_index // every``."""
        self._schedule, self._every = schedule, every

    @property
    def period(self) -> int:
        return self._schedule.period * self._every

    def partners(self, site: str, round_index: int) -> tuple[str, ...]:
        return self._schedule.partners(site, round_index // self._every)

    def sources(self, site: str, round_index: int) -> tuple[str, ...]:
        return self._schedule.sources(site, round_index // self._every)


class RandomMatchings:
    """A maximal matching a round: no link whose two ends are both idle is left out."""

    def __init__(self, graph: nx.Graph, seed: int) -> None:
        self._graph = graph
        self._links = _sorted_links(graph.edges)
        self._seed = seed
        self._latest: tuple[int, Partners] = (-1, {})  # a round's sites all ask for the same draw

    @property
    def period(self) -> int:
        return 1

    def partners(self, site: str, round_index: int) -> tuple[str, ...]:
        drawn_for, table = self._latest
        if drawn_for != round_index:
            table = self._draw(round_index)
            self._latest = (round_index, table)
        return _of(site, table)

    def sources(self, site: str, round_index: int) -> tuple[str, ...]:
        return self.partners(site, round_index)

    def _draw(self, round_index: int) -> Partners:
        order = numpy_generator(self._seed, "random_matchings", round_index)
        busy: set[str] = set()
        pairs: list[Pair] = []
        for position in order.permutation(len(self._links)):
            pair = self._links[position]
            if busy.isdisjoint(pair):
                busy.update(pair)
                pairs.append(pair)
        return _both_ways(self._graph, pairs)


def matchings(graph: nx.Graph) -> list[list[Pair]]:
    """All links of ``graph`` in few sets without a common site; one empty set if it has no link.

    Each set is a matching that reaches as many of the busiest sites as possible. In a bipartite
    graph it reaches all of them (König), so there are as many sets as the busiest site has links.
    """
    sites = sorted(graph)
    if graph.number_of_edges() == len(sites) * (len(sites) - 1) // 2:
        return _round_robin(sites)
    left = nx.Graph(_sorted_links(graph.edges))
    found = []
    while left.number_of_edges():
        matching = _matching_of_the_busiest(left)
        left.remove_edges_from(matching)
        found.append(_sorted_links(matching))
    return found or [[]]


def _matching_of_the_busiest(graph: nx.Graph) -> set[Pair]:
    degree = dict(graph.degree)
    most = max(degree.values())
    worth = {node: len(degree) + 1 if degree[node] == most else 1 for node in degree}
    for one, other in graph.edges:
        graph[one][other]["worth"] = worth[one] + worth[other]
    matching: set[Pair] = nx.max_weight_matching(graph, weight="worth")
    return matching


def _round_robin(sites: list[str]) -> list[list[Pair]]:
    """The complete graph's links in N - 1 sets (N odd: N), by the circle method."""
    places: list[str | None] = [*sites] if len(sites) % 2 == 0 else [*sites, None]
    found = []
    for _ in range(max(1, len(places) - 1)):
        half = len(places) // 2
        facing = zip(places[:half], reversed(places[half:]), strict=True)
        found.append(_sorted_links((a, b) for a, b in facing if a is not None and b is not None))
        places = [places[0], places[-1], *places[1:-1]]
    return found


def _hypercube(sites: list[str]) -> list[Partners]:
    count = len(sites)
    if count & (count - 1):
        raise ConfigError(
            f"schedule 'hypercube' needs 2, 4, 8, 16, ... sites and this job has {count}; use "
            "'matchings' or 'random_matchings', or 'one_peer_exponential' for any number"
        )
    if count == 1:
        return [{sites[0]: ()}]
    return [
        {site: (sites[i ^ (1 << bit)],) for i, site in enumerate(sites)}
        for bit in range(count.bit_length() - 1)
    ]


def _one_peer_exponential(sites: list[str]) -> list[Partners]:
    count = len(sites)
    if count == 1:
        return [{sites[0]: ()}]
    return [
        {site: (sites[(i + (1 << hop)) % count],) for i, site in enumerate(sites)}
        for hop in range((count - 1).bit_length())
    ]


def _both_ways(sites: Iterable[str], pairs: Iterable[Pair]) -> Partners:
    table: dict[str, tuple[str, ...]] = dict.fromkeys(sites, ())
    for one, other in pairs:
        table[one], table[other] = (other,), (one,)
    return table


def _reversed(table: Partners) -> Partners:
    return {
        site: tuple(sender for sender, receivers in table.items() if site in receivers)
        for site in table
    }


def _sorted_links(links: Iterable[Pair]) -> list[Pair]:
    return sorted((min(link), max(link)) for link in links)


def _of(site: str, table: Partners) -> tuple[str, ...]:
    if site not in table:
        raise ConfigError(f"site {site!r} is not in this job; sites: {', '.join(table)}")
    return table[site]

"""Cohorts instead of pairs: the sites stand in a grid, and each round one axis takes its means.

A mean over two hides neither part; a row of three or more can be a secure sum. In a round every row
along one axis takes the mean of its members, in the next round along the next axis, and after one
sweep over all axes every site holds the exact mean of all, also where the grid is ragged. A
hypercube is the grid with rows of two.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

from fedefm.errors import ConfigError

Shares = dict[str, float]  # weight of each member in its cohort's mean


class Grid:
    """Who shares a mean with whom: a pure function of (site, round), the same at every site."""

    def __init__(
        self, sites: Sequence[str], row: int, pause: int | None = None, least: int = 2
    ) -> None:
        """``sites``: in the order that all agree on; ``row``: fewest sites in a cohort.

        ``least``: a shorter row than that is never proposed, since it would hide nobody.

        The grid has as many axes as rows of that length allow, and cohorts are then kept small.
        Where every ``pause``-th round takes no means, the next one goes on with the same axis: a
        sweep that lost one would not end in the mean of all, and a ragged grid that mixes its axes
        can let two who share two cohorts solve for each other's parts.

        Raises:
            ConfigError: for rows of fewer than two, and for fewer sites than a row.
        """
        if row < 2:
            raise ConfigError(f"a cohort of {row} has nobody to hide among; take rows of 3 or more")
        if len(sites) < row:
            raise ConfigError(
                f"a grid with rows of {row} needs at least {row} sites and this job has "
                f"{len(sites)}; {_instead(len(sites), least)}"
            )
        self._pause = pause
        self._axes = _axes(tuple(sites), row, _depth(len(sites), row))
        self._cohorts = [
            {site: cohort for cohort in axis for site in cohort} for axis in self._axes
        ]

    @property
    def period(self) -> int:
        """Rounds of one sweep, without pauses: the number of axes."""
        return len(self._axes)

    def cohorts(self, round_index: int) -> list[tuple[str, ...]]:
        """All cohorts of this round, or of the next where it pauses; each site is in one."""
        axis = self._axes[self._turn(round_index) % self.period]
        return [tuple(sorted(cohort)) for cohort in axis]

    def cohort(self, site: str, round_index: int) -> tuple[str, ...]:
        """With whom ``site`` shares a mean, itself included, sorted."""
        return tuple(sorted(self._of(site, round_index)))

    def weight(self, site: str, round_index: int) -> float:
        """Its weight in its cohort's mean; a cohort's weights sum to 1.

        Equal in a full grid. Where somebody is missing, divide by the sum of those present.
        """
        return self._of(site, round_index)[site]

    def collector(self, site: str, round_index: int) -> str:
        """Who receives the sum of the cohort of ``site``; the next member in the next sweep."""
        members = self.cohort(site, round_index)
        return members[self._turn(round_index) // self.period % len(members)]

    def _turn(self, round_index: int) -> int:
        """How many rounds took means before this one."""
        return round_index - (round_index // self._pause if self._pause else 0)

    def _of(self, site: str, round_index: int) -> Shares:
        table = self._cohorts[self._turn(round_index) % self.period]
        if site not in table:
            raise ConfigError(f"site {site!r} is not in this job; sites: {', '.join(table)}")
        return table[site]


def _instead(sites: int, least: int) -> str:
    if sites < least:
        return f"at least {least} sites must take part"
    return f"set federation.cohort to {sites} or less, or let more sites take part"


@dataclass(frozen=True)
class _Split:
    """How sites fall into the rows of their last axis, which are grids themselves."""

    children: int
    largest: int  # cohort on any axis


def _depth(count: int, row: int) -> int:
    """The most axes such that every cohort can have ``row`` members: ``row ** axes <= count``."""
    depth = 1
    while row ** (depth + 1) <= count:
        depth += 1
    return depth


def _axes(sites: tuple[str, ...], row: int, depth: int) -> list[list[Shares]]:
    """The cohorts of each axis, in the order of the rounds."""
    if depth == 1:
        return [[dict.fromkeys(sites, 1 / len(sites))]]
    children = list(_parts(sites, _split(len(sites), row, depth).children))
    inner = [_axes(child, row, depth - 1) for child in children]
    joined = [[cohort for axis in same for cohort in axis] for same in zip(*inner, strict=True)]
    return [*joined, _columns(children)]


def _columns(children: Sequence[tuple[str, ...]]) -> list[Shares]:
    """Cohorts across the children, dealt in turn, so that each has somebody of every child.

    All sites of a child hold its mean by then: those of them in one column speak for it together,
    with its share of the sites.
    """
    sites = [site for child in children for site in child]
    count, columns = len(sites), min(len(child) for child in children)
    found = []
    for members in (set(sites[column::columns]) for column in range(columns)):
        shares: Shares = {}
        for child in children:
            here = [site for site in child if site in members]
            shares |= dict.fromkeys(here, len(child) / count / len(here))
        found.append(shares)
    return found


@cache
def _split(count: int, row: int, depth: int) -> _Split:
    """The number of children that keeps the largest cohort smallest; of several, the fewest."""
    if depth == 1:
        return _Split(0, count)
    possible = range(row, count // row ** (depth - 1) + 1)
    return min((_tried(count, row, depth, c) for c in possible), key=lambda split: split.largest)


def _tried(count: int, row: int, depth: int, children: int) -> _Split:
    small, larger = divmod(count, children)  # so many children have one site more
    sizes = {small, small + 1} if larger else {small}
    column = -(-count // small)
    return _Split(children, max(column, *(_split(n, row, depth - 1).largest for n in sizes)))


def _parts(sites: tuple[str, ...], count: int) -> Iterator[tuple[str, ...]]:
    """``sites`` in ``count`` runs of nearly equal length."""
    small, larger = divmod(len(sites), count)
    start = 0
    for number in range(count):
        end = start + small + (number < larger)
        yield sites[start:end]
        start = end

"""The sums that a run plans, without its schedules: of whom, by which weights, seen by whom.

Made before the run, from its settings, and on the premise that everybody answers.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

Pair = tuple[str, str]  # sender and receiver


@dataclass(frozen=True)
class PlannedSum:
    """One sum, by ``weights`` of what sites then hold.

    ``receiver`` opens it and hands the result to those in ``handed_to``. Where the receiver has a
    weight, it adds its own part, which travels nowhere.
    """

    receiver: str
    weights: Mapping[str, Fraction]
    handed_to: frozenset[str] = frozenset()

    @property
    def seen_by(self) -> frozenset[str]:
        """Who learns the sum."""
        return self.handed_to | {self.receiver}

    @property
    def senders(self) -> frozenset[str]:
        """Who sends a part."""
        return frozenset(self.weights) - {self.receiver}


@dataclass(frozen=True)
class PlannedRound:
    """A round's sums, by which rows of weights the sites' values change with them, and what else.

    ``releases`` are whole models that one receiver sees as they are.
    """

    sums: tuple[PlannedSum, ...] = ()
    mixing: Mapping[str, Mapping[str, Fraction]] = field(default_factory=dict)
    releases: tuple[Pair, ...] = ()


@dataclass(frozen=True)
class SumPlan:
    """All rounds of a run, in order. A receiver that is no site, as the server, has no input.

    Sites train before each round's sums. ``final`` is one more sum at the end, of the sites'
    averages over the rounds, into which each round's value enters with 1 - ``decay``.
    """

    sites: tuple[str, ...]
    rounds: tuple[PlannedRound, ...]
    final: PlannedSum | None = None
    decay: Fraction = Fraction(0)

    def __post_init__(self) -> None:
        rows = [total.weights for total in self.sums]
        rows += [row for one in self.rounds for row in one.mixing.values()]
        if any(not row or not row.keys() <= set(self.sites) for row in rows):
            raise ValueError("a planned sum is of nobody, or of somebody who is no site")

    @property
    def sums(self) -> list[PlannedSum]:
        """Every sum of the run."""
        last = [] if self.final is None else [self.final]
        return [total for one in self.rounds for total in one.sums] + last

    @property
    def parties(self) -> tuple[str, ...]:
        """The sites and, after them, whoever else sees a sum."""
        seen = {name for total in self.sums for name in total.seen_by}
        return (*self.sites, *sorted(seen - set(self.sites)))

    @property
    def releases(self) -> dict[Pair, int]:
        """How many whole models who shows to whom."""
        return dict(Counter(pair for one in self.rounds for pair in one.releases))


@dataclass(frozen=True)
class Sent:
    """What a site sends: masked ``parts`` of sums, and models as they are (results, releases)."""

    parts: int = 0
    models: int = 0

    @property
    def messages(self) -> int:
        """Both, without the short ones by which the members of a sum agree."""
        return self.parts + self.models


def sent(plan: SumPlan, one: PlannedRound) -> dict[str, Sent]:
    """What each site sends in a round."""
    parts = Counter(name for total in one.sums for name in total.senders)
    models = Counter(name for name, _ in one.releases)
    for total in one.sums:
        models[total.receiver] += len(total.handed_to)
    return {site: Sent(parts[site], models[site]) for site in plan.sites}


def mean_messages(plan: SumPlan) -> float:
    """Per site and round; the sum at the end is left out."""
    total = sum(each.messages for one in plan.rounds for each in sent(plan, one).values())
    return total / max(1, len(plan.rounds)) / len(plan.sites)

"""Whether one start is better than another: the same seeds on the same images, paired.

Wilcoxon's signed-rank test, two-sided, of ``second - first``, and Holm's correction over all tests
that are made together. Three questions are asked, since each pays for its answer in another way:

* of a domain, over its seeds. ``n`` pairs that all point one way have p = 2^(1-n), so below six
  seeds no outcome can be told from chance; then the test is not made, and does not burden others;
* over all pairs of domain and seed. There are many, but those of a domain are of the same images
  and alike, and the test takes them as independent: its p is too small where domains differ;
* over the domains, each with its mean over seeds. Domains are independent, and they are few.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np
from scipy.stats import wilcoxon

LEVEL = 0.05  # above which a difference is not told from chance


@dataclass(frozen=True)
class Pair:
    """What both starts came to on the test images of one domain, with one seed."""

    domain: str
    seed: int
    first: float
    second: float

    @property
    def difference(self) -> float:
        """Above 0 where the second start is better."""
        return self.second - self.first


@dataclass(frozen=True)
class Outcome:
    """``p`` of so many ``pairs``, and Holm's; both None where so few could not tell anything."""

    pairs: int
    p: float | None
    corrected: float | None = None

    @property
    def smallest(self) -> float:
        """The smallest p that so many pairs can have."""
        return smallest_p(self.pairs)


@dataclass(frozen=True)
class Outcomes:
    """What was asked of one way of using both starts."""

    of_domain: Mapping[str, Outcome]
    over_pairs: Outcome
    over_domains: Outcome


def compare(ways: Mapping[str, Sequence[Pair]]) -> dict[str, Outcomes]:
    """The tests of every way, corrected together. Each way needs a pair at least."""
    asked = {way: _questions(pairs) for way, pairs in ways.items()}
    tests = list(itertools.chain.from_iterable(asked.values()))
    told = iter(corrected(tests))
    return {way: _answers(ways[way], [next(told) for _ in asked[way]]) for way in ways}


def corrected(tests: Sequence[Outcome]) -> list[Outcome]:
    """The tests with Holm's p; those that were not made do not count."""
    made = iter(holm([test.p for test in tests if test.p is not None]))
    return [test if test.p is None else replace(test, corrected=next(made)) for test in tests]


def holm(values: Sequence[float]) -> list[float]:
    """Holm's step-down p-values: the k-th smallest of m, counted from 0, times m - k.

    None is smaller than one before it in that order, nor above 1.
    """
    order = sorted(range(len(values)), key=values.__getitem__)
    steps = (values[place] * (len(values) - k) for k, place in enumerate(order))
    found = dict(zip(order, itertools.accumulate(steps, max), strict=True))
    return [min(1.0, found[place]) for place in range(len(values))]


def outcome_of(differences: Sequence[float]) -> Outcome:
    """Whether ``differences`` lie on one side of 0; no p where that could not be told."""
    pairs = len(differences)
    enough = smallest_p(pairs) <= LEVEL
    return Outcome(pairs, signed_rank(differences) if enough else None)


def signed_rank(differences: Sequence[float]) -> float:
    """The two-sided p of Wilcoxon's signed-rank test; differences of 0 are left out.

    Exact up to 50 pairs, and up to 13 where some differ by the same amount; normal beyond that.
    """
    left = np.array([each for each in differences if each])
    return float(wilcoxon(left).pvalue) if left.size else 1.0


def smallest_p(pairs: int) -> float:
    """Two-sided, where all differences have the same sign."""
    return min(1.0, 2.0 ** (1 - pairs))


def _questions(pairs: Sequence[Pair]) -> list[Outcome]:
    """Of each domain, in their order; over all pairs; over the domains."""
    groups = list(_by_domain(pairs).values())
    everything = [each for group in groups for each in group]
    return [
        *map(outcome_of, groups),
        outcome_of(everything),
        outcome_of([fmean(group) for group in groups]),
    ]


def _answers(pairs: Sequence[Pair], tests: Sequence[Outcome]) -> Outcomes:
    *each, over_pairs, over_domains = tests
    return Outcomes(dict(zip(_by_domain(pairs), each, strict=True)), over_pairs, over_domains)


def _by_domain(pairs: Sequence[Pair]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for pair in pairs:
        found.setdefault(pair.domain, []).append(pair.difference)
    return found

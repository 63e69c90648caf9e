"""Which single inputs colluding sites can solve for, from all the sums of a planned run.

A secure sum hides its parts from whoever sees this one sum. Sites that put several together, over
neighborhoods that overlap and over rounds, have a system of linear equations in everybody's inputs,
and may solve it for one of them (Pasquini et al., S&P 2023). A site counts as exposed if that is so
in any of the three runs of ``privacy.secagg.equations``.

Sites are taken to follow the protocol, and all to answer. Whoever shows a whole model to one
receiver is exposed by that alone. Such single releases are no part of this: what the sums add to
them is asked, as if the releases and what follows from them had not been.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import comb

from fedefm.errors import ConfigError, PolicyRefused
from privacy.secagg.equations import DRIFTS, Drift, seen_by_party
from privacy.secagg.solving import Span
from privacy.secagg.sum_plan import PlannedRound, SumPlan

MOST_SETS = 10_000  # of colluders that are gone through; some ten seconds among 32 sites


@dataclass(frozen=True)
class Exposure:
    """What so many colluding sites can do at the most, and with them whoever sees sums but is none.

    ``exposing`` of the ``sets`` of colluders solve for somebody; ``worst`` is one that solves for
    the most, the sites in ``exposed``, and ``words`` says when. ``ever`` are exposed by any set.
    """

    colluders: int
    sets: int
    exposing: int = 0
    worst: tuple[str, ...] = ()
    exposed: tuple[str, ...] = ()
    words: str = ""
    ever: tuple[str, ...] = ()


def exposure(plan: SumPlan, colluders: int, drifts: Sequence[Drift] = DRIFTS) -> Exposure:
    """What every set of that many sites can solve for, or of all but one, if these are fewer.

    Raises ConfigError where there are too many such sets to go through all.
    """
    colluders = max(0, min(colluders, len(plan.sites) - 1))
    sets = comb(len(plan.sites), colluders)
    if sets > MOST_SETS:
        raise ConfigError(
            f"{colluders} of {len(plan.sites)} sites can collude in {sets:,} ways, and no more "
            f"than {MOST_SETS:,} are gone through; ask for fewer colluders"
        )
    found: dict[Sites, dict[str, Drift]] = {}  # by colluders: whom they expose, and under what
    for drift, known in _unlike_each_other(plan, drifts):
        for who, span in _coalitions(plan, known, colluders):
            for place in span.solved():
                if plan.sites[place] not in who:
                    found.setdefault(who, {}).setdefault(plan.sites[place], drift)
    if not found:
        return Exposure(colluders, sets)
    worst = max(found, key=lambda who: len(found[who]))
    exposed = tuple(sorted(found[worst]))
    ever = tuple(sorted({site for sites in found.values() for site in sites}))
    at_once = _exposed_at_once(plan, worst) >= set(exposed)
    words = "in a single round" if at_once else found[worst][exposed[0]].words
    seers = worst or tuple(sorted(set(plan.parties) - set(plan.sites)))
    return Exposure(colluders, sets, len(found), seers, exposed, words, ever)


def refuse_unsafe(plan: SumPlan, colluders: int, way_out: Callable[[], str]) -> None:
    """Raises PolicyRefused where so many sites could solve for another one's input.

    ``way_out`` is asked what else to do, only then.
    """
    found = exposure(plan, colluders)
    if found.exposing:
        every = len(found.ever) == len(plan.sites)
        raise PolicyRefused(
            f"secure sums would not hide every site: {listed(found.worst)} could solve for what "
            f"{listed(found.exposed)} contributed, {found.words}; exposed by "
            f"{together(found.colluders)}: {'every site' if every else listed(found.ever)}; "
            f"{way_out()}"
        )


def together(colluders: int) -> str:
    """So many sites that pool what they see."""
    return f"{colluders} sites together" if colluders > 1 else "a single site"


def listed(names: Sequence[str]) -> str:
    """Names in a sentence."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


Sites = tuple[str, ...]
Known = dict[str, Span]  # by party


def _unlike_each_other(plan: SumPlan, drifts: Sequence[Drift]) -> Iterator[tuple[Drift, Known]]:
    """What each party knows under each drift; a drift that tells nothing else is left out."""
    seen: list[Known] = []
    for drift in drifts:
        known = _known(plan, drift)
        if known not in seen:
            seen.append(known)
            yield drift, known


def _known(plan: SumPlan, drift: Drift) -> Known:
    """What each party can calculate."""
    seen = seen_by_party(plan, drift)
    return {party: Span().with_equations(equations) for party, equations in seen.items()}


def _exposed_at_once(plan: SumPlan, who: Sites) -> set[str]:
    """Whom ``who`` expose by what they see in some round, whatever the others bring."""
    exposed: set[str] = set()
    last = [] if plan.final is None else [PlannedRound((plan.final,))]
    rounds = {_what_is_seen(one): one for one in [*plan.rounds, *last]}  # many are the same
    for one in rounds.values():
        alone = SumPlan(plan.sites, (one,))
        seen = seen_by_party(alone, DRIFTS[0])
        pooled = [party for party in seen if party in who or party not in plan.sites]
        span = Span().with_equations(equation for party in pooled for equation in seen[party])
        exposed |= {plan.sites[place] for place in span.solved()} - set(who)
    return exposed


def _what_is_seen(one: PlannedRound) -> frozenset[object]:
    return frozenset((total.seen_by, frozenset(total.weights.items())) for total in one.sums)


def _coalitions(plan: SumPlan, known: Known, size: int) -> Iterator[tuple[Sites, Span]]:
    """Every set of ``size`` sites with what they know together.

    A receiver that is no site has nothing to hide and is with all of them.
    """
    span = Span()
    for receiver in set(plan.parties) - set(plan.sites):
        span = span.with_equations(known[receiver].equations())
    yield from _grown(plan.sites, known, size, (), span)


def _grown(
    rest: Sites, known: Known, size: int, who: Sites, span: Span
) -> Iterator[tuple[Sites, Span]]:
    """``who`` and ``size`` more out of ``rest``; sets that begin alike share that work."""
    if size == 0:
        yield who, span
        return
    for place, site in enumerate(rest):
        joined = span.with_equations(known[site].equations())
        yield from _grown(rest[place + 1 :], known, size - 1, (*who, site), joined)

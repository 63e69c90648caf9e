"""What ``fedefm privacy topology --draw`` draws: each pattern of sums and releases once."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from fedefm.report.figures.cohorts import Marks, Panel, save_cohorts
from fedefm.words import several
from nvflare_jobs.commands.privacy_topology_told import count_of
from nvflare_jobs.topology_findings import Findings
from privacy.secagg.sum_plan import PlannedRound
from privacy.secagg.topology_check import listed

_MOST_PANELS = 6


Groups = frozenset[frozenset[str]]


@dataclass(frozen=True)
class _Pattern:
    """What rounds have in common that look alike; who receives a cohort's sum does not matter."""

    cohorts: Groups
    links: Groups
    releases: Groups
    words: str


def draw(found: Findings, path: Path) -> None:
    """Raises OSError where ``path`` cannot be written."""
    panels = _panels(found)
    shown = panels[:_MOST_PANELS]
    left_out = len(panels) - len(shown)
    marks = _marks(found, left_out)
    save_cohorts(path, found.plan.sites, shown or [Panel("nothing is sent")], marks)


def _panels(found: Findings) -> list[Panel]:
    rounds = Counter(_pattern(one) for one in found.sums.rounds if one.sums or one.releases)
    panels = [_panel(pattern, count_of(count, "round")) for pattern, count in rounds.items()]
    if found.sums.final is not None:
        panels.append(_panel(_pattern(PlannedRound((found.sums.final,))), "at the end"))
    return panels


def _pattern(one: PlannedRound) -> _Pattern:
    """Cohorts where the receiver is one of them and nobody is in two; other sums as links."""
    cohorts = [frozenset(total.weights) for total in one.sums if total.receiver in total.weights]
    apart = len(cohorts) == len(one.sums)
    apart = apart and sum(map(len, cohorts)) == len(frozenset().union(*cohorts))
    links = {frozenset({total.receiver, name}) for total in one.sums for name in total.senders}
    releases = frozenset(frozenset(pair) for pair in one.releases)
    words = [count_of(len(one.sums), "sum")] if one.sums else []
    words += ["single models (dashed)"] if releases else []
    if apart:
        return _Pattern(frozenset(cohorts), frozenset(), releases, " and ".join(words))
    return _Pattern(frozenset(), frozenset(links), releases, " and ".join(words))


def _panel(pattern: _Pattern, when: str) -> Panel:
    cohorts = sorted(sorted(cohort) for cohort in pattern.cohorts)
    links, releases = _pairs(pattern.links), _pairs(pattern.releases)
    return Panel(f"{when}: {pattern.words}", cohorts, links, releases)


def _pairs(groups: Groups) -> list[tuple[str, str]]:
    return sorted((min(pair), max(pair)) for pair in groups)


def _marks(found: Findings, left_out: int) -> Marks:
    more = f"; of rounds, {several(left_out, 'more pattern')} not drawn" if left_out else ""
    worst = found.exposures[-1]
    if not worst.exposing:
        shown = "; single models are seen as they are" if found.sums.releases else ""
        return Marks(sentence=f"the sums expose nobody{shown}{more}")
    shape = "square" if len(worst.worst) == 1 else "squares"
    sentence = f"{listed(worst.worst)} ({shape}) can solve for the red ones, {worst.words}{more}"
    return Marks(frozenset(worst.worst), frozenset(worst.exposed), sentence)

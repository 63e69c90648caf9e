"""The tables of a comparison: one row each, of the first run and of the second."""

from collections.abc import Mapping
from typing import Any

from fedefm.report import headline, numbers, protection, tables
from fedefm.report.confusion import confusion_of
from fedefm.report.differences import Side, ends, points, score_difference
from fedefm.report.record import RunRecord

Table = list[list[str]]


def scores(a: Side, b: Side) -> Table:
    """Scores at the end: what, of the first, of the second, and the difference."""
    found, measure = score_difference(a, b), a.record.words.name
    interval = f" ({ends(found)})" if found else ""
    rows = [["shared model", a.score_told, b.score_told, _gap(a.score, b.score) + interval]]
    for name, key in (
        ("shared model, mean over sites", f"mean_site_{measure}"),
        ("sites' own models, mean", f"mean_local_{measure}"),
    ):
        one, other = (side.metrics.get(key) for side in (a, b))
        if numbers.known(one) or numbers.known(other):
            rows.append([name, numbers.percent(one), numbers.percent(other), _gap(one, other)])
    return rows


def by_site(a: Side, b: Side) -> Table:
    """How the shared models do on the test images of each site that is in both."""
    one, other = (tables.shared_at_sites(side.record) for side in (a, b))
    return _shares(one, other)


def by_corpus(a: Side, b: Side) -> Table:
    """What the shared models recognize of each corpus that both know."""
    one, other = (confusion_of(side.record) for side in (a, b))
    return _shares(one.recognized(), other.recognized()) if one and other else []


def _shares(one: Mapping[str, float], other: Mapping[str, float]) -> Table:
    both = [(name, one[name], other[name]) for name in one if name in other]
    return [[name, numbers.percent(x), numbers.percent(y), _gap(x, y)] for name, x, y in both]


def _gap(one: float | None, other: float | None) -> str:
    return points(other - one) if numbers.known(one) and numbers.known(other) else "–"


def costs(a: RunRecord, b: RunRecord) -> Table:
    """Rounds, traffic, time and missed turns."""
    rows = []
    for name, told in (
        (headline.ROUNDS, headline.rounds),
        (headline.SENT, headline.sent),
        (headline.TIME, headline.time),
        ("sent in a round", _per_round),
        ("missed turns of sites", _missed),
    ):
        rows.append([name, told(a), told(b)])
    return rows


def _per_round(record: RunRecord) -> str:
    by_round = tables.sent_by_round(record)
    total = sum(size for _, size in by_round)
    return numbers.data_size(total / len(by_round)) if by_round else headline.NOTHING


def _missed(record: RunRecord) -> str:
    statuses = tables.turn_statuses(record)
    missed = sum(len(rounds) for rounds in tables.missed_rounds(statuses).values())
    return f"{missed} of {len(statuses)}" if statuses else headline.NOTHING


def privacy(a: RunRecord, b: RunRecord) -> Table:
    """Site by site: epsilon of the first and of the second; empty where neither was private."""
    one, other = (dict(protection.privacy_rows(record)) for record in (a, b))
    sites = dict.fromkeys([*one, *other])
    return [[site, _spent(one.get(site)), _spent(other.get(site))] for site in sites]


def _spent(told: Mapping[str, Any] | None) -> str:
    if not told:
        return "no guarantee"
    most = "at most " if "at_most" in told else ""
    unit = told.get("unit", "patient")
    return f"{most}{numbers.epsilon(told['epsilon'])} at delta {told.get('delta')}, each {unit}"

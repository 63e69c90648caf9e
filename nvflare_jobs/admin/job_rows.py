"""The table of the status page: one row a site, with what is known of it now."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fedefm.report import numbers
from nvflare_jobs.admin.job_view import JobView

NOTHING = "–"
HEADS = (
    ("Site", False),
    ("Now", False),
    ("Last round", True),
    ("Loss", True),
    ("Score of its model", True),
    ("Sent", True),
    ("Received", True),
    ("Epsilon of this run", True),
    ("Budget left", True),
)  # and whether it is a number
TONES = {
    "ok": "good",
    "training": "going",
    "done": "good",
    "late": "warn",
    "refused": "bad",
    "failed": "bad",
    "absent": "bad",
}


@dataclass(frozen=True)
class SiteRow:
    """One site's line."""

    name: str
    state: str
    tone: str
    why: str
    cells: tuple[str, ...]


def rows_of(view: JobView) -> list[SiteRow]:
    """A row for each site, in the order of the job."""
    record = view.record
    sent, received = record.totals("sent_bytes"), record.totals("received_bytes")
    rows = []
    for site in view.sites:
        known = view.run.sites.get(site)
        state, why = _state(view, site)
        cells = (
            NOTHING if known is None or known.round is None else str(known.round + 1),
            NOTHING if known is None or known.loss is None else numbers.decimal(known.loss),
            NOTHING if known is None or known.score is None else numbers.percent(known.score),
            numbers.data_size(sent[site]) if site in sent else NOTHING,
            numbers.data_size(received[site]) if site in received else NOTHING,
            _spending(view.spending.get(site)),
            _left(view.budgets.get(site)),
        )
        rows.append(SiteRow(site, state, TONES.get(state, "calm"), why, cells))
    return rows


def _state(view: JobView, site: str) -> tuple[str, str]:
    if site in view.refused:
        return "refused", "" if view.outcome else view.refused[site]  # which tells it itself
    if site in view.run.missing:
        return ("late" if site in view.late() else "absent"), view.run.missing[site]
    if site in (late := view.lateness()):
        return "late", late[site]
    if view.state != "running":
        known = view.run.sites.get(site)
        return (known.status if known else _without_word(view)), ""
    answered: Mapping[str, float] = view.standing.get("answered") or {}
    if site in answered:
        return "done", "waits for the others"
    known = view.run.sites.get(site)
    return (known.status if known else "starting"), ""


def _without_word(view: JobView) -> str:
    """What is to be said of a site of which nothing was told."""
    if view.never_began:
        return "not begun"
    return "not told" if view.outcome else "waiting"


def _spending(told: Mapping[str, Any] | None) -> str:
    if told is None:
        return NOTHING
    at_most = "at most " if told.get("at_most") else ""
    return f"{at_most}{numbers.epsilon(told.get('epsilon'))}"


def _left(told: Mapping[str, Any] | None) -> str:
    if told is None:
        return NOTHING
    left, cap = told.get("left"), told.get("cap")
    if not numbers.known(cap) or not numbers.known(left):
        return "without a cap"
    return f"{math.floor(100 * left + 1e-9) / 100:.2f} of {cap:g}"  # more would promise too much

"""One page that shows how a job stands: offline, without scripts, reloaded by the browser itself.

It is made anew after each look at the job, in the style of the report, and stays when the job ends.
"""

import os
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

from fedefm import __version__
from fedefm.report import headline, numbers, tables
from fedefm.report.figures.costs import traffic_by_round
from fedefm.report.figures.curves import score_figure
from fedefm.report.figures.participation import participation_figure
from fedefm.report.record import RunRecord
from nvflare_jobs.admin.job_rows import HEADS, NOTHING, rows_of
from nvflare_jobs.admin.job_view import JobView

REFRESH_S = 5
TONES = {
    "waiting": "calm",
    "unknown": "calm",
    "running": "going",
    "finished": "good",
}  # all else is bad
Clock = Callable[[], datetime]


def _utc() -> datetime:
    return datetime.now(timezone.utc)


class PageFile:
    """A picture of a job that is a file; a browser never finds it half-written."""

    def __init__(self, path: Path, clock: Clock = _utc) -> None:
        self._path, self._clock = path, clock
        path.parent.mkdir(parents=True, exist_ok=True)

    def __call__(self, view: JobView) -> None:
        """Write the page anew."""
        part = self._path.with_name(f"{self._path.name}.part")
        part.write_text(render(view, self._clock()), encoding="utf-8")
        os.replace(part, self._path)  # noqa: PTH105 - atomic, also over an existing file


def render(view: JobView, now: datetime) -> str:
    """The page as text. Every name and sentence from elsewhere is escaped."""
    loader = ChoiceLoader([PackageLoader("nvflare_jobs"), PackageLoader("fedefm.report")])
    environment = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    record = view.record
    context = _head(view, record, now) | _figures(view, record)
    context |= {"heads": HEADS, "sites": rows_of(view)}
    return environment.get_template("job.html.j2").render(context)


def _head(view: JobView, record: RunRecord, now: datetime) -> dict[str, Any]:
    state = view.state
    over = view.outcome is not None
    return {
        "name": view.name,
        "job": view.job,
        "state": state,
        "tone": TONES.get(state, "bad"),
        "now": f"{now:%Y-%m-%d %H:%M:%S} UTC",
        "refresh_s": 0 if over else REFRESH_S,
        "lead": _lead(view),
        "notices": [view.trouble] if view.trouble else [],
        "rounds": view.run.rounds,
        "done": record.rounds_done,
        "tiles": _tiles(view, record, now),
        "version": __version__,
    }


def _lead(view: JobView) -> str:
    text = view.facts.sentence() if view.facts else "Nothing is known of this job yet"
    if view.outcome is not None:
        text = view.outcome.sentence
    elif view.state == "running" and not view.run.rounds:
        text += "; the sites start and read their images"
    return f"{text[:1].upper()}{text[1:]}."


def _tiles(view: JobView, record: RunRecord, now: datetime) -> list[tuple[str, str, bool]]:
    run = view.run
    tiles = [(headline.rounds(record) if run.rounds else NOTHING, headline.ROUNDS, False)]
    if view.sites:
        tiles.append(_taking_part(view))
    tiles.append((headline.sent(record), headline.SENT, False))
    tiles.append((headline.time(record), headline.TIME, False))
    score = run.score if run.score is not None else run.own_score
    if score is not None:
        on = f", {run.split} images" if run.split else ""
        whose = f"the shared model{on}" if run.score is not None else "the sites' own models"
        tiles.append((numbers.percent(score), f"{run.words.noun} of {whose}", False))
    begun = record.started.get("time")
    if view.state == "running" and numbers.known(begun):
        gone = numbers.duration(max(0.0, now.timestamp() - begun))
        tiles.append((gone, "since the sites began", False))
    return tiles


def _taking_part(view: JobView) -> tuple[str, str, bool]:
    """How many of the sites, and who is late."""
    sites, late, over = view.sites, sorted(view.late()), view.outcome is not None
    out = len({*view.refused, *view.run.missing} & set(sites))
    if view.never_began:
        return f"0 of {len(sites)}", "sites took part", True
    if over and not view.run.rounds:  # who looks may not see what the job told
        return NOTHING, "sites took part", False
    what = "sites took part" if over else "sites take part"
    what = "sites are asked" if view.state == "waiting" else what
    behind = f"; {numbers.listed(late)} {'is' if len(late) == 1 else 'are'} late" if late else ""
    return f"{len(sites) - out} of {len(sites)}", f"{what}{behind}", bool(out or late)


def _figures(view: JobView, record: RunRecord) -> dict[str, Any]:
    statuses = tables.turn_statuses(record)
    last = max((number for _, number in statuses), default=0)
    traffic = tables.sent_by_round(record)
    split, series = tables.score_series(record)
    drawn = len({number for points in series.values() for number, _ in points}) > 1
    return {
        "participation": participation_figure(statuses, view.sites, last) if statuses else "",
        "traffic": traffic_by_round(traffic) if len(traffic) > 1 else "",
        "score": score_figure(series, [], record.words) if drawn else "",
        "measure": record.words,
        "split": split,
    }

"""Two runs side by side, in one offline page: what was set otherwise, and what came of it.

One run of each says how these two models differ, and little of what the settings do: another seed
moves the figures, too. The page says so.
"""

from pathlib import Path
from typing import Any

from fedefm import __version__
from fedefm.errors import ConfigError
from fedefm.report import compared_tables, protection, tables
from fedefm.report.differences import (
    Side,
    about_costs,
    about_privacy,
    about_score,
    about_seeds,
    about_settings,
    cautions,
    score_difference,
    setting_rows,
)
from fedefm.report.figures.pair import pair_figure
from fedefm.report.figures.ranges import Row, ranges_figure
from fedefm.report.intervals import Band
from fedefm.report.record import GLOBAL, POOLED, Series, read_record
from fedefm.report.run_report import replaced, templates

Context = dict[str, Any]


def write_comparison(first: Path, second: Path, target: Path) -> dict[str, Any]:
    """Write the page to ``target``, which ends in .html, and return what it says in figures.

    Raises ConfigError where there are not two runs of one measure, or ``target`` is no page;
    DataError where a folder holds no run.
    """
    if first.resolve() == second.resolve():
        raise ConfigError(f"{first} is given twice; a comparison needs two runs")
    if target.suffix != ".html":
        raise ConfigError(
            f"a comparison is one page; give --out a name that ends in .html, not {target}"
        )
    a, b = sides(first, second)
    if a.record.words != b.record.words:
        raise ConfigError(
            f"{first} measures {a.record.words.noun}, and {second} {b.record.words.noun}; compare "
            "runs that train for the same thing"
        )
    page = templates().get_template("compare.html.j2").render(_context(a, b))
    target.parent.mkdir(parents=True, exist_ok=True)
    replaced(target, page)
    found = score_difference(a, b)
    told: dict[str, Any] = {"report": str(target), "difference": None}
    if found:
        told |= {"difference": found.value, "low": found.low, "high": found.high}
        told["beyond_chance"] = found.beyond_chance
    return told


def sides(first: Path, second: Path) -> tuple[Side, Side]:
    """Both runs under names that tell them apart: their own, else those of their folders."""
    records = read_record(first), read_record(second)
    own = [str(r.started.get("name") or r.setting("name") or r.folder.name) for r in records]
    folders = [record.folder.resolve().name for record in records]
    names = next((pair for pair in (own, folders) if pair[0] != pair[1]), ["first", "second"])
    return Side(names[0], records[0]), Side(names[1], records[1])


def _context(a: Side, b: Side) -> Context:
    return {
        "a": a.name,
        "b": b.name,
        "measure": a.record.words,
        "short": [
            about_settings(a, b),
            about_score(a, b),
            about_seeds(a, b),
            about_costs(a, b),
            about_privacy(a, b),
        ],
        "cautions": cautions(a, b),
        "scores": compared_tables.scores(a, b),
        "end_figure": _end_figure(a, b),
        "score_figure": _score_figure(a, b),
        "loss_figure": _loss_figure(a, b),
        "by_site": compared_tables.by_site(a, b),
        "by_corpus": compared_tables.by_corpus(a, b),
        "settings": setting_rows(a, b),
        "costs": compared_tables.costs(a.record, b.record),
        "privacy": compared_tables.privacy(a.record, b.record),
        "protections": [protection.summary(side.record) for side in (a, b)],
        "version": __version__,
    }


def _end_figure(a: Side, b: Side) -> str:
    ends = [(side.name, side.score, side.interval) for side in (a, b)]
    rows = [
        Row(name, value, interval, bold=True) for name, value, interval in ends if value is not None
    ]
    if len(rows) < 2 or not any(row.interval for row in rows):
        return ""
    return ranges_figure("ends", "Of the shared models on test images", rows, a.record.words)


def _score_figure(a: Side, b: Side) -> str:
    lines: Series = {}
    bands: Band = {}
    for side in (a, b):
        split, series = tables.score_series(side.record)
        name = GLOBAL if GLOBAL in series else POOLED
        lines |= {side.name: series[name]} if name in series else {}
        found = tables.score_bands(side.record, split)
        bands |= {side.name: found[name]} if name in found else {}
    drawn = any(len(points) > 1 for points in lines.values())
    words = a.record.words
    return pair_figure("score", f"{words.title} by round", lines, bands, words) if drawn else ""


def _loss_figure(a: Side, b: Side) -> str:
    lines: Series = {}
    for side in (a, b):
        by_round: dict[int, list[float]] = {}
        for course in tables.loss_series(side.record).values():
            for number, value in course:
                by_round.setdefault(number, []).append(value)
        mean = [(number, sum(values) / len(values)) for number, values in sorted(by_round.items())]
        lines |= {side.name: mean} if mean else {}
    drawn = any(len(points) > 1 for points in lines.values())
    return pair_figure("loss", "Training loss by round", lines, {}) if drawn else ""

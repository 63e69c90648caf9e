"""``report.html``: one offline page that tells a run to a person, made from the run folder alone.

No script and no outside resource: figures are inline SVG, pictures are inside the page. Every name
that comes from a run is escaped. What was not measured is said to be so.
"""

import os
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from fedefm import __version__
from fedefm.report import headline, numbers, protection, sentences, tables
from fedefm.report.confusion import confusion_of
from fedefm.report.figures.agreement import (
    Agreement,
    agreement_curve,
    agreement_maps,
    teaching_maps,
)
from fedefm.report.figures.canvas import shortened
from fedefm.report.figures.costs import time_by_site, traffic_by_round, traffic_by_site
from fedefm.report.figures.curves import loss_figure, score_by_site, score_figure
from fedefm.report.figures.participation import participation_figure
from fedefm.report.figures.ranges import ranges_figure
from fedefm.report.figures.stages import stages_figure
from fedefm.report.figures.topology import topology_figure
from fedefm.report.overlays import CASES, overlays
from fedefm.report.paintings import paintings
from fedefm.report.record import GLOBAL, RunRecord, read_record
from fedefm.report.stages import stages_of
from fedefm.report.transfer import transfer_shown
from fedefm.train.run_files import PAINTED

Context = dict[str, Any]
MOST_PANELS = 24  # sites with a panel of their own


def write_report(folder: Path) -> Path:
    """Write ``report.html`` into the run folder and return its path; replaces a former one whole.

    Works for a run that was interrupted. Raises DataError where ``folder`` holds no run, and
    ConfigError for a broken transfer file in it.
    """
    return replaced(folder / "report.html", render(read_record(folder)))


def replaced(target: Path, page: str) -> Path:
    """``target`` with ``page`` in it, which appears whole, also over an existing file."""
    part = target.with_name(f"{target.name}.part")
    part.write_text(page, encoding="utf-8")
    os.replace(part, target)  # noqa: PTH105 - atomic
    return target


def render(record: RunRecord) -> str:
    """The page as text."""
    context = _head(record) | _learning(record) | _data(record) | _exchange(record)
    context |= _stages(record) | _costs(record) | _segmentation(record) | _end(record)
    return templates().get_template("report.html.j2").render(context)


def templates() -> Environment:
    """The report's templates: all that they are given is escaped, and numbers have their forms."""
    environment = Environment(
        loader=PackageLoader("fedefm.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": numbers.percent,
        "decimal": numbers.decimal,
        "count": numbers.count,
        "epsilon": numbers.epsilon,
        "shortened": shortened,
        "duration": numbers.duration,
    }
    return environment


def _head(record: RunRecord) -> Context:
    score, interval = tables.headline_score(record)
    started = record.started.get("time")
    return {
        "name": record.started.get("name") or record.setting("name") or record.folder.name,
        "status": record.status,
        "started": _date(started),
        "what": sentences.what_was_run(record),
        "ending": sentences.how_it_ended(record),
        "score": score,
        "measure": record.words,
        "interval": interval,
        "short": _in_short(record),
        "sites": record.sites,
        "figures": (
            (headline.rounds(record), headline.ROUNDS),
            (str(len(record.sites)), "sites"),
            (headline.sent(record), headline.SENT),
            (headline.time(record), headline.TIME),
        ),
        "unprotected": protection.summary(record),
        "private": protection.is_private(record),
    }


def _in_short(record: RunRecord) -> list[str]:
    """The run in a few sentences, the most important first."""
    score, interval = tables.headline_score(record)
    metrics = record.result.get("metrics") or {}
    references = tables.reference_levels(record)
    learned = sentences.score_meaning(score, interval, references, bool(metrics), record.words)
    if numbers.known(local := metrics.get(f"mean_local_{record.words.name}")):
        learned += " On these images of all sites, the models that the sites themselves hold reach "
        learned += f"{numbers.percent(local)} on average."
    confusion, statuses = confusion_of(record), tables.turn_statuses(record)
    told = [
        learned,
        confusion.meaning() if confusion else "",
        _participation(record) if statuses else "",
        sentences.cost_meaning(record),
        protection.in_short(record),
    ]
    return [sentence for sentence in told if sentence]


def _participation(record: RunRecord) -> str:
    statuses = tables.turn_statuses(record)
    missed, some_rest = tables.missed_rounds(statuses), "resting" in statuses.values()
    told = sentences.participation_meaning(record.sites, missed, some_rest)
    unmoved = [event["round"] for event in record.of("server") if event.get("unmoved")]
    return " ".join(filter(None, [told, sentences.unmoved_meaning(unmoved)]))


def _learning(record: RunRecord) -> Context:
    split, scores = tables.score_series(record)
    bands = tables.score_bands(record, split)
    shared = tables.shared_ranges(record)
    sites = [name for name in scores if name in bands and name in record.sites]
    losses = tables.loss_series(record)
    references = tables.reference_levels(record)
    return {
        "split": split,
        "own_split": split if any(site in scores for site in record.sites) else "held-out",
        "has_global": GLOBAL in scores,
        "in_sums": record.tells_sums,
        "staged": record.setting("stagewise") is not None,
        "masked": record.setting("masking") is not None,
        "swapped": record.started.get("update") == "swap",
        "references": references,
        "score_figure": (
            score_figure(scores, references, record.words, bands) if _curves(scores) else ""
        ),
        "sites_figure": (
            score_by_site(scores, bands, record.words)
            if _curves(scores) and 1 <= len(sites) <= MOST_PANELS
            else ""
        ),
        "shared_figure": (
            ranges_figure("shared", "Of the shared model", shared, record.words, references)
            if shared
            else ""
        ),
        "confusion": confusion_of(record),
        "measured_once": sentences.measured_once(split, scores, record.words),
        "loss_figure": loss_figure(losses) if _curves(losses) else "",
        "site_table": tables.site_table(record, scores),
        "paintings": paintings(record.folder / PAINTED),
    }


def _stages(record: RunRecord) -> Context:
    stages = stages_of(record)
    return {
        "stages": stages,
        "stages_figure": stages_figure(stages, record.words) if stages else "",
    }


def _data(record: RunRecord) -> Context:
    holdings = record.holdings()
    corpora = list(dict.fromkeys(corpus for held in holdings.values() for corpus in held))
    largest = max((s.get("train", 0) for h in holdings.values() for s in h.values()), default=0)
    return {
        "holdings": holdings,
        "corpora": corpora,
        "largest": max(largest, 1),
        "splits": tables.SPLITS,
        "corpora_meaning": sentences.corpora_meaning(holdings) if holdings else "",
        "together": sentences.together(record),
    }


def _exchange(record: RunRecord) -> Context:
    found, taught = tables.agreement(record), tables.teaching(record)
    values = [value for points in found.values() for _, value in points]
    statuses = tables.turn_statuses(record)
    last = max((number for _, number in statuses), default=0)
    meaning = _participation(record) if statuses else ""
    return {
        "topology": record.started.get("topology") or record.setting("federation", "topology"),
        "schedule": record.started.get("schedule") or record.setting("federation", "schedule"),
        "topology_figure": _topology(record),
        "with_server": sentences.scenario_of(record) == "client_server",
        "agreement_curve": agreement_curve(found) if _curves(found) else "",
        "agreement_maps": agreement_maps(found, record.sites) if _of_pairs(found, record) else "",
        "teaching_maps": teaching_maps(taught, record.sites) if taught else "",
        "agreement_meaning": (
            sentences.agreement_meaning(min(values), max(values), record.tells_sums)
            if found
            else ""
        ),
        "participation_meaning": meaning,
        "participation_figure": (
            participation_figure(statuses, record.sites, last) if statuses else ""
        ),
        "missing": tables.missing_table(record),
        "undelivered": tables.undelivered_table(record),
    }


def _of_pairs(found: Agreement, record: RunRecord) -> bool:
    """Whether experts were told apart; not where only their mean came home, or was told."""
    return any(expert in record.sites for _, expert in found)


def _topology(record: RunRecord) -> str:
    scenario = sentences.scenario_of(record)
    if scenario == "client_server":
        server = "server"
        return topology_figure(record.sites, [(server, site) for site in record.sites], server)
    edges = [(str(a), str(b)) for a, b in record.started.get("edges") or ()]
    if scenario in ("local", "centralized") or not edges:  # the graph of the run file is not used
        return ""
    return topology_figure(record.sites, edges)


def _costs(record: RunRecord) -> Context:
    by_round = tables.sent_by_round(record)
    times = tables.site_times(record)
    total = record.sent_bytes if by_round else None
    sent, received = record.totals("sent_bytes"), record.totals("received_bytes")
    return {
        "traffic_meaning": sentences.traffic_meaning(record, total, by_round),
        "traffic_figure": traffic_by_round(by_round) if total and len(by_round) > 1 else "",
        "traffic_sites_figure": traffic_by_site(sent, received) if any(sent.values()) else "",
        "time_meaning": sentences.time_meaning(record),
        "time_figure": time_by_site(times) if any(sum(t.values()) for t in times.values()) else "",
    }


def _segmentation(record: RunRecord) -> Context:
    return {
        "segmentations": list(record.of("segmentation_evaluated")),
        "overlays": overlays(record.folder / "segmentation"),
        "cases": CASES,
        "transfer": transfer_shown(record.folder),
    }


def _end(record: RunRecord) -> Context:
    return {
        "findings": protection.findings(record),
        "privacy": protection.privacy_rows(record),
        "settings": tables.settings_groups(record.settings),
        "settings_text": record.settings_text,
        "where": record.started.get("where"),
        "seed": record.started.get("seed", record.setting("seed")),
        "versions": record.started.get("versions") or {},
        "start": record.started.get("start"),
        "start_sha256": record.started.get("start_sha256"),
        "device": record.started.get("device"),
        "resumed": record.started.get("resumed_from") is not None,
        "version": __version__,
        "made": _date(datetime.now(timezone.utc).timestamp()),
    }


def _curves(series: Mapping[Any, list[tuple[int, float]]]) -> bool:
    """Whether there is something to draw over rounds: at least two of them."""
    return len({number for points in series.values() for number, _ in points}) > 1


def _date(seconds: float | None) -> str:
    if not numbers.known(seconds):
        return "at an unknown time"
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    return f"{moment:%Y-%m-%d %H:%M} UTC"

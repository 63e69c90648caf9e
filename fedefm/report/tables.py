"""The report's tables and the values behind its figures, computed from the record of a run."""

from collections.abc import Mapping
from typing import Any

from fedefm.report.figures.agreement import Agreement
from fedefm.report.figures.participation import PLANNED
from fedefm.report.figures.ranges import Row
from fedefm.report.intervals import Band, wilson
from fedefm.report.measures import ACCURACY, EXPLAINED
from fedefm.report.numbers import (
    NOT_MEASURED,
    count,
    data_size,
    decimal,
    known,
    percent,
    ranges,
)
from fedefm.report.record import GLOBAL, POOLED, Holdings, RunRecord, Series, by_round
from fedefm.report.stages import first_rounds

SPLITS = ("train", "validation", "test")
Table = list[list[str]]
_NOT_TOLD = "not told"
PLAIN_GRAY = "painting each patch plain gray"


def score_series(record: RunRecord) -> tuple[str, Series]:
    """The split that was evaluated in most rounds, and what models were worth by round.

    A site's series is that of its own model on its own images, the global one that of the shared
    model on all images. Where sums are told, all sites' models on their own images are one series.
    """
    events = [event for event in record.of("evaluated") if "model" not in event]
    events += [{**e, "site": POOLED} for e in record.of("metrics") if e["model"] == "own"]
    begun = first_rounds(record)  # before it a site's head has learned nothing
    events = [e for e in events if known(e.get("score")) and e["round"] >= begun.get(e["site"], 0)]
    rounds: dict[str, set[int]] = {}
    for event in events:
        rounds.setdefault(event["split"], set()).add(event["round"])
    if not rounds:
        return "", {}
    split = max(rounds, key=lambda name: len(rounds[name]))
    return split, by_round((e for e in events if e["split"] == split), "score")


def score_bands(record: RunRecord, split: str) -> Band:
    """95 % intervals of ``score_series``, as if images did not depend on each other.

    Empty where the measure is no share of images.
    """
    if not record.words.counts:
        return {}
    events = [e for e in record.of("evaluated") if "model" not in e]
    events += [{**e, "site": POOLED} for e in record.of("metrics") if e["model"] == "own"]
    events = [e for e in events if e["split"] == split and known(e.get("score"))]
    images = {(e["site"], e["round"]): e.get("images") for e in events}
    found: Band = {}
    for site, points in by_round(events, "score").items():
        counted = [(number, share, images[site, number]) for number, share in points]
        bands = [(number, *wilson(share, round(n))) for number, share, n in counted if known(n)]
        if len(bands) == len(points):
            found[site] = bands
    return found


def shared_ranges(record: RunRecord) -> list[Row]:
    """The shared model on everybody's test images and on each site's, with intervals by patient.

    Empty where no site's interval is known.
    """
    events = [e for e in record.of("evaluated") if e.get("model") == GLOBAL]
    low, high = by_round(events, "low"), by_round(events, "high")
    rows = [
        Row(site, score, (low[site][-1][1], high[site][-1][1]) if site in low else None)
        for site, score in shared_at_sites(record).items()
    ]
    overall, interval = headline_score(record)
    if not low or not known(overall):
        return []
    return [Row("all sites together", overall, interval, bold=True), *rows]


def loss_series(record: RunRecord) -> Series:
    """Training loss by site and round, or of all sites together where sums are told."""
    return record.by_round("round", "loss") or record.pooled("loss")


def shared_at_sites(record: RunRecord) -> dict[str, float]:
    """Score of the shared model on each site's own test images."""
    events = (e for e in record.of("evaluated") if e.get("model") == GLOBAL)
    return {site: points[-1][1] for site, points in by_round(events, "score").items()}


def headline_score(record: RunRecord) -> tuple[float | None, tuple[float, float] | None]:
    """Score of the shared model and its interval: the result's, else the last one evaluated."""
    metrics = record.result.get("metrics") or {}
    name = f"global_{record.words.name}"
    score: float | None = metrics.get(name)
    if known(score):
        low: float | None = metrics.get(f"{name}_low")
        high: float | None = metrics.get(f"{name}_high")
        return score, ((low, high) if known(low) and known(high) else None)
    _, series = score_series(record)
    return (series[GLOBAL][-1][1] if GLOBAL in series else None), None


def reference_levels(record: RunRecord) -> list[tuple[str, float]]:
    """What comes without learning: guessing, or a model that knows one site's corpora and no other.

    The second is the mean over sites of the share of all test images whose corpus the site can
    train on. It is left out where corpora are not what is recognized, where test images were not
    counted, and where it is as low as guessing.
    """
    if record.words is not ACCURACY:
        return [(PLAIN_GRAY, 0.0)] if record.words is EXPLAINED else []
    holdings = record.holdings()
    corpora = {corpus for held in holdings.values() for corpus in held}
    classes = record.setting("model", "classes") or sorted(corpora)
    if not classes:
        return []
    levels = [("guessing", 1 / len(classes))]
    share = _known_share(holdings)
    differs = share is not None and abs(share - levels[0][1]) > 0.01
    if set(classes) == corpora and share is not None and differs and len(holdings) > 1:
        levels.append(("knowing one site's corpora", share))
    return levels


def site_table(record: RunRecord, series: Series) -> Table:
    """One row a site: images, corpora, last accuracies and loss, rounds taken part, bytes."""
    shared = shared_at_sites(record)
    holdings, statuses = record.holdings(), turn_statuses(record)
    losses = record.by_round("round", "loss")
    untold = _NOT_TOLD if record.tells_sums else NOT_MEASURED
    sent, received = record.totals("sent_bytes"), record.totals("received_bytes")
    rows = []
    for site in record.sites:
        held = [splits.get("train", 0) for splits in holdings.get(site, {}).values()]
        turns = [status for (name, _), status in statuses.items() if name == site]
        rows.append(
            [
                site,
                count(sum(held)) if held else _NOT_TOLD,
                str(sum(number > 0 for number in held)) if held else _NOT_TOLD,
                percent(series[site][-1][1]) if series.get(site) else untold,
                percent(shared[site]) if site in shared else untold,
                decimal(_last(losses, site)) if site in losses else _NOT_TOLD,
                _turns(turns),
                data_size(sent.get(site)),
                data_size(received.get(site)),
            ]
        )
    return rows


def _turns(turns: list[str]) -> str:
    """In how many of the rounds in which it was asked a site took part."""
    asked = len(turns) - turns.count("resting")
    return f"{turns.count('ok')} of {asked}" if turns else _NOT_TOLD


def turn_statuses(record: RunRecord) -> dict[tuple[str, int], str]:
    """ok, late, failed, absent or resting for each site and round of which there is a record."""
    found: dict[tuple[str, int], str] = {}
    for event in record.of("round_finished"):
        number = event["round"]
        found |= {(site, number): "ok" for site in event.get("participants") or ()}
        found |= {(site, number): "absent" for site in event.get("missing") or {}}
        found |= {(site, number): "resting" for site in event.get("resting") or ()}
    for event in record.of("round"):
        found[event["site"], event["round"]] = str(event.get("status", "ok"))
    return found


def missed_rounds(statuses: Mapping[tuple[str, int], str]) -> dict[str, list[int]]:
    """The rounds in which each site was to take part and did not."""
    missed: dict[str, list[int]] = {}
    for (site, number), status in sorted(statuses.items(), key=lambda item: item[0][1]):
        if status not in PLANNED:
            missed.setdefault(site, []).append(number)
    return missed


def missing_table(record: RunRecord) -> Table:
    """Who missed which rounds, and why: site, what happened, rounds, reason."""
    reasons: dict[tuple[str, int], str] = {}
    for event in record.of("round_finished"):
        for site, reason in (event.get("missing") or {}).items():
            reasons[site, event["round"]] = str(reason or "")
    for event in record.of("round"):
        if event.get("reason"):
            reasons[event["site"], event["round"]] = str(event["reason"])
    grouped: dict[tuple[str, str, str], list[int]] = {}
    for (site, number), status in turn_statuses(record).items():
        if status not in PLANNED:
            reason = reasons.get((site, number)) or "no reason given"
            grouped.setdefault((site, status, reason), []).append(number)
    return [[site, status, ranges(n), why] for (site, status, why), n in grouped.items()]


def undelivered_table(record: RunRecord) -> Table:
    """Messages that did not come or were refused: receiver, rounds, what happened."""
    grouped: dict[tuple[str, str], list[int]] = {}
    for event in record.of("rejected"):
        sender = f"from {event['sender']}: " if event.get("sender") else ""
        grouped.setdefault((event["site"], f"{sender}{event['reason']}"), []).append(event["round"])
    for event in record.of("round"):
        for sender in event.get("unheard") or ():
            what = f"nothing usable came from {sender} in time"
            grouped.setdefault((event["site"], what), []).append(event["round"])
    return [[site, ranges(numbers), what] for (site, what), numbers in grouped.items()]


def agreement(record: RunRecord) -> Agreement:
    """Similarity by round for each (student, expert), or of all together where sums are told."""
    found: Agreement = {
        (name, name): points for name, points in record.pooled("similarity").items()
    }
    for event in record.of("similarity"):
        if known(event.get("value")):
            pair = (event["student"], event["expert"])
            found.setdefault(pair, []).append((event["round"], float(event["value"])))
    return found


def teaching(record: RunRecord) -> Agreement:
    """The weight of each expert among those that came home to a model in the same round.

    Its mean similarity over the sum of theirs, none below 0 (FedEFM, eq. 2, which training applies
    to each image). Empty where experts came alone, or all count alike.
    """
    came: dict[tuple[str, int], dict[str, float]] = {}
    for (student, expert), points in agreement(record).items():
        for number, value in points:
            came.setdefault((student, number), {})[expert] = max(value, 0.0)
    alone = max(map(len, came.values()), default=0) < 2
    if alone or record.setting("distill", "weights") == "uniform":
        return {}
    found: Agreement = {}
    for (student, number), values in came.items():
        total = sum(values.values())
        for expert, value in values.items():
            share = value / total if total else 1 / len(values)
            found.setdefault((student, expert), []).append((number, share))
    return found


def sent_by_round(record: RunRecord) -> list[tuple[int, float]]:
    """Bytes that all sites, and the server where there is one, sent by round."""
    totals: dict[int, float] = {}
    for event in (*record.of("round"), *record.of("server"), *record.of("metrics")):
        if known(event.get("sent_bytes")):
            totals[event["round"]] = totals.get(event["round"], 0.0) + event["sent_bytes"]
    return sorted(totals.items())


def site_times(record: RunRecord) -> dict[str, dict[str, float]]:
    """Seconds in training, exchanging and neither, for each site that measured them."""
    total, train = record.totals("seconds"), record.totals("train_seconds")
    exchange = record.totals("exchange_seconds")
    return {
        site: {
            "train": train[site],
            "exchange": exchange.get(site, 0.0),
            "waiting": max(0.0, total.get(site, 0.0) - train[site] - exchange.get(site, 0.0)),
        }
        for site in record.sites
        if site in train
    }


def settings_groups(settings: Mapping[str, Any]) -> list[tuple[str, list[tuple[str, str]]]]:
    """The run file as groups of (name, value)."""
    groups: list[tuple[str, list[tuple[str, str]]]] = [("run", [])]
    for key, value in settings.items():
        if isinstance(value, Mapping):
            inner = {name: part for name, part in value.items() if isinstance(part, Mapping)}
            plain = [(name, shown(part)) for name, part in value.items() if name not in inner]
            groups.append((key, plain))
            for name, part in inner.items():
                groups.append((f"{key}: {name}", [(n, shown(p)) for n, p in part.items()]))
        else:
            groups[0][1].append((key, shown(value)))
    return groups


def shown(value: object) -> str:
    """A setting as a person writes it."""
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, dict):
        return ", ".join(f"{name}: {shown(part)}" for name, part in value.items())
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "not set" if value is None else str(value)


def _known_share(holdings: Holdings) -> float | None:
    tests: dict[str, int] = {}
    for held in holdings.values():
        for corpus, splits in held.items():
            tests[corpus] = tests.get(corpus, 0) + (splits.get("test") or 0)
    if not (total := sum(tests.values())):
        return None
    shares = [
        sum(tests[corpus] for corpus, splits in held.items() if splits.get("train")) / total
        for held in holdings.values()
    ]
    return sum(shares) / len(shares)


def _last(series: Series, site: str) -> float | None:
    return series[site][-1][1] if series.get(site) else None

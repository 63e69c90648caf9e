"""What ``fedefm privacy topology`` prints: lines for a reader, JSON for scripts."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from fedefm.words import several
from nvflare_jobs.safe_topology import way_out
from nvflare_jobs.topology_findings import Findings, KindOfRound
from privacy.secagg.topology_check import Exposure, listed

_MOST_LINES = 10  # of single releases
_MOST_NAMES = 6


def lines(found: Findings) -> list[str]:
    """For a terminal or a log."""
    rows = [("colluding sites", "sets that expose", "worst")]
    rows += [_exposure_row(found, one) for one in found.exposures]
    rounds = [("rounds", "what is opened", "a site sends")]
    rounds += [_round_row(found, kind) for kind in found.kinds]
    return [
        _headline(found),
        "",
        *_table(rows),
        *_too_many(found),
        "",
        *_table(rounds),
        *_releases(found),
        "",
        *_unread(found),
        *_end(found),
    ]


def as_json(found: Findings) -> dict[str, Any]:
    """For scripts; names and numbers as they are."""
    privacy = found.run.privacy
    proposal = found.proposal
    return {
        "safe": found.safe,
        "reasons": found.reasons,
        "site_policies_read": found.refusals is not None,
        "sites": list(found.plan.sites),
        "secure_sums": privacy.secagg is not None,
        "differential_privacy": privacy.dp is not None,
        "exposures": [
            {
                "colluders": one.colluders,
                "sets": one.sets,
                "exposing": one.exposing,
                "worst": list(one.worst),
                "exposed": list(one.exposed),
                "when": one.words,
                "ever": list(one.ever),
            }
            for one in found.exposures
        ],
        "rounds": [
            {
                "rounds": [number + 1 for number in kind.rounds],
                "sums": list(kind.sizes),
                "releases": len(kind.example.releases),
                "messages": [each.messages for each in kind.sent],
            }
            for kind in found.kinds
        ],
        "single_releases": [
            {"from": sender, "to": receiver, "models": models}
            for (sender, receiver), models in found.sums.releases.items()
        ],
        "messages_per_site_and_round": found.messages,
        "weights": found.weights,
        "proposal": None
        if proposal is None
        else {
            "federation": dict(proposal.settings),
            "words": proposal.words,
            "extra_messages_per_site_and_round": proposal.extra,
        },
    }


def _headline(found: Findings) -> str:
    federation, privacy = found.run.federation, found.run.privacy
    update = f", update {federation.update}" if federation.algorithm == "fedefm" else ""
    secagg = "secure sums" if privacy.secagg is not None else "no secure sums"
    dp = "differential privacy" if privacy.dp is not None else "no differential privacy"
    return (
        f"{several(len(found.plan.sites), 'site')}, {several(federation.rounds, 'round')}: "
        f"{federation.algorithm}"
        f"{update}, topology {federation.topology}, schedule {federation.schedule}; {secagg}, {dp}"
    )


def _exposure_row(found: Findings, one: Exposure) -> tuple[str, str, str]:
    if not one.exposing:
        return str(one.colluders), f"0 of {one.sets:,}", "nobody is exposed"
    exposed, others = one.exposed, len(found.plan.sites) - one.colluders
    whom = listed(exposed) if len(exposed) <= _MOST_NAMES else f"{len(exposed)} of {others} others"
    verb = "solves" if len(one.worst) == 1 else "solve"
    words = f"{listed(one.worst)} {verb} for {whom}, {one.words}"
    return str(one.colluders), f"{one.exposing:,} of {one.sets:,}", words


def _round_row(found: Findings, kind: KindOfRound) -> tuple[str, str, str]:
    return _ranges(kind.rounds), _opened(kind), _sent(found, kind)


def _opened(kind: KindOfRound) -> str:
    told = []
    if kind.sizes:
        sizes = Counter(kind.sizes)
        told.append(", ".join(f"{count_of(n, 'sum')} of {size}" for size, n in sizes.items()))
    if kind.example.releases:
        told.append(count_of(len(kind.example.releases), "single release"))
    return " and ".join(told) or "nothing"


def _sent(found: Findings, kind: KindOfRound) -> str:
    by_messages = sorted(kind.sent, key=lambda each: each.messages)
    least, most = by_messages[0], by_messages[-1]
    messages = f"{least.messages} to {most.messages}"
    if least.messages == most.messages:
        messages = str(most.messages)
    size = found.bytes_of(most)
    at_most = "" if least.messages == most.messages else "at most "
    weight = "" if not size else f" ({at_most}{size / 1e6:.3g} MB)"
    return f"{messages} {'message' if messages == '1' else 'messages'}{weight}"


def _releases(found: Findings) -> list[str]:
    if not found.sums.releases:
        return []
    by_sender: dict[str, dict[str, int]] = {site: {} for site in found.plan.sites}
    for (sender, receiver), models in found.sums.releases.items():
        by_sender[sender][receiver] = models
    senders = [(sender, models) for sender, models in by_sender.items() if models]
    bound = "protected by differential privacy only"
    if found.run.privacy.dp is None:
        bound = "protected by nothing, since privacy.dp is not set"
    shown = senders[:_MOST_LINES]
    more = len(senders) - len(shown)
    return [
        "",
        f"whole models that one receiver sees as they are, {bound}:",
        *(f"  {sender} to {_receivers(models)}" for sender, models in shown),
        *([f"  and {count_of(more, 'more site')}; --json has all"] if more else []),
    ]


def _receivers(models: Mapping[str, int]) -> str:
    """Who gets how many of a site's models."""
    least, most = min(models.values()), max(models.values())
    each = f"{most}" if least == most else f"{least} to {most}"
    whom = listed(list(models)) if len(models) <= _MOST_NAMES else f"{len(models)} others"
    return (
        f"{whom}: {each} {'model' if each == '1' else 'models'}{' each' if len(models) > 1 else ''}"
    )


def _end(found: Findings) -> list[str]:
    colluders = len(found.exposures)
    if found.safe:
        who = "no site" if colluders == 1 else f"no {colluders} sites together"
        return [f"safe: {who} can solve for another one's part of a sum"]
    return [
        *(f"not safe: {reason}" for reason in found.reasons),
        *(f"way out: {way}" for way in _ways_out(found)),
    ]


def _ways_out(found: Findings) -> Iterator[str]:
    if not found.hidden:
        yield way_out(found.run, found.plan, found.asked)
    if found.sums.releases and found.run.privacy.dp is None:
        yield (
            "set privacy.dp, or federation.algorithm to 'gossip', or to 'fedavg' with "
            "federation.scenario 'client_server', which have no experts"
        )


def _too_many(found: Findings) -> list[str]:
    most, count = len(found.exposures), len(found.plan.sites)
    if found.asked == most:
        return []
    return [f"of {count_of(count, 'site')} no more than {most} can collude, {found.asked} cannot"]


def _unread(found: Findings) -> list[str]:
    if found.refusals is not None:
        return []
    return ["not looked at: what the sites' own policies demand; give their files with --sites"]


def _ranges(rounds: Iterable[int]) -> str:
    """Rounds from 1 in few words: all, runs of neighbors, or the first few."""
    numbers = [number + 1 for number in rounds]
    if not numbers:
        return "at the end"
    runs = [
        [number for _, number in group]
        for _, group in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0])
    ]
    words = [str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs]
    if len(words) > 4:
        words = [*words[:3], "..."]
    return f"{', '.join(words)} ({len(numbers)})" if len(numbers) > 1 else words[0]


def count_of(number: int, what: str) -> str:
    """``1 sum``, ``2 sums``."""
    return f"{number} {what}{'' if number == 1 else 's'}"


def _table(rows: Sequence[tuple[str, ...]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]

"""What is told about a round, in the same words wherever the run happens."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from fedefm.errors import QuorumLost
from fedefm.events import EventLog
from fedefm.train.exchange import SERVER, RoundStats
from fedefm.train.measure import Scale
from fedefm.train.pooled import Measured, Pooled
from fedefm.train.simulate import Outcome


def tell_site(
    log: EventLog,
    round_index: int,
    name: str,
    outcome: Outcome[RoundStats],
    reason: str | None,
    asked: bool = True,
) -> None:
    """One site's part of a round; ``reason`` says why it failed, None if it did not.

    Its seconds are None where it told none: a site that keeps them writes zeros.
    """
    tell_rejected(log, round_index, name, outcome)
    timed = outcome.seconds + outcome.exchange_seconds > 0
    stats = outcome.result or RoundStats()
    for host, value in stats.similarity.items():
        log.emit("similarity", round=round_index, student=name, expert=host, value=value)
    log.emit(
        "round",
        round=round_index,
        site=name,
        status="failed" if reason else "ok" if asked else "resting",
        reason=reason,
        unheard=sorted(outcome.missing),
        loss=stats.loss,
        learning_rate=stats.learning_rate,
        seconds=outcome.seconds + outcome.exchange_seconds if timed else None,
        train_seconds=outcome.seconds if timed else None,
        exchange_seconds=outcome.exchange_seconds if timed else None,
        sent_bytes=outcome.sent_bytes,
        received_bytes=outcome.received_bytes,
    )


def tell_rejected(log: EventLog, round_index: int, receiver: str, outcome: Outcome[Any]) -> None:
    """What ``receiver`` refused to open, and why."""
    for refusal in outcome.rejected:
        log.emit("rejected", round=round_index, site=receiver, reason=refusal)


def unheard(server: Outcome[Any]) -> dict[str, str]:
    """Whom the server expected and did not hear, or heard in vain, with the reason."""
    left_out = server.result.left_out if isinstance(server.result, RoundStats) else ()
    in_vain = dict.fromkeys(left_out, "its part is not in the server's sum")
    silent = dict.fromkeys(sorted(server.missing), "the server did not hear from it in time")
    return {**in_vain, **silent}


def tell_server(log: EventLog, round_index: int, outcome: Outcome[RoundStats]) -> None:
    """The server's part in a round; ``unmoved`` where no sum opened and its model is as it was."""
    tell_rejected(log, round_index, SERVER, outcome)
    unmoved = isinstance(outcome.result, RoundStats) and outcome.result.unmoved
    log.emit("server", round=round_index, sent_bytes=outcome.sent_bytes, unmoved=unmoved)


def close_round(
    log: EventLog,
    round_index: int,
    sites: Sequence[str],
    asked: frozenset[str],
    missing: Mapping[str, str],
    seconds: float,
    quorum: float,
) -> None:
    """Who took part and who did not, of those ``asked``. Raises QuorumLost where too few did."""
    sites, resting = [s for s in sites if s in asked], [s for s in sites if s not in asked]
    missing = {name: why for name, why in missing.items() if name in asked}
    present = [name for name in sites if name not in missing]
    log.emit(
        "round_finished",
        round=round_index,
        participants=present,
        missing=missing,
        resting=resting,
        seconds=seconds,
    )
    check_quorum(f"round {round_index + 1}", sites, missing, quorum)


def check_quorum(
    what: str, sites: Sequence[str], missing: Mapping[str, str], quorum: float
) -> None:
    """Raises QuorumLost where fewer than ``quorum`` of the sites took part in ``what``."""
    present = len([name for name in sites if name not in missing])
    if present < quorum * len(sites):
        reasons = "; ".join(f"{name} ({reason})" for name, reason in missing.items())
        raise QuorumLost(
            f"{what}: {present} of {len(sites)} sites took part, fewer "
            f"than the quorum of {quorum:.0%}; missing: {reasons}"
        )


def tell_score(
    log: EventLog,
    round_index: int,
    site: str,
    scale: Scale,
    score: float,
    images: int,
    split: str,
) -> None:
    """What one site's model, or the ``global`` one, is worth on so many images."""
    measured = {scale.name: score, "images": images}
    log.emit("evaluated", round=round_index, site=site, split=split, **measured)


def without_own_numbers(stats: RoundStats | None) -> RoundStats | None:
    """What a site may tell of its round where what it measured is told in sums alone."""
    return None if stats is None else replace(stats, loss=None, similarity={})


def tell_pooled(
    log: EventLog,
    round_index: int,
    split: str,
    pooled: Pooled,
    scale: Scale,
    model: str,
    sent_bytes: int = 0,
) -> None:
    """What the sites measured together, of their ``own`` models or of the ``global`` one.

    ``sent_bytes`` went into telling it.
    """
    log.emit(
        "metrics",
        round=round_index,
        model=model,
        split=split,
        sites=pooled.sites,
        images=pooled.images,
        loss=pooled.loss,
        similarity=pooled.similarity,
        trained_on=pooled.trained_on,
        sent_bytes=sent_bytes,
        **{scale.name: pooled.score(scale)},
    )


def tell_measured(
    log: EventLog, round_index: int, measured: Measured, scale: Scale, sent_bytes: int
) -> None:
    """What the sites asked in a round told together, and at a stage's end those of each stage."""
    tell_pooled(log, round_index, "validation", measured.asked, scale, "own", sent_bytes)
    for stages, pooled in measured.by_stages.items():
        log.emit(
            "stage",
            round=round_index,
            stages=list(stages),
            split="validation",
            sites=pooled.sites,
            images=pooled.images,
            **{scale.name: pooled.score(scale)},
        )


def tell_verdict(
    log: EventLog, round_index: int, verdict: Mapping[str, Pooled], scale: Scale
) -> None:
    """What the sites found the global model to be worth, by split, where they measured it."""
    for split, pooled in verdict.items():
        if pooled.images:
            tell_pooled(log, round_index, split, pooled, scale, "global")

"""The sums of a run, taken from its events, so that a resumed run counts what came before."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fedefm.events import Event


@dataclass(frozen=True)
class Totals:
    """Who took part in which rounds, and what the run cost. Seconds are summed over sites, but for
    ``seconds``, which is the wall time of the rounds, and None where no site told them."""

    participation: dict[str, list[int]]
    rounds: int
    sent_bytes: int
    train_seconds: float | None
    exchange_seconds: float | None
    seconds: float


def totals(events: Iterable[Event], sites: Sequence[str]) -> Totals:
    """Sums over all rounds; of what was done again after a kill, the last time counts."""
    told = _last_told(events)
    rounds = [event for event in told if event["event"] == "round_finished"]
    turns = [event for event in told if event["event"] == "round"]
    return Totals(
        participation={
            site: [event["round"] for event in rounds if site in event["participants"]]
            for site in sites
        },
        rounds=len(rounds),
        sent_bytes=_sent(told),
        train_seconds=_told_seconds(turns, "train_seconds"),
        exchange_seconds=_told_seconds(turns, "exchange_seconds"),
        seconds=_wall_time(told),
    )


def sent_and_taken(events: Iterable[Event]) -> tuple[int, float]:
    """Bytes that everybody has sent so far, and wall seconds of the rounds that are over.

    Whoever shows one of these takes it from here, so that all show the same.
    """
    told = _last_told(events)
    return _sent(told), _wall_time(told)


def _sent(told: Sequence[Event]) -> int:
    return sum(event.get("sent_bytes") or 0 for event in told)


def _wall_time(told: Sequence[Event]) -> float:
    over = (event for event in told if event["event"] == "round_finished")
    return sum(event.get("seconds") or 0.0 for event in over)


def _told_seconds(turns: Sequence[Event], name: str) -> float | None:
    """Their sum, or None where none was told: nothing takes no time at all."""
    return sum(event[name] or 0.0 for event in turns) or None


def _last_told(events: Iterable[Event]) -> list[Event]:
    kept: list[Event] = []
    for event in events:
        if event["event"] == "round_started":
            kept = [old for old in kept if old["round"] < event["round"]]
        if event["event"] == "published":
            kept = [old for old in kept if old["event"] != "published"]
        if "round" in event:
            kept.append(event)
    return kept

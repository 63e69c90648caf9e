"""What a site tells the coordinator about one round, as numbers and names."""

from collections.abc import Mapping
from typing import Any

from fedefm.errors import ProtocolError
from fedefm.train.exchange import RoundStats
from fedefm.train.simulate import Outcome

Numbers = Mapping[str, Any]  # what JSON holds


def report_of(outcome: Outcome[RoundStats], reason: str | None) -> dict[str, Any]:
    """What a site tells the coordinator about one round; ``reason`` where it failed."""
    stats = outcome.result or RoundStats()
    return {
        "reason": reason,
        "loss": stats.loss,
        "learning_rate": stats.learning_rate,
        "similarity": dict(stats.similarity),
        "unheard": sorted(outcome.missing),
        "rejected": outcome.rejected,
        "sent_bytes": outcome.sent_bytes,
        "received_bytes": outcome.received_bytes,
        "seconds": outcome.seconds,
        "exchange_seconds": outcome.exchange_seconds,
    }


def outcome_of(report: Numbers) -> Outcome[RoundStats]:
    """The outcome that ``report_of`` told. Raises ProtocolError where a part is missing."""
    try:
        return Outcome(
            result=RoundStats(
                loss=report["loss"],
                learning_rate=report["learning_rate"],
                similarity={str(host): float(v) for host, v in report["similarity"].items()},
            ),
            missing=set(report["unheard"]),
            rejected=[str(refusal) for refusal in report["rejected"]],
            sent_bytes=int(report["sent_bytes"]),
            received_bytes=int(report["received_bytes"]),
            seconds=float(report["seconds"]),
            exchange_seconds=float(report["exchange_seconds"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ProtocolError(f"a site's report cannot be read: {error!r}") from None

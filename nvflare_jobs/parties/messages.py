"""The wire form of everything that this project sends over FLARE.

Two kinds only, so that a site's filter can know each and stop the rest: a ``Message`` between
parties (safetensors bytes, no pickle), and numbers with names (JSON text) between the server's
coordinator and a site.
"""

import json
from collections.abc import Mapping
from typing import Any

from nvflare.apis.dxo import DXO, DataKind, from_shareable
from nvflare.apis.shareable import Shareable

from fedefm.errors import MessageRejected, ProtocolError
from fedefm.train.exchange import RoundStats
from fedefm.train.message import Message
from fedefm.train.simulate import Outcome

READY = "fedefm_ready"  # are you there, what do you hold, what have you saved
ROUND = "fedefm_round"  # play one round
MEASURE = "fedefm_measure"  # tell what was measured in the round, in a sum over all sites
PUBLISH = "fedefm_publish"  # the last exchange, and measure what came of it
DISMISS = "fedefm_dismiss"  # the run does not begin: give back what was set aside for it
SHARE = "fedefm_share"  # one message between two parties
TASKS = "fedefm_*"

_MESSAGE, _NUMBERS = "message", "numbers"
Numbers = Mapping[str, Any]  # what JSON holds


def pack_message(message: Message) -> Shareable:
    """A message between two parties as task data."""
    return _wrap({_MESSAGE: message.to_bytes()})


def unpack_message(shareable: Shareable) -> Message:
    """The message in task data. Raises MessageRejected for anything else."""
    content = _content(shareable, MessageRejected)
    data = content.get(_MESSAGE)
    if not isinstance(data, bytes | bytearray | memoryview):
        raise MessageRejected("task data holds no message of this protocol")
    return Message.from_bytes(bytes(data))


def is_message(shareable: Shareable) -> bool:
    """Whether this is a message, rather than numbers. Raises ProtocolError where it is more."""
    data = _content(shareable, ProtocolError)
    if list(data) not in ([_MESSAGE], [_NUMBERS]):
        raise ProtocolError("task data holds neither one message nor numbers of this protocol")
    return _MESSAGE in data


def pack_numbers(numbers: Numbers) -> Shareable:
    """Numbers and names as task data or as a task's result."""
    return _wrap({_NUMBERS: json.dumps(numbers)})


def unpack_numbers(shareable: Shareable) -> dict[str, Any]:
    """The numbers in task data or a result. Raises ProtocolError for anything else."""
    content = _content(shareable, ProtocolError)
    try:
        numbers = json.loads(content[_NUMBERS])
    except (KeyError, TypeError, ValueError):
        raise ProtocolError("task data holds no numbers of this protocol") from None
    if not isinstance(numbers, dict):
        raise ProtocolError("task data holds no named numbers")
    return numbers


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


def _wrap(data: dict[str, Any]) -> Shareable:
    return DXO(DataKind.APP_DEFINED, data=data).to_shareable()


def _content(shareable: Shareable, error: type[ProtocolError]) -> dict[str, Any]:
    try:
        dxo = from_shareable(shareable)
    except (ValueError, TypeError) as reason:
        raise error(f"task data is not of this protocol: {reason}") from None
    if dxo.data_kind != DataKind.APP_DEFINED or not isinstance(dxo.data, dict) or dxo.meta:
        raise error(f"task data of kind {dxo.data_kind!r} is not of this protocol")
    return dxo.data

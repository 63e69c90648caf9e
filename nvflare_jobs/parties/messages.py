"""The wire form of everything that this project sends over FLARE.

Two kinds only, so that a site's filter can know each and stop the rest: a ``Message`` between
parties (safetensors bytes, no pickle), and numbers with names (JSON text) between the server's
coordinator and a site.
"""

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from nvflare.apis.dxo import DXO, DataKind, from_shareable
from nvflare.apis.shareable import Shareable

from fedefm.errors import MessageRejected, ProtocolError

if TYPE_CHECKING:
    from fedefm.train.message import Message

_MESSAGE, _NUMBERS = "message", "numbers"
Numbers = Mapping[str, Any]  # what JSON holds
Bytes = bytes | bytearray | memoryview


def pack_message(message: "Message") -> Shareable:
    """A message between two parties as task data."""
    return pack_bytes(message.to_bytes())


def unpack_message(shareable: Shareable) -> "Message":
    """The message in task data. Raises MessageRejected for anything else."""
    from fedefm.train.message import Message  # torch loads slowly, and takes memory

    return Message.from_bytes(bytes(message_bytes(shareable)))


def pack_bytes(data: bytes) -> Shareable:
    """A message in its wire form as task data; the bytes are not copied."""
    return _wrap({_MESSAGE: data})


def message_bytes(shareable: Shareable) -> Bytes:
    """The wire form of the message in task data, uncopied. Raises MessageRejected without one."""
    data = _content(shareable, MessageRejected).get(_MESSAGE)
    if not isinstance(data, bytes | bytearray | memoryview):
        raise MessageRejected("task data holds no message of this protocol")
    return data


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

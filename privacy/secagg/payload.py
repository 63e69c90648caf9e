"""Payloads as they arrive: read as if their sender wished us ill.

A payload is the canonical JSON of one object. Any other text of the same object is refused, so
that what was signed, what was hashed and what was read cannot differ.
"""

import json
from collections.abc import Collection, Mapping
from typing import Any

from fedefm.errors import MessageRejected
from privacy.secagg.steps import Packet, canonical

MOST_BYTES = 4 * 2**20
MOST_REASON = 300  # characters


class Resigned(MessageRejected):
    """The sender has given the sum up, and says why."""


def resignation(reason: str) -> Packet:
    """What a party sends in place of its next packet once it gives the sum up."""
    return Packet(canonical({"abort": _one_line(reason)}))


def read(payload: bytes, fields: Collection[str]) -> dict[str, Any]:
    """The object with exactly these ``fields``. Raises MessageRejected, or Resigned."""
    content = _parsed(payload)
    if not isinstance(content, dict):
        raise MessageRejected("its payload is no JSON object")
    if set(content) == {"abort"} and isinstance(content["abort"], str):
        raise Resigned(f"it gave the sum up: {_one_line(content['abort'])}")
    if set(content) != set(fields):
        raise MessageRejected(f"its payload lacks, or has more than, {sorted(fields)}")
    return content


def bytes_of(value: Any, what: str, length: int | None = None, most: int = 4096) -> bytes:
    """The bytes that lower-case hex stands for, ``length`` of them where one is given."""
    if not isinstance(value, str) or len(value) > 2 * most:
        raise MessageRejected(f"{what} is no hexadecimal text of at most {most} bytes")
    try:
        data = bytes.fromhex(value)
    except ValueError:
        data = b""
    if data.hex() != value:
        raise MessageRejected(f"{what} is no lower-case hexadecimal text")
    if not data or (length is not None and len(data) != length):
        raise MessageRejected(f"{what} has {len(data)} bytes, not {length or 'any'}")
    return data


def bytes_by_name(
    value: Any, what: str, among: Collection[str], length: int | None = None
) -> dict[str, bytes]:
    """A JSON object of hex by site, for sites ``among`` these only."""
    if not isinstance(value, dict) or not set(value) <= set(among):
        raise MessageRejected(f"{what} is no object, or of sites that have no place in it")
    return {name: bytes_of(text, f"{what} of {name}", length) for name, text in value.items()}


def names_of(value: Any, what: str) -> tuple[str, ...]:
    """A sorted list of distinct names."""
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise MessageRejected(f"{what} is no list of names")
    if value != sorted(set(value)):
        raise MessageRejected(f"{what} is not sorted, or names a site twice")
    return tuple(value)


def hex_by_name(values: Mapping[str, bytes]) -> dict[str, str]:
    """What ``bytes_by_name`` reads."""
    return {name: data.hex() for name, data in values.items()}


def _parsed(payload: bytes) -> Any:
    if len(payload) > MOST_BYTES:
        raise MessageRejected(f"its payload has {len(payload)} bytes, more than {MOST_BYTES}")
    try:
        content = json.loads(payload)
        same = canonical(content) == payload
    except (ValueError, RecursionError):
        raise MessageRejected("its payload is no JSON") from None
    if not same:  # a key given twice, too
        raise MessageRejected("its payload is not in the canonical form")
    return content


def _one_line(text: str) -> str:
    shown = "".join(letter if letter.isprintable() else " " for letter in text)
    return shown if len(shown) <= MOST_REASON else shown[: MOST_REASON - 3] + "..."

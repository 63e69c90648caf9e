"""The language between a session of a secure sum and whatever carries its packets.

A session is a generator, as a federated algorithm is, and knows neither network nor tensors.
"""

import json
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

Result = TypeVar("Result")


@dataclass(frozen=True)
class Packet:
    """What one party gives another in one phase: canonical JSON, and at most one vector.

    ``vector`` holds the bytes as they travel, little-endian.
    """

    payload: bytes = b""
    vector: NDArray[np.uint8] | None = None


@dataclass(frozen=True)
class Step:
    """One exchange of a session, ``step`` counting from 0 through the phases of the session.

    Whoever is in ``expect`` and does not answer in time is missing from the inbox.
    ``vector_bytes`` is the length that each awaited vector must have; 0 where none is awaited.
    """

    phase: str
    step: int
    outgoing: Mapping[str, Packet]
    expect: frozenset[str]
    vector_bytes: int = 0


Protocol = Generator[Step, Mapping[str, Packet], Result]


def canonical(data: Any) -> bytes:
    """The one JSON text of ``data``: sorted keys, no spaces, UTF-8. What is signed and hashed."""
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return text.encode("utf-8")

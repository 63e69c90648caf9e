"""Where a message belongs: job, round, phase and parties. Knows no tensors, so it loads fast."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

SERVER = "server"  # a party like any other
LONGEST_BYTES = 2**24  # of what has no length that a receiver knows beforehand
LONGEST_WORD = 300  # characters of a name in a header: errors repeat it, and reports the errors


@dataclass(frozen=True)
class Header:
    """Where a message belongs. ``mechanism`` names what protected it at the sender."""

    job: str
    run_id: str
    round: int
    phase: str
    sender: str
    receiver: str
    sequence: int
    sha256: str
    mechanism: str


def read_header(values: Mapping[str, Any]) -> Header:
    """The header with these ``values``. Raises KeyError, TypeError or ValueError for others."""
    for field in fields(Header):
        if type(values[field.name]) is not field.type:
            raise TypeError(f"{field.name} of the header is not of its type")
        if len(str(values[field.name])) > LONGEST_WORD:
            raise ValueError(f"{field.name} of the header is longer than {LONGEST_WORD} characters")
    return Header(**{field.name: values[field.name] for field in fields(Header)})

"""What a message says of itself, read without its tensors: for those who pass it on or stop it.

As strict as the library that reads the tensors: whatever ``read_outline`` takes, each byte of it
belongs to the header or to one named tensor, so that nothing travels unseen.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fedefm.errors import MessageRejected
from fedefm.train.header import Header, read_header

BYTES_OF = {"F32": 4, "BF16": 2, "I32": 4, "I64": 8, "U8": 1}  # what a message may hold
LENGTH = 8  # bytes that say how long the safetensors header is
METADATA = {"header", "seal"}
LONGEST = 2**24  # bytes of a safetensors header; a tensor takes a hundred


@dataclass(frozen=True)
class Content:
    """Type and shape of one tensor; ``kind`` is as in safetensors, for example ``U8``."""

    kind: str
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """Bytes."""
        return BYTES_OF[self.kind] * math.prod(self.shape)


@dataclass(frozen=True)
class Outline:
    """A message without the values of its tensors."""

    header: Header
    tensors: Mapping[str, Content]


def read_outline(data: bytes | bytearray | memoryview) -> Outline:
    """The outline of ``Message.to_bytes``. Raises MessageRejected for anything else."""
    view = memoryview(data)
    try:
        length = int.from_bytes(view[:LENGTH], "little")
        if not 0 < length <= LONGEST:
            raise ValueError(f"a header of {length} bytes")
        text = bytes(view[LENGTH : LENGTH + length]).decode()
        entries = json.loads(text, object_pairs_hook=_each_once)
        metadata = entries.pop("__metadata__")
        if not set(metadata) <= METADATA:
            raise ValueError("metadata that no message has")
        header = read_header(json.loads(metadata["header"], object_pairs_hook=_each_once))
        _check_gapless(entries, view.nbytes - LENGTH - length)
        tensors = {name: _content(entry) for name, entry in entries.items()}
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise MessageRejected(f"not a message of this protocol: {error}") from None
    return Outline(header, tensors)


def _content(entry: Mapping[str, Any]) -> Content:
    kind, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not all(type(n) is int and n >= 0 for n in (*shape, begin, end)):
        raise ValueError("a shape that no tensor has")
    content = Content(kind, tuple(shape))
    if content.size != end - begin:
        raise ValueError("a tensor of another length than its shape")
    return content


def _check_gapless(entries: Mapping[str, Any], size: int) -> None:
    """The tensors follow each other without a gap, from the first byte to the last."""
    end = 0
    for begin, after in sorted(tuple(entry["data_offsets"]) for entry in entries.values()):
        if begin != end:
            raise ValueError("bytes that belong to no tensor, or to two")
        end = after
    if end != size:
        raise ValueError(f"{size} bytes of tensors, and {end} are named")


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name that stands twice")
    return found

"""Who passes a message on sees all of it but its values, or refuses it."""

import json
import subprocess
import sys

import pytest
import torch

from fedefm.errors import MessageRejected
from fedefm.train.message import TYPES, Message, Postbox
from fedefm.train.outline import BYTES_OF, Content, read_outline

TENSORS = {
    "weight": torch.ones(3, 4),
    "count": torch.tensor(7),
    "none": torch.zeros(0, 5),
    "bytes": torch.zeros(9, dtype=torch.uint8),
    "whole": torch.zeros(2, dtype=torch.int32),
}


def wire() -> bytes:
    return Postbox("a", "job", "id").seal(3, "weights", "b", TENSORS).to_bytes()


def rewritten(change) -> bytes:
    """The wire form with another safetensors header."""
    data = wire()
    length = int.from_bytes(data[:8], "little")
    text = change(data[8 : 8 + length].decode())
    return len(text).to_bytes(8, "little") + text.encode() + data[8 + length :]


def edited(change) -> bytes:
    def edit(text: str) -> str:
        header = json.loads(text)
        change(header)
        return json.dumps(header)

    return rewritten(edit)


def test_it_is_what_the_message_says() -> None:
    message = Message.from_bytes(wire())
    outline = read_outline(memoryview(wire()))
    assert outline.header == message.header
    assert {name: content.shape for name, content in outline.tensors.items()} == {
        name: tuple(tensor.shape) for name, tensor in TENSORS.items()
    }
    assert outline.tensors["bytes"] == Content("U8", (9,))
    assert sum(content.size for content in outline.tensors.values()) == sum(
        tensor.nbytes for tensor in TENSORS.values()
    )


def test_it_knows_the_types_that_messages_may_hold() -> None:
    assert sorted(BYTES_OF.values()) == sorted(dtype.itemsize for dtype in TYPES)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not a message at all",
        wire()[:-1],
        wire() + b"hidden",
        edited(lambda h: h.pop("weight")),
        edited(lambda h: h["weight"].update(shape=[3, 5])),
        edited(lambda h: h["weight"].update(shape=[-3, -4])),
        edited(lambda h: h["weight"].update(dtype="F64")),
        edited(lambda h: h["__metadata__"].update(more="hidden")),
        edited(lambda h: h["__metadata__"].pop("header")),
        edited(lambda h: h["__metadata__"].update(header="{}")),
        edited(lambda h: h["whole"].update(data_offsets=h["bytes"]["data_offsets"])),
        rewritten(lambda text: text.replace('{"__metadata__"', '{"bytes":1,"__metadata__"', 1)),
        (2**40).to_bytes(8, "little") + b"{}",
        (4).to_bytes(8, "little") + b"[[]]",
    ],
)
def test_anything_else_is_refused(data) -> None:
    with pytest.raises(MessageRejected, match="not a message of this protocol"):
        read_outline(data)


def test_it_is_read_without_torch() -> None:
    code = "import sys, fedefm.train.outline; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

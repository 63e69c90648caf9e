"""What travels between two parties, and when a receiver refuses it.

A message is named tensors plus a header that binds them to one job, round, phase and pair of
parties. Its wire form is safetensors (no pickle): the header stands in the metadata.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from fedefm.errors import MessageRejected
from fedefm.train.header import LONGEST_BYTES as LONGEST_BYTES
from fedefm.train.header import Header as Header
from fedefm.train.header import read_header

if TYPE_CHECKING:
    from fedefm.train.protection import Release

Tensors = Mapping[str, Tensor]
Shapes = Mapping[str, torch.Size]
WIRES = {"float32": torch.float32, "bfloat16": torch.bfloat16}  # how real numbers travel
TYPES = (*WIRES.values(), torch.int32, torch.int64, torch.uint8)  # what can be checked and summed
ANY_LENGTH = torch.Size([-1])  # the wanted shape of bytes whose number nobody knows beforehand


class Seal(Protocol):
    """How a party proves that a header, and with it the content, is its own."""

    def sign(self, data: bytes) -> str:
        """The proof of ``data``, to travel with it."""
        ...

    def verify(self, sender: str, data: bytes, seal: str) -> None:
        """Raises MessageRejected where ``seal`` is not the proof of ``sender`` for ``data``."""
        ...


@dataclass(frozen=True)
class Message:
    """Named tensors on their way from one party to another. ``seal`` proves whose they are."""

    header: Header
    tensors: Tensors
    seal: str = ""

    @property
    def size(self) -> int:
        """Bytes of the tensors and of the seal; the header adds some hundred."""
        return sum(tensor.nbytes for tensor in self.tensors.values()) + len(self.seal)

    def to_bytes(self) -> bytes:
        """The safetensors form."""
        plain = {name: tensor.detach().cpu().contiguous() for name, tensor in self.tensors.items()}
        return save(plain, {"header": json.dumps(asdict(self.header)), "seal": self.seal})

    @classmethod
    def from_bytes(cls, data: bytes) -> "Message":
        """Read ``to_bytes``. Raises MessageRejected for anything else."""
        try:
            length = int.from_bytes(data[:8], "little")
            metadata = json.loads(data[8 : 8 + length])["__metadata__"]
            header = read_header(json.loads(metadata["header"]))
            return cls(header, load(data), metadata.get("seal", ""))
        except (SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise MessageRejected(f"not a message of this protocol: {error}") from None


def shapes_of(tensors: Tensors) -> dict[str, torch.Size]:
    """What a receiver compares with."""
    return {name: tensor.shape for name, tensor in tensors.items()}


def digest(tensors: Tensors) -> str:
    """SHA-256 over names, types, shapes and values, in the order of the names."""
    sha = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        sha.update(f"{name}|{tensor.dtype}|{tuple(tensor.shape)}|".encode())
        sha.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return sha.hexdigest()


class Postbox:
    """Seals what one party sends and opens what it receives, within one job.

    ``open`` refuses a wrong job, run, round, phase, sender or receiver, a repeated sequence number,
    a digest that does not match, and tensors whose names, shapes or values cannot be this model's.
    ``release`` stamps each message with what protected it, and stops the one that must not leave;
    without it messages are stamped ``none``. With a ``seal`` each header is signed, and a message
    that its sender did not sign is refused; SHA-256 binds the content to the header. ``wire`` is
    the run file's: float32 tensors travel in this type, and no others of real numbers are opened.
    ``sent_before`` is no less than what the owner sent in this job from an earlier process.
    """

    def __init__(
        self,
        owner: str,
        job: str,
        run_id: str,
        release: "Release | None" = None,
        seal: Seal | None = None,
        wire: str = "float32",
        sent_before: int = 0,
    ) -> None:
        self._wire = WIRES[wire]
        self._opened = {*TYPES} - {*WIRES.values()} | {self._wire}
        self._blank = Header(job, run_id, 0, "", owner, "", 0, "", "none")
        self.release = release
        self.seal_with = seal
        self._sequence = sent_before
        self._last_from: dict[str, tuple[int, int]] = {}  # its round and sequence number

    def seal(self, round_index: int, phase: str, receiver: str, tensors: Tensors) -> Message:
        """A message to ``receiver``, with the next sequence number.

        Raises PolicyRefused where the release does not let it leave.
        """
        tensors = _converted(tensors, torch.float32, self._wire)
        self._sequence += 1
        header = replace(
            self._blank,
            round=round_index,
            phase=phase,
            receiver=receiver,
            sequence=self._sequence,
            sha256=digest(tensors),
            mechanism="none" if self.release is None else self.release.mechanism(),
        )
        if self.release is not None:
            self.release.check(header)
        proof = "" if self.seal_with is None else self.seal_with.sign(_signed(header))
        return Message(header, tensors, proof)

    def open(
        self,
        message: Message,
        round_index: int,
        phase: str,
        senders: frozenset[str],
        shapes: Shapes,
    ) -> Tensors:
        """The tensors of ``message``. Raises MessageRejected, naming the sender and the reason."""
        header = message.header
        self._check_address(header, round_index, phase, senders)
        self.vouch(message)
        self._check_content(message, shapes)
        self._last_from[header.sender] = (header.round, header.sequence)
        return _converted(message.tensors, self._wire, torch.float32)

    def vouch(self, message: Message) -> None:
        """Raises MessageRejected unless the sender signed the header, where there is a seal."""
        if self.seal_with is not None:
            self.seal_with.verify(message.header.sender, _signed(message.header), message.seal)

    def _check_address(
        self, header: Header, round_index: int, phase: str, senders: frozenset[str]
    ) -> None:
        wanted = replace(
            self._blank,
            round=round_index,
            phase=phase,
            sender=header.sender,
            receiver=self._blank.sender,
        )
        for name in ("job", "run_id", "round", "phase", "receiver"):
            if getattr(header, name) != getattr(wanted, name):
                raise _rejected(
                    header, f"{name} is {getattr(header, name)!r}, not {getattr(wanted, name)!r}"
                )
        if header.sender not in senders:
            raise _rejected(header, "it is not expected to send in this round")
        # by round, since a sender that was started again begins to count anew
        if (header.round, header.sequence) <= self._last_from.get(header.sender, (header.round, 0)):
            raise _rejected(header, f"sequence number {header.sequence} was seen before")

    def _check_content(self, message: Message, shapes: Shapes) -> None:
        header, tensors = message.header, message.tensors
        if difference := _first_difference(tensors, shapes):
            raise _rejected(header, difference)
        for name, tensor in tensors.items():
            if tensor.dtype not in self._opened:
                raise _rejected(header, f"tensor {name!r} is of type {tensor.dtype}")
            if not _is_finite(tensor):
                raise _rejected(header, f"tensor {name!r} holds NaN or infinite values")
        if digest(tensors) != header.sha256:
            raise _rejected(header, "its content does not match its SHA-256")


def _converted(tensors: Tensors, before: torch.dtype, after: torch.dtype) -> Tensors:
    """The same numbers, rounded where ``after`` holds fewer digits."""
    if before == after:
        return tensors
    return {n: t.to(after) if t.dtype == before else t for n, t in tensors.items()}


def _is_finite(tensor: Tensor) -> bool:
    """By its extremes, which a NaN takes over; five times as fast as looking at each value."""
    numbers = tensor.is_floating_point() or tensor.is_complex()
    extremes = torch.aminmax(tensor.detach()) if numbers and tensor.numel() else ()
    return all(math.isfinite(extreme) for extreme in extremes)


def _signed(header: Header) -> bytes:
    return json.dumps(asdict(header), sort_keys=True).encode()


def _first_difference(tensors: Tensors, shapes: Shapes) -> str | None:
    for name in sorted(set(shapes) | set(tensors)):
        if name not in tensors:
            return f"tensor {name!r} is missing"
        if name not in shapes:
            return f"tensor {name!r} is not part of this model"
        if shapes[name] == ANY_LENGTH:
            if tensors[name].ndim != 1 or tensors[name].nbytes > LONGEST_BYTES:
                return f"tensor {name!r} is no row of at most {LONGEST_BYTES} bytes"
        elif tensors[name].shape != shapes[name]:
            have, want = tuple(tensors[name].shape), tuple(shapes[name])
            return f"tensor {name!r} has shape {have}, not {want}"
    return None


def _rejected(header: Header, reason: str) -> MessageRejected:
    return MessageRejected(
        f"message from {header.sender!r} (round {header.round}, {header.phase}): {reason}"
    )

"""Frames between FLARE's job process and the training process: a head of JSON, and raw bytes.

Nothing is pickled. A message's bytes are written from where they are, and read once, so that each
side holds one copy of them.
"""

import json
import struct
import threading
from collections.abc import Mapping
from multiprocessing.connection import Connection
from socket import SO_SNDTIMEO, SOL_SOCKET, socketpair
from typing import Any

Head = Mapping[str, Any]
Payload = bytes | bytearray | memoryview

KIND, NUMBER, LENGTH = "kind", "number", "bytes"  # in every head; in those that want an answer
# From FLARE's process to the training process.
ORDER = "order"  # what to be: the first frame
TASK = "task"  # do one of the coordinator's tasks
MESSAGE = "message"  # take a message of another party
OUTCOME = "outcome"  # what became of a message that was to be sent
STOP = "stop"  # wait for nobody any longer
END = "end"  # give back what is not needed, and end
# And back.
LISTENING = "listening"  # messages are taken from now on
ANSWER = "answer"  # to a task
SEND = "send"  # send a message to another party
KEPT = "kept"  # a message was taken, or why not
STUCK_S = 120
# How sending ended.
SENT, NOT_TAKEN, FORBIDDEN = "sent", "not taken", "forbidden"


class Pipe:
    """One end. Any thread may send; one thread receives."""

    def __init__(self, handle: int) -> None:
        """Takes over the open socket ``handle``."""
        self._connection = Connection(handle)
        self._sending = threading.Lock()

    def send(self, kind: str, payload: Payload = b"", **head: Any) -> None:
        """Raises OSError where the other end is gone, TypeError for what JSON cannot hold."""
        length = memoryview(payload).nbytes
        text = json.dumps({**head, KIND: kind, LENGTH: length}).encode()
        with self._sending:
            self._connection.send_bytes(text)
            if length:
                self._connection.send_bytes(payload)

    def receive(self) -> tuple[dict[str, Any], bytes]:
        """The next head and its payload. Raises EOFError or OSError where the other end is gone."""
        head = json.loads(self._connection.recv_bytes())
        payload = self._connection.recv_bytes() if head[LENGTH] else b""
        return head, payload

    def close(self) -> None:
        """For the thread that receives, when it does so no longer."""
        with self._sending:
            self._connection.close()


def pipe_and_handle() -> tuple[Pipe, int]:
    """One end, and the open socket of the other end, which a child process is to inherit.

    Sending from this end fails where the other one reads nothing for ``STUCK_S``.
    """
    own, other = socketpair()
    own.setsockopt(SOL_SOCKET, SO_SNDTIMEO, struct.pack("ll", STUCK_S, 0))
    return Pipe(own.detach()), other.detach()

"""What the owner of a server could write: keeps all that passes through it, for a test to look at.

Stands in the server's ``local/tap__p_resources.json``, whose process relays between sites.
"""

import json
import os
import threading
from pathlib import Path
from typing import Any

from nvflare.apis.fl_component import FLComponent
from nvflare.fuel.f3.cellnet.core_cell import CoreCell
from nvflare.fuel.f3.cellnet.defs import MessageHeaderKey

FOLDER = "RELAY_TAP_FOLDER"  # in the environment of the server
PAYLOADS, HEADERS = "payloads.bin", "headers.jsonl"


class RelayTap(FLComponent):
    """Writes every message that reaches this process's cell, whole and before anything is done."""

    def __init__(self) -> None:
        super().__init__()
        folder, lock, received = (
            Path(os.environ[FOLDER]),
            threading.Lock(),
            CoreCell.process_message,
        )

        def keep(cell: CoreCell, endpoint: Any, connection: Any, app: int, message: Any) -> None:
            with lock:
                _write(folder, message)
            received(cell, endpoint, connection, app, message)

        CoreCell.process_message = keep


def _write(folder: Path, message: Any) -> None:
    payload = bytes(message.payload) if message.payload is not None else b""
    headers = message.headers or {}
    with (folder / PAYLOADS).open("ab") as payloads:
        payloads.write(payload)
    said = {
        "origin": headers.get(MessageHeaderKey.ORIGIN),
        "destination": headers.get(MessageHeaderKey.DESTINATION),
        "channel": headers.get(MessageHeaderKey.CHANNEL),
        "topic": headers.get(MessageHeaderKey.TOPIC),
        "encrypted": bool(headers.get(MessageHeaderKey.ENCRYPTED)),
        "bytes": len(payload),
    }
    with (folder / HEADERS).open("a") as lines:
        lines.write(json.dumps(said, default=str) + "\n")

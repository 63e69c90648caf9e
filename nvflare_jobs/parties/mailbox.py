"""Where messages wait until the round that they belong to opens them.

Neighbors are not in step: one may send for a round that this party has not begun. FLARE delivers
in threads of its own, so everything here holds one lock.
"""

import threading
import time
from collections import deque
from collections.abc import Callable

from fedefm.errors import MessageRejected
from fedefm.train.message import Message

KEPT_PER_SENDER = 8  # a sender that floods pushes out only what it sent itself
POLL_S = 0.2  # how often a waiting party looks whether the run was aborted


class Mailbox:
    """Messages for one party, by sender. Old rounds are forgotten when a new one opens."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._by_sender: dict[str, deque[Message]] = {}
        self._round = 0

    def put(self, message: Message) -> None:
        """Keep ``message``. Raises MessageRejected where its round is over."""
        header = message.header
        with self._changed:
            if header.round < self._round:
                raise MessageRejected(
                    f"message from {header.sender!r} (round {header.round}, {header.phase}): "
                    f"it came after the deadline, round {self._round} is open"
                )
            mail = self._by_sender.setdefault(header.sender, deque(maxlen=KEPT_PER_SENDER))
            mail.append(message)
            self._changed.notify_all()

    def open_round(self, round_index: int) -> None:
        """Forget everything before ``round_index``."""
        with self._changed:
            self._round = round_index
            for sender, mail in self._by_sender.items():
                kept = [message for message in mail if message.header.round >= round_index]
                self._by_sender[sender] = deque(kept, maxlen=KEPT_PER_SENDER)

    def wait(
        self,
        round_index: int,
        phase: str,
        senders: frozenset[str],
        deadline_s: float,
        stopped: Callable[[], bool],
    ) -> None:
        """Return when every one of ``senders`` has mail in this phase, or at the deadline."""
        until = time.monotonic() + deadline_s
        with self._changed:
            while not all(self._of(sender, round_index, phase) for sender in senders):
                left = until - time.monotonic()
                if left <= 0 or stopped():
                    return
                self._changed.wait(min(left, POLL_S))

    def take(self, round_index: int, phase: str, sender: str) -> list[Message]:
        """Remove and return what ``sender`` sent in this phase, oldest first."""
        with self._changed:
            found = self._of(sender, round_index, phase)
            taken = {id(message) for message in found}
            left = [m for m in self._by_sender.get(sender, ()) if id(m) not in taken]
            self._by_sender[sender] = deque(left, maxlen=KEPT_PER_SENDER)
            return found

    def _of(self, sender: str, round_index: int, phase: str) -> list[Message]:
        return [
            message
            for message in self._by_sender.get(sender, ())
            if message.header.round == round_index and message.header.phase == phase
        ]

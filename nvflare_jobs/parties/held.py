"""Messages that came while a site's training process is being started again."""

from collections import deque

from fedefm.errors import MessageRejected
from fedefm.train.header import Header
from nvflare_jobs.parties.pipe import Payload

PER_SENDER = 8  # as many as a mailbox keeps
MOST_BYTES = 2**30


class Held:
    """Messages of other parties, by sender, and no more of them than memory allows.

    Nobody has checked a signature yet, so what is newer never pushes out what is there.
    """

    def __init__(self) -> None:
        self._by_sender: dict[str, deque[Payload]] = {}

    def keep(self, header: Header, data: Payload) -> None:
        """Raises MessageRejected where there is no room for it."""
        mail = self._by_sender.setdefault(header.sender, deque())
        size = sum(len(kept) for others in self._by_sender.values() for kept in others)
        if len(mail) == PER_SENDER or size + len(data) > MOST_BYTES:
            raise MessageRejected(
                f"message from {header.sender!r} (round {header.round}, {header.phase}): too much "
                "is waiting for the training process, which is being started again"
            )
        mail.append(data)

    def take_next(self) -> Payload | None:
        """Remove and return a message, the oldest of its sender; None where there is none."""
        for mail in self._by_sender.values():
            if mail:
                return mail.popleft()
        return None

"""Messages that came while a site's training process is being started again."""

from collections import deque
from collections.abc import Callable

from fedefm.errors import MessageRejected
from fedefm.train.header import Header
from nvflare_jobs.parties.pipe import Payload

PER_SENDER = 8  # as many as a mailbox keeps; newer mail of a sender pushes out older
MOST_BYTES = 2**30


class Held:
    """Messages of other parties, by sender, and no more of them than memory allows."""

    def __init__(self) -> None:
        self._by_sender: dict[str, deque[tuple[Header, Payload]]] = {}

    def keep(self, header: Header, data: Payload) -> None:
        """Raises MessageRejected where there is no room for it."""
        size = sum(len(kept) for mail in self._by_sender.values() for _, kept in mail)
        if size + len(data) > MOST_BYTES:
            raise MessageRejected(
                f"message from {header.sender!r} (round {header.round}, {header.phase}): too much "
                "is waiting for the training process, which is being started again"
            )
        mail = self._by_sender.setdefault(header.sender, deque(maxlen=PER_SENDER))
        mail.append((header, data))

    def hand_over(self, take: Callable[[Payload], object]) -> None:
        """Give all of them away."""
        held, self._by_sender = self._by_sender, {}
        for mail in held.values():
            for _, data in mail:
                take(data)

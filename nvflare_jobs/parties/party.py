"""Drives one party's generators: sends what they yield, waits for what they expect.

The counterpart of ``fedefm.train.simulate``, which drives all parties of a run in one process. Here
each party is alone with a mailbox and a way to send, and time is real.
"""

import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait

from fedefm.errors import MessageRejected, PolicyRefused, ProtocolError
from fedefm.train.exchange import Exchange, Inbox, Result, Steps
from fedefm.train.message import Message, Postbox, Tensors
from fedefm.train.protection import Release
from fedefm.train.simulate import Outcome
from nvflare_jobs.parties.answers import MOST_COMPLAINTS, few
from nvflare_jobs.parties.mailbox import Mailbox

Send = Callable[[str, Message], None]
"""Deliver a message to a party. Raises ProtocolError where it was not taken, PolicyRefused where
this party's own filters forbid it to leave."""

SENDERS = 8  # messages on their way at the same time


class Party:
    """One party of a job, across rounds.

    ``refused`` collects, from any thread, why messages to this party were not kept; the next
    finished round reports them.
    """

    def __init__(
        self,
        postbox: Postbox,
        mailbox: Mailbox,
        send: Send,
        deadline_s: float,
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self._postbox, self._mailbox, self._send = postbox, mailbox, send
        self._deadline_s, self._stopped = deadline_s, stopped
        self._mail = ThreadPoolExecutor(SENDERS, thread_name_prefix="fedefm-mail")
        self._silent: frozenset[str] = frozenset()
        self._begun = 0.0  # when the protocol that is played had its step 0
        self._waits_longest = False  # in the protocol that is played
        self.refused: list[str] = []

    def guard(self, release: Release) -> None:
        """Let ``release`` stamp, and where it must stop, all that is sent from now on."""
        self._postbox.release = release

    def receive(self, message: Message) -> None:
        """Keep a message that somebody sent.

        Raises MessageRejected where it came too late, or its sender did not sign it: what is kept
        of one sender pushes out older mail of the same sender, so nobody else may speak for it.
        """
        try:
            self._postbox.vouch(message)
            self._mailbox.put(message)
        except MessageRejected as error:
            if len(self.refused) <= MOST_COMPLAINTS:
                self.refused += few([str(error)])
            raise

    def play(
        self, steps: Steps[Result], round_index: int, silent: Iterable[str] = ()
    ) -> Outcome[Result]:
        """Drive ``steps`` to the end, or to the error that it threw.

        Whoever is ``silent`` did not answer in the last round: it is heard if its message is there
        already, and not waited for.
        """
        self._mailbox.open_round(round_index)
        self._silent = frozenset(silent)
        self._begun, self._waits_longest = time.monotonic(), True  # step 0 may be others' alone
        outcome: Outcome[Result] = Outcome()
        inbox: Inbox | None = None
        try:
            while True:
                started = time.perf_counter()
                exchange = next(steps) if inbox is None else steps.send(inbox)
                computed = time.perf_counter()
                outcome.seconds += computed - started
                inbox = self._exchange(exchange, round_index, outcome)
                outcome.exchange_seconds += time.perf_counter() - computed
        except StopIteration as finished:
            outcome.seconds += time.perf_counter() - started
            outcome.result = finished.value
        except Exception as error:  # one party's trouble is its own
            outcome.error = error
        finally:
            steps.close()
        outcome.rejected = few(outcome.rejected + self.refused)
        self.refused.clear()
        return outcome

    def _exchange(
        self, exchange: Exchange, round_index: int, outcome: Outcome[Result]
    ) -> dict[str, Tensors]:
        until = self._until(exchange)
        on_the_way = self._send_all(exchange, round_index, outcome)
        self._mailbox.wait(
            round_index,
            exchange.phase,
            exchange.expect - self._silent,
            until - time.monotonic(),
            self._stopped,
        )
        self._confirm(on_the_way, until, outcome)
        return self._collect(exchange, round_index, outcome)

    def _until(self, exchange: Exchange) -> float:
        """When waiting in this exchange ends, at the latest k + 1 deadlines after step 0 began.

        That much time is for parties that give and take in several sums at once: whoever waits for
        a silent one is late at all others, and they at theirs, and for those who wait for what
        comes of steps in which they have no part. In one sum alone nobody is late but its receiver:
        it waits one deadline for the members, and they wait two for it.
        """
        now = time.monotonic()
        if exchange.step == 0:
            self._begun = now
            self._waits_longest = bool(exchange.outgoing and exchange.expect)
        latest = self._begun + (exchange.step + 1) * self._deadline_s
        if self._waits_longest:
            return latest
        deadlines = 1 + exchange.step % 2  # receivers speak in odd steps
        return min(latest, now + deadlines * self._deadline_s)

    def _send_all(
        self, exchange: Exchange, round_index: int, outcome: Outcome[Result]
    ) -> dict[str, "Future[None]"]:
        """Everything is sealed before anything is sent, so that a refusal stops all of it."""
        sealed = {
            receiver: self._postbox.seal(round_index, exchange.phase, receiver, tensors)
            for receiver, tensors in sorted(exchange.outgoing.items())
        }
        outcome.sent_bytes += sum(message.size for message in sealed.values())
        return {
            receiver: self._mail.submit(self._send, receiver, sealed[receiver])
            for receiver in sorted(sealed, key=self._silent.__contains__)  # the silent ones last
        }

    def _confirm(
        self, on_the_way: dict[str, "Future[None]"], until: float, outcome: Outcome[Result]
    ) -> None:
        """Note what did not arrive; nobody waits for the word of a silent receiver.

        Whoever did not take a message is silent from now on.
        """
        heard = [sent for receiver, sent in on_the_way.items() if receiver not in self._silent]
        wait(heard, timeout=max(0.0, until - time.monotonic()))
        unreached: set[str] = set()
        for receiver, sent in on_the_way.items():
            if not sent.done():
                if receiver not in self._silent:
                    outcome.rejected.append(f"message to {receiver!r}: not confirmed in time")
                    unreached.add(receiver)
                continue
            error = sent.exception()
            if isinstance(error, PolicyRefused):
                raise error
            if isinstance(error, ProtocolError):
                outcome.rejected.append(f"message to {receiver!r}: {error}")
                unreached.add(receiver)
            elif error is not None:
                raise error
        self._silent |= unreached

    def _collect(
        self, exchange: Exchange, round_index: int, outcome: Outcome[Result]
    ) -> dict[str, Tensors]:
        """Open the mail of one phase. A rejected message counts as not arrived."""
        inbox: dict[str, Tensors] = {}
        for sender in sorted(exchange.expect):
            for message in self._mailbox.take(round_index, exchange.phase, sender):
                try:
                    inbox[sender] = self._postbox.open(
                        message, round_index, exchange.phase, exchange.expect, exchange.shapes
                    )
                    outcome.received_bytes += message.size
                    break
                except MessageRejected as error:
                    outcome.rejected.append(str(error))
        outcome.missing |= exchange.expect - set(inbox)
        self._silent |= outcome.missing  # a dead neighbor costs one deadline a round, not two
        return inbox

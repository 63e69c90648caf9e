"""One party against a mailbox: what it waits for, and what it reports."""

import threading
import time

import pytest
import torch

from fedefm.errors import MessageRejected, PolicyRefused, ProtocolError
from fedefm.train.exchange import Exchange
from fedefm.train.message import Header, Message, Postbox
from fedefm.train.protection import Unprotected
from nvflare_jobs.parties.answers import MOST_COMPLAINTS, check_answer
from nvflare_jobs.parties.mailbox import Mailbox
from nvflare_jobs.parties.party import Party
from nvflare_jobs.parties.reports import report_of

SHAPES = {"x": torch.Size([2])}


def party(send=lambda receiver, message: None, deadline_s: float = 5.0) -> Party:
    return Party(Postbox("me", "job", "id"), Mailbox(), send, deadline_s)


def from_(sender: str, round_index: int, phase: str = "x", value: float = 1.0) -> Message:
    return Postbox(sender, "job", "id").seal(
        round_index, phase, "me", {"x": torch.full((2,), value)}
    )


def ask(*phases: str, senders: str = "ab", send: bool = False):
    """Steps that expect the senders in every phase and return the inboxes."""
    inboxes = []
    for phase in phases:
        outgoing = {sender: {"x": torch.ones(2)} for sender in senders if send}
        inboxes.append((yield Exchange(phase, outgoing, frozenset(senders), SHAPES)))
    return inboxes


def test_goes_on_as_soon_as_everybody_was_heard() -> None:
    one = party()
    threading.Timer(0.1, lambda: [one.receive(from_(s, 0)) for s in "ab"]).start()
    started = time.monotonic()
    outcome = one.play(ask("x"), 0)
    assert set(outcome.result[0]) == {"a", "b"}
    assert time.monotonic() - started < 2


def test_goes_on_at_the_deadline_without_who_is_missing() -> None:
    one = party(deadline_s=0.3)
    one.receive(from_("a", 0))
    outcome = one.play(ask("x"), 0)
    assert set(outcome.result[0]) == {"a"}
    assert outcome.missing == {"b"}


def test_waits_only_once_in_a_round_for_a_dead_neighbor() -> None:
    one = party(deadline_s=0.5)
    for phase in ("x", "y", "z"):
        one.receive(from_("a", 0, phase))
    started = time.monotonic()
    one.play(ask("x", "y", "z"), 0)
    assert time.monotonic() - started < 0.9


def test_hears_a_silent_neighbor_whose_message_is_there_already() -> None:
    one = party()
    for sender in "ab":
        one.receive(from_(sender, 0))
    assert set(one.play(ask("x"), 0, silent=["b"]).result[0]) == {"a", "b"}


def test_keeps_messages_of_a_neighbor_that_is_ahead() -> None:
    one = party()
    for sender in "ab":
        postbox = Postbox(sender, "job", "id")
        for round_index in (0, 1):
            tensors = {"x": torch.full((2,), float(round_index))}
            one.receive(postbox.seal(round_index, "x", "me", tensors))
    one.play(ask("x"), 0)
    second = one.play(ask("x"), 1)
    assert second.result[0]["a"]["x"].tolist() == [1.0, 1.0]


def test_reports_what_came_after_its_round() -> None:
    one = party(deadline_s=0.1)
    one.play(ask("x"), 1)
    with pytest.raises(MessageRejected):
        one.receive(from_("a", 0))
    outcome = one.play(ask("x"), 2)
    assert any("'a'" in reason and "deadline" in reason for reason in outcome.rejected)


def test_a_message_that_is_not_taken_is_reported_and_the_round_goes_on() -> None:
    def send(receiver: str, message: Message) -> None:
        raise ProtocolError("not taken (TIMEOUT)")

    one = party(send)
    for sender in "ab":
        one.receive(from_(sender, 0))
    outcome = one.play(ask("x", send=True), 0)
    assert outcome.error is None
    assert len(outcome.rejected) == 2


def test_a_message_that_ones_own_filter_stops_fails_the_round() -> None:
    def send(receiver: str, message: Message) -> None:
        raise PolicyRefused("the site's own filter stopped it")

    one = party(send)
    for sender in "ab":
        one.receive(from_(sender, 0))
    outcome = one.play(ask("x", send=True), 0)
    assert isinstance(outcome.error, PolicyRefused)


def test_a_flooding_sender_pushes_out_only_its_own_messages() -> None:
    one = party()
    one.receive(from_("b", 5))
    for _ in range(100):
        one.receive(from_("a", 5))
    outcome = one.play(ask("x"), 5)
    assert set(outcome.result[0]) == {"a", "b"}


def test_what_a_release_stops_is_sent_to_nobody_and_is_the_partys_own_error() -> None:
    class Strict(Unprotected):
        def mechanism(self) -> str:
            return "dp:seen"

        def check(self, header: Header) -> None:
            assert header.mechanism == "dp:seen"
            if header.receiver == "b":
                raise PolicyRefused("no entry")

    sent: list[str] = []
    one = party(lambda receiver, message: sent.append(receiver))
    one.guard(Strict())
    outcome = one.play(ask("x", send=True), 0)
    assert isinstance(outcome.error, PolicyRefused)
    assert not sent


def protocol(*steps: int):
    """Gives a and b something and asks them, once for each of ``steps``; whom it heard."""
    heard = []
    for k, step in enumerate(steps):
        outgoing = {name: {"x": torch.ones(2)} for name in "ab"}
        inbox = yield Exchange(f"phase{k}", outgoing, frozenset("ab"), SHAPES, step=step)
        heard.append(set(inbox))
    return heard


@pytest.mark.parametrize(
    ("step", "heard"),
    [(0, set()), (2, {"a"})],  # 0: a protocol of its own, with a deadline of its own
)
def test_a_later_step_waits_so_many_deadlines_longer(step: int, heard: set[str]) -> None:
    """Who waits in vain in the first step is not taken for silent by who waits for it."""
    one, a = party(deadline_s=0.3), Postbox("a", "job", "id")
    first, second = (a.seal(0, f"phase{k}", "me", {"x": torch.ones(2)}) for k in range(2))
    one.receive(first)
    threading.Timer(0.75, lambda: one.receive(second)).start()
    started = time.monotonic()
    outcome = one.play(protocol(0, step), 0)
    assert outcome.result == [{"a"}, heard]
    assert time.monotonic() - started < 1.5


@pytest.mark.parametrize("former", [False, True])
def test_who_has_no_part_in_the_first_steps_waits_for_what_comes_of_them(former: bool) -> None:
    """As sites of other stages do, to which the encoder comes after their whole stage's sum."""
    one = party(deadline_s=0.2)
    if former:  # long ago
        one.play(ask("early"), 0)
    threading.Timer(0.5, lambda: [one.receive(from_(s, 1, "encoder")) for s in "ab"]).start()

    def late():
        return set((yield Exchange("encoder", {}, frozenset("ab"), SHAPES, step=4)))

    assert one.play(late(), 1).result == {"a", "b"}
    started = time.monotonic()
    assert one.play(late(), 2).result == set()
    assert 0.9 < time.monotonic() - started < 3


def test_a_step_whose_time_is_over_takes_what_is_there() -> None:
    one = party(deadline_s=0.2)
    for sender in "ab":
        one.receive(from_(sender, 0, "phase1"))

    def slow():
        yield Exchange("phase0", {}, frozenset(), SHAPES)
        time.sleep(0.6)
        return set((yield Exchange("phase1", {}, frozenset("ab"), SHAPES, step=1)))

    assert one.play(slow(), 0).result == {"a", "b"}


class Seal:
    """Takes only what "a" signed."""

    def sign(self, data: bytes) -> str:
        return ""

    def verify(self, sender: str, data: bytes, seal: str) -> None:
        if (sender, seal) != ("a", "signed by a"):
            raise MessageRejected(f"{sender}: it did not sign")


def test_what_a_sender_did_not_sign_pushes_out_nothing_that_it_did() -> None:
    one = Party(Postbox("me", "job", "id", seal=Seal()), Mailbox(), lambda *sent: None, 5.0)
    genuine = from_("a", 0)
    one.receive(Message(genuine.header, genuine.tensors, "signed by a"))
    for _ in range(100):
        with pytest.raises(MessageRejected, match="did not sign"):
            one.receive(from_("a", 0, value=9.0))
    outcome = one.play(ask("x", senders="a"), 0)
    assert outcome.result[0]["a"]["x"].tolist() == [1.0, 1.0]


def test_a_peer_cannot_make_a_report_too_long_to_be_told() -> None:
    one = party(deadline_s=0.1)
    one.play(ask("x", senders="a"), 3)
    for _ in range(3 * MOST_COMPLAINTS):
        with pytest.raises(MessageRejected):
            one.receive(from_("b", 0, "long phase " * 500))
    for _ in range(8):  # as much as is kept of one sender
        one.receive(from_("a", 4, "x" * 5000))
    outcome = one.play(ask("x" * 5000, senders="a"), 4)
    assert outcome.rejected[-1] == "and more"
    outcome.result = None
    check_answer(report_of(outcome, None), {"loss", "similarity", "seconds"}, private=False)
    assert len(outcome.rejected) <= MOST_COMPLAINTS + 1
    assert sum(map(len, outcome.rejected)) < 30_000

"""Protocols of many exchanges, with real threads and time: who waits how long for whom."""

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from fedefm.errors import ProtocolError
from fedefm.train.exchange import Exchange, Inbox, Steps
from fedefm.train.message import Message, Postbox
from fedefm.train.simulate import Outcome
from nvflare_jobs.parties.mailbox import Mailbox
from nvflare_jobs.parties.party import Party

DEADLINE_S = 1.5
BUSY_S = 1.3  # what a loaded machine may need besides; less than another deadline
NEVER_S = 30.0  # a deadline that nobody should wait for, so that no load is taken for it
STEPS = 10  # of a secure sum; in odd ones receivers speak, in even ones members
SHAPES = {"x": torch.Size([1])}

Heard = list[frozenset[str]]  # who answered, by step
Script = Mapping[str, frozenset[str]]  # whose sums a party gives to


class Net:
    """Parties with threads of their own."""

    def __init__(self, gives: Script, deadline_s: float = DEADLINE_S) -> None:
        self._gives = gives
        self.down: set[str] = set()  # whose processes take no messages
        self.training_s: dict[str, float] = {}
        self._parties = {
            name: Party(Postbox(name, "job", "id"), Mailbox(), self._send, deadline_s)
            for name in gives
        }

    def play(self, dies: Mapping[str, int], silent: tuple[str, ...] = ()) -> dict[str, Outcome]:
        """Let all take part; the parties in ``dies`` stop before the exchange with that number."""
        steps = {name: self._steps(name, dies.get(name, STEPS)) for name in self._gives}
        with ThreadPoolExecutor(len(steps)) as threads:
            played = {
                name: threads.submit(self._parties[name].play, steps[name], 0, silent)
                for name in steps
            }
        return {name: outcome.result() for name, outcome in played.items()}

    def _send(self, receiver: str, message: Message) -> None:
        if receiver in self.down:
            raise ProtocolError("not taken (lost)")
        self._parties[receiver].receive(message)

    def _steps(self, name: str, until: int) -> Steps[Heard]:
        receivers = self._gives[name]
        members = frozenset(other for other, gives in self._gives.items() if name in gives)
        heard: Heard = []
        time.sleep(self.training_s.get(name, 0.0))
        for step in range(until):
            to, of = (receivers, members) if step % 2 == 0 else (members, receivers)
            expected = of & heard[-2] if step > 1 else of  # who was lost is asked no more
            outgoing = {other: {"x": torch.ones(1)} for other in sorted(to)}
            inbox: Inbox = yield Exchange(f"{step}", outgoing, expected, SHAPES, step)
            heard.append(frozenset(inbox))
            if expected and not inbox:  # nobody left to go on with
                return heard
        return heard


def star(receiver: str, members: str) -> Script:
    return {**dict.fromkeys(members, frozenset({receiver})), receiver: frozenset()}


def path(names: str) -> Script:
    """Each is at once a member for its neighbors, and the receiver of its own sum."""
    return {
        name: frozenset(names[max(0, place - 1) : place] + names[place + 1 : place + 2])
        for place, name in enumerate(names)
    }


@pytest.fixture
def seconds() -> Iterator[Callable[[], float]]:
    started = time.monotonic()
    return lambda: time.monotonic() - started


@pytest.mark.parametrize("step", [0, 2, 4, 8])
def test_a_member_that_falls_silent_costs_one_deadline_and_no_other_member(step, seconds) -> None:
    outcomes = Net(star("r", "abcd")).play({"d": step})
    assert seconds() < DEADLINE_S + BUSY_S
    for name in "abc":
        assert outcomes[name].error is None
        assert not outcomes[name].missing
        assert len(outcomes[name].result) == STEPS
    assert outcomes["r"].missing == {"d"}
    assert outcomes["r"].result[8] == frozenset("abc")


@pytest.mark.parametrize("step", [1, 5])
def test_a_receiver_that_falls_silent_costs_its_members_two_deadlines(step, seconds) -> None:
    outcomes = Net(star("r", "abc")).play({"r": step})
    assert 2 * DEADLINE_S < seconds() < 2 * DEADLINE_S + BUSY_S
    assert all(outcomes[name].missing == {"r"} for name in "abc")


def test_a_receiver_that_takes_no_message_is_not_waited_for(seconds) -> None:
    net = Net(star("r", "abc"), NEVER_S)
    net.down = {"r"}
    outcomes = net.play({"r": 0})
    assert seconds() < NEVER_S
    assert all("not taken" in outcomes[name].rejected[0] for name in "abc")


def test_two_members_that_fall_silent_one_after_the_other_cost_a_deadline_each(seconds) -> None:
    outcomes = Net(star("r", "abcd")).play({"c": 2, "d": 4})
    assert seconds() < 2 * DEADLINE_S + BUSY_S
    assert outcomes["r"].result[8] == frozenset("ab")
    assert not any(outcomes[name].missing for name in "ab")


def test_whoever_is_known_to_be_silent_costs_nothing(seconds) -> None:
    outcomes = Net(star("r", "abcd"), NEVER_S).play({"d": 0}, silent=("d",))
    assert seconds() < NEVER_S
    assert outcomes["r"].result[8] == frozenset("abc")


@pytest.mark.parametrize("step", [0, 1, 2, 3])
def test_nobody_is_taken_for_silent_who_waits_for_a_silent_one(step) -> None:
    """Sites that give and take in several sums at once, far from the one that is lost."""
    outcomes = Net(path("abcdz")).play({"z": step})
    assert outcomes["d"].missing == {"z"}
    assert not any(outcomes[name].missing for name in "abc")
    assert outcomes["d"].result[-1] == frozenset("c")


def test_a_late_start_is_no_silence(seconds) -> None:
    """A receiver that trains longer than its members is waited for, and waits for slower ones."""
    net = Net(star("r", "ab"))
    net.training_s = {"r": 0.6 * DEADLINE_S, "a": 0.8 * DEADLINE_S}
    outcomes = net.play({})
    assert not any(outcome.missing for outcome in outcomes.values())
    assert seconds() < DEADLINE_S + BUSY_S

"""Several sessions of one party, phase by phase, driven by hand with toy sessions."""

from collections.abc import Mapping, Set
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedefm.errors import MessageRejected, PolicyRefused, PrivacyError, SumAborted
from privacy.secagg.steps import Packet, Protocol, Step
from privacy.secagg.together import Ended, merged, together

PHASES = 4


def giving(receiver: str, name: str, phases: int = PHASES) -> Protocol[list[str]]:
    """Speaks in even phases, listens in odd ones; what it heard."""
    heard = []
    for k in range(phases):
        if k % 2 == 0:
            inbox = yield Step(f"phase{k}", k, {receiver: Packet(f"{name}{k}".encode())}, nobody())
            assert not inbox
        else:
            inbox = yield Step(f"phase{k}", k, {}, frozenset({receiver}))
            heard.append(_said(inbox))
    return heard


def receiving(members: str, name: str, phases: int = PHASES) -> Protocol[list[str]]:
    """Listens in even phases, speaks in odd ones; what it heard."""
    heard = []
    for k in range(phases):
        if k % 2 == 0:
            heard.append(_said((yield Step(f"phase{k}", k, {}, frozenset(members), 8 * (k == 2)))))
        else:
            packet = Packet(f"{name}{k}".encode())
            yield Step(f"phase{k}", k, dict.fromkeys(members, packet), nobody())
    return heard


def failing(error: Exception, receiver: str, after: int) -> Protocol[list[str]]:
    """Behaves for ``after`` phases."""
    yield from giving(receiver, "x", after)
    raise error


def nobody() -> frozenset[str]:
    return frozenset()


def _said(inbox: Mapping[str, Packet]) -> str:
    return " ".join(f"{sender}:{inbox[sender].payload.decode()}" for sender in sorted(inbox))


def played(
    parties: dict[str, Protocol[Any]], lost: Set[tuple[str, str, int]] = frozenset()
) -> dict[str, Any]:
    """Carry packets between ``parties``, one phase after the other, but for those ``lost``."""
    results: dict[str, Any] = {}
    waiting: dict[str, Step] = {}

    def advance(name: str, inbox: Mapping[str, Packet] | None) -> None:
        try:
            party = parties[name]
            waiting[name] = next(party) if inbox is None else party.send(inbox)
        except StopIteration as finished:
            results[name] = finished.value

    for name in parties:
        advance(name, None)
    while waiting:
        now = min(step.step for step in waiting.values())
        steps = {name: step for name, step in waiting.items() if step.step == now}
        for name in steps:
            del waiting[name]
        for name, step in steps.items():
            advance(
                name,
                {
                    other: sent.outgoing[name]
                    for other, sent in steps.items()
                    if other in step.expect and name in sent.outgoing
                    if (other, name, now) not in lost
                },
            )
    return results


def everybody_with_everybody(names: str = "abc") -> dict[str, Protocol[Any]]:
    return {
        name: together(
            {other: giving(other, name) for other in names if other != name}
            | {name: receiving(names.replace(name, ""), name)}
        )
        for name in names
    }


def test_each_session_hears_what_is_meant_for_it_and_nothing_else() -> None:
    results = played(everybody_with_everybody())
    assert results["a"]["a"] == Ended(["b:b0 c:c0", "b:b2 c:c2"])
    assert results["a"]["b"] == Ended(["b:b1", "b:b3"])
    assert results["c"]["a"] == Ended(["a:a1", "a:a3"])


@given(st.sets(st.tuples(st.sampled_from("abcd"), st.sampled_from("abcd"), st.integers(0, 3))))
def test_what_is_lost_is_missed_by_the_session_it_was_for_alone(
    lost: set[tuple[str, str, int]],
) -> None:
    results = played(everybody_with_everybody("abcd"), lost)
    for name in "abcd":
        for other in "abcd".replace(name, ""):
            heard = results[name][other].result
            want = ["" if (other, name, k) in lost else f"{other}:{other}{k}" for k in (1, 3)]
            assert heard == want
        heard = results[name][name].result
        for place, k in enumerate((0, 2)):
            there = [o for o in "abcd".replace(name, "") if (o, name, k) not in lost]
            assert heard[place] == " ".join(f"{o}:{o}{k}" for o in there)


@pytest.mark.parametrize("error", [SumAborted, PolicyRefused, MessageRejected, PrivacyError])
@pytest.mark.parametrize("after", [0, 1, 2, 4])
def test_a_session_that_gives_up_ends_alone(error: type[Exception], after: int) -> None:
    parties = everybody_with_everybody()
    parties["a"] = together(
        {"b": failing(error("no"), "b", after), "c": giving("c", "a"), "a": receiving("bc", "a")}
    )
    results = played(parties)
    failed = results["a"]["b"].error
    assert isinstance(failed, error)
    assert str(failed) == "no"
    assert results["a"]["c"] == Ended(["c:c1", "c:c3"])
    assert results["a"]["a"] == Ended(["b:b0 c:c0", "b:b2 c:c2"])
    assert results["b"]["b"].result[0] == ("a:x0 c:c0" if after else "c:c0")


def test_a_defect_in_one_session_ends_all_and_is_not_hidden() -> None:
    closed = []

    def watched() -> Protocol[None]:
        try:
            yield Step("phase0", 0, {}, frozenset({"c"}))
        finally:
            closed.append(True)

    both = together({"a": watched(), "b": failing(ZeroDivisionError("defect"), "b", 1)})
    next(both)
    with pytest.raises(ZeroDivisionError):
        both.send({})
    assert closed


def test_a_party_without_sessions_does_nothing() -> None:
    with pytest.raises(StopIteration) as ended:
        next(together({}))
    assert ended.value.value == {}


def test_who_stops_waiting_closes_every_session() -> None:
    closed = []

    def watched(name: str) -> Protocol[None]:
        try:
            yield Step("phase0", 0, {}, frozenset({name}))
        finally:
            closed.append(name)

    both = together({name: watched(name) for name in "ab"})
    next(both)
    both.close()
    assert sorted(closed) == ["a", "b"]


def test_the_awaited_vector_is_that_of_the_session_that_waits() -> None:
    vector = Packet(b"", np.zeros(12, np.uint8))
    giver = Step("masked", 4, {"b": vector}, nobody())
    waiter = Step("masked", 4, {}, frozenset("cd"), 8)
    assert merged([giver, waiter]) == Step("masked", 4, {"b": vector}, frozenset("cd"), 8)


@pytest.mark.parametrize(
    "other",
    [
        Step("share", 4, {}, nobody()),
        Step("masked", 4, {"b": Packet()}, nobody()),
        Step("masked", 4, {}, frozenset("c")),
        Step("masked", 4, {}, frozenset("d"), 16),
    ],
)
def test_sessions_that_get_in_each_others_way_are_not_merged(other: Step) -> None:
    with pytest.raises(ValueError, match=r"disagree on what|need the same party"):
        merged([Step("masked", 4, {"b": Packet()}, frozenset("c"), 8), other])

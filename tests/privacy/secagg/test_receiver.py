"""The receiver: whom it waits for, what it hands on, and how it ends."""

import json
from typing import Any

import numpy as np
import pytest

from fedefm.errors import SumAborted
from privacy.secagg import sealing
from privacy.secagg.session_secrets import SessionSecrets
from privacy.secagg.steps import Packet, Step
from tests.privacy.secagg.driver import NAMES, RECEIVER, Cast, cast, run
from tests.privacy.secagg.faults import FalseDealers, FaultyNetwork

FIRST, SECOND = NAMES[:2]


def steps_of(plan: Cast, network: FaultyNetwork) -> list[Step]:
    """Every step of the receiver."""
    steps = list[Step]()

    def noting(session: Any) -> Any:
        step = next(session)
        while True:
            steps.append(step)
            inbox = yield step
            try:
                step = session.send(inbox)
            except StopIteration as finished:
                return finished.value

    sessions = plan.sessions()
    run({**sessions, RECEIVER: noting(sessions[RECEIVER])}, network)
    return steps


def test_who_failed_once_is_not_waited_for_again() -> None:
    steps = steps_of(cast(5), FaultyNetwork({(0, FIRST): "silent", (4, SECOND): "silent"}))
    waited = [len(step.expect) for step in steps if step.step % 2 == 0]
    assert waited == [5, 4, 4]  # three are too few, and that is the end
    steps = steps_of(cast(8), FaultyNetwork({(0, FIRST): "silent", (4, SECOND): "silent"}))
    assert [len(step.expect) for step in steps if step.step % 2 == 0] == [8, 7, 7, 6, 6]


def test_who_failed_is_told_why_once() -> None:
    steps = steps_of(cast(8), FaultyNetwork({(2, FIRST): "garbage"}))
    told = {
        step.phase: json.loads(step.outgoing[FIRST].payload)
        for step in steps
        if FIRST in step.outgoing
    }
    assert list(told) == ["roster", "deal"]
    assert told["deal"] == {"abort": "without you: its payload is no JSON"}


@pytest.mark.parametrize(("compact", "size"), [(False, 4), (True, 3)])
def test_only_masked_vectors_are_awaited_and_only_of_the_right_size(
    compact: bool, size: int
) -> None:
    steps = steps_of(cast(3, compact=compact, length=7), FaultyNetwork({}))
    assert {step.phase: step.vector_bytes for step in steps if step.vector_bytes} == {
        "masked": 7 * size
    }


def test_each_member_gets_the_same_but_for_what_is_sealed_for_it() -> None:
    steps = steps_of(cast(4), FaultyNetwork({}))
    for step in steps:
        if step.phase == "deal":
            continue
        assert len({packet.payload for packet in step.outgoing.values()}) <= 1
    (deal,) = [step for step in steps if step.phase == "deal"]
    contents = {name: json.loads(packet.payload) for name, packet in deal.outgoing.items()}
    assert len({json.dumps(content["dealings"]) for content in contents.values()}) == 1
    for name, content in contents.items():
        assert set(content["sealed"]) == set(NAMES[:4]) - {name}
    boxes = [box for content in contents.values() for box in content["sealed"].values()]
    assert len(set(boxes)) == 12


def test_a_member_that_deals_another_secret_is_named_and_ends_the_sum(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for fault in ({}, {(4, FIRST): "silent"}):
        plan = cast(4)
        false = FalseDealers({id(plan.secrets[FIRST]): "other secrets"})
        with monkeypatch.context() as patched:
            patched.setattr(sealing, "_split", false.split)
            ended = plan.run(FaultyNetwork(fault))
        assert f"the shares that {FIRST} dealt are not of its own secret" in ended.why
        assert type(ended.errors[RECEIVER]) is SumAborted


def test_too_few_good_shares_name_their_owner() -> None:
    plan = cast(3)
    ended = plan.run(FaultyNetwork({(2, FIRST): "wrong seal"}))
    assert f"2 good shares of {FIRST} were released, and opening takes 3" in ended.why


@pytest.mark.parametrize("compact", [False, True])
@pytest.mark.parametrize("beyond", [1, -1])
def test_a_sum_that_no_parts_within_the_bound_have_is_not_given_out(
    compact: bool, beyond: int
) -> None:
    """One member adds to its masked vector what takes the sum a quantum too far."""
    plan = cast(4, compact=compact)
    for x in plan.parts.values():
        x[:] = beyond * plan.ring.bound
    assert plan.run().opened.members == tuple(NAMES[:4])
    plan.secrets = {name: SessionSecrets.fresh() for name in NAMES[:4]}

    def network(step: int, sender: str, addressee: str, packet: Packet) -> Packet:
        if (step, sender) != (4, FIRST) or packet.vector is None:
            return packet
        vector = plan.ring.unpack(packet.vector).copy()
        vector[2] = (int(vector[2]) + beyond) % 2**plan.ring.bits
        return Packet(packet.payload, plan.ring.pack(vector))

    ended = plan.run(network)
    assert "the sum is more than 4 members can give within the bound 8" in ended.why


def test_the_sum_of_no_values_is_one() -> None:
    assert cast(3, length=0).run().opened.total.shape == (0,)


def test_the_sum_of_large_values_does_not_overflow() -> None:
    plan = cast(12)
    for x in plan.parts.values():
        x[:] = [8, -8, 8, 0, 1]
    total = plan.run().opened.total
    np.testing.assert_allclose(total, [96, -96, 96, 0, 12], rtol=1e-6)

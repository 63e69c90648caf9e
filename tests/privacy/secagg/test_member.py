"""A member alone with a receiver: what it refuses before it sends, and what it sends when."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fedefm.errors import PolicyRefused, ProtocolError, SumAborted
from privacy.secagg.context import Context
from privacy.secagg.memory import Memory
from privacy.secagg.ring import Ring
from tests.privacy.secagg.adversary import Adversary, Wire
from tests.privacy.secagg.driver import NAMES, RECEIVER, Cast, cast

FIRST = NAMES[0]


def planned(plan: Cast, **changes: Any) -> Cast:
    plan.context = replace(plan.context, **changes)
    return plan


def the_first_step_of(plan: Cast) -> Any:
    return next(plan.member(FIRST))


@pytest.mark.parametrize("joins", [False, True])
def test_a_sum_of_one_is_refused_whatever_the_policy(joins: bool) -> None:
    plan = cast(2, min_cohort=0, joins=joins)
    for refusing in (lambda: the_first_step_of(plan), lambda: next(plan.receiver())):
        planned(plan, members=(FIRST,))
        with pytest.raises(PolicyRefused, match="a sum of one hides nothing"):
            refusing()


@pytest.mark.parametrize(
    ("size", "joins", "min_cohort", "allowed"),
    [(2, False, 1, True), (2, False, 2, False), (2, True, 2, True), (2, True, 3, False)],
)
def test_two_members_hide_each_other_where_the_policy_allows(
    size: int, joins: bool, min_cohort: int, allowed: bool
) -> None:
    plan = cast(size, joins=joins, min_cohort=min_cohort)
    if allowed:
        assert plan.run().opened.members == (*NAMES[:2],)
        return
    with pytest.raises(PolicyRefused, match=rf"over 2 members.* demands {min_cohort} others"):
        the_first_step_of(plan)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda plan: planned(plan, members=("site-02", "site-01", "site-03")),
        lambda plan: planned(plan, members=("site-01", "site-01", "site-02")),
        lambda plan: planned(plan, receiver="site-02"),
        lambda plan: planned(plan, members=("site-02", "site-03")),
        lambda plan: planned(plan, ring=Ring.default(3, 4.0).describe()),
        lambda plan: planned(plan, colluders=-1),
        lambda plan: planned(plan, joins=True),  # the ring has no room for a fourth party
        lambda plan: plan.parts.update({FIRST: plan.parts[FIRST].astype(np.float64)}),
        lambda plan: plan.parts.update({FIRST: plan.parts[FIRST].reshape(1, -1)}),
        lambda plan: plan.parts[FIRST].__setitem__(0, np.nan),
        lambda plan: plan.parts[FIRST].__setitem__(4, 9),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_sent(spoil: Callable[[Cast], Any]) -> None:
    plan = cast(3)
    spoil(plan)
    with pytest.raises(ProtocolError) as raised:
        the_first_step_of(plan)
    assert type(raised.value) is ProtocolError


def test_the_attempt_is_on_the_disk_before_the_masked_vector_is_handed_over() -> None:
    plan = cast(3)
    adversary = Adversary({name: Wire(plan.member(name)) for name in NAMES[:3]})
    adversary.show_roster()
    assert plan.memories[FIRST].next_attempt(plan.context.key) == 1
    adversary.show_dealings()
    assert adversary.wires[FIRST].gave_its_vector
    assert plan.memories[FIRST].next_attempt(plan.context.key) == 2


def test_the_sum_is_remembered_before_the_consent_is_handed_over() -> None:
    plan = cast(3)
    adversary = Adversary({name: Wire(plan.member(name)) for name in NAMES[:3]})
    adversary.show_roster()
    adversary.show_dealings()
    adversary.show_members(dict.fromkeys(NAMES[:3], NAMES[:3]))
    memory = plan.memories[FIRST]
    mark = memory.fingerprint(plan.parts[FIRST])
    with pytest.raises(PolicyRefused, match="would show what"):
        memory.open("another sum", mark, RECEIVER, NAMES[:2], 1)


def test_the_next_packets_do_not_exist_before_the_last_was_answered() -> None:
    plan = cast(3)
    session = plan.member(FIRST)
    step = next(session)
    assert (step.phase, step.step, step.expect) == ("advertise", 0, frozenset())
    step = session.send({})
    assert (step.phase, step.step, step.outgoing) == ("roster", 1, {})
    assert step.expect == {RECEIVER}
    step = session.send({})
    assert json.loads(step.outgoing[RECEIVER].payload).keys() == {"abort"}
    with pytest.raises(SumAborted, match=r"ended in phase 'roster': server .* nothing arrived"):
        session.send({})


def test_an_input_that_changes_beyond_the_bound_is_not_sent_either() -> None:
    plan = cast(3)
    adversary = Adversary({name: Wire(plan.member(name)) for name in NAMES[:3]})
    adversary.show_roster()
    plan.parts[FIRST][0] = np.inf
    with pytest.raises(ProtocolError, match="is not finite"):
        adversary.show_dealings()
    assert not adversary.wires[FIRST].gave_its_vector


@pytest.mark.parametrize("size", [3, 4, 5, 8])
@pytest.mark.parametrize("phase", ["roster", "deal", "members"])
def test_a_member_counts_for_itself_whether_enough_are_left(size: int, phase: str) -> None:
    plan = cast(size)
    few = NAMES[: plan.context.threshold - 1]
    adversary = Adversary({name: Wire(plan.member(name)) for name in NAMES[:size]})
    answers = adversary.show_roster(few if phase == "roster" else None)
    if phase != "roster":
        answers = adversary.show_dealings(few if phase == "deal" else None)
    if phase == "members":
        answers = adversary.show_members(dict.fromkeys(few, few))
    for name in few:
        assert f"{len(few)} members are left" in answers[name]["abort"]


@pytest.mark.parametrize(
    ("planned_members", "colluders", "threshold"),
    [(2, 0, 2), (2, 9, 2), (3, 0, 2), (3, 1, 3), (5, 1, 4), (8, 1, 5), (8, 2, 6), (16, 1, 9)],
)
def test_the_threshold_leaves_an_honest_member_in_any_two_quorums(
    planned_members: int, colluders: int, threshold: int
) -> None:
    members = tuple(f"{number:02}" for number in range(planned_members))
    context = Context("job", "run", 1, "sum", RECEIVER, members, False, {}, "", colluders)
    assert context.threshold == threshold


def test_no_secret_is_in_anything_that_is_said_aloud() -> None:
    plan = cast(4)
    secret = {
        value.hex()
        for secrets in plan.secrets.values()
        for value in (secrets.keys.mask_private, secrets.keys.cipher_private, secrets.seed)
    }
    shown = f"{plan.secrets} {plan.secrets[FIRST].keys!r}"
    ended = plan.run()
    said = shown + "".join(packet.payload.decode() for *_, packet in ended.sent)
    assert not [value for value in secret if value in said]


def test_a_memory_that_is_lost_leaves_the_keys_new() -> None:
    keys = set()
    for _ in range(3):
        plan = cast(3, memories={name: Memory(None) for name in NAMES[:3]})
        advert = json.loads(the_first_step_of(plan).outgoing[RECEIVER].payload)
        assert advert["attempt"] == 1
        keys |= {advert["mask_key"], advert["cipher_key"]}
    assert len(keys) == 6

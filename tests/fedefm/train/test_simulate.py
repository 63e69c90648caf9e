"""The network in one process, carrying parties that only talk."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedefm.train.exchange import Exchange
from fedefm.train.message import Postbox
from fedefm.train.simulate import Faults, Network

ONE = {"x": torch.Size([1])}


def say(number):
    return {"x": torch.tensor([float(number)])}


def talker(name, others, number, phases=("first",)):
    """Says its number to all in each phase; returns what it heard, by phase."""
    heard = {}
    for phase in phases:
        inbox = yield Exchange(phase, dict.fromkeys(others, say(number)), frozenset(others), ONE)
        heard[phase] = {sender: float(tensors["x"]) for sender, tensors in inbox.items()}
    return heard


def parties(names="abc", phases=("first",)):
    return {
        name: talker(name, [o for o in names if o != name], k, phases)
        for k, name in enumerate(names)
    }


def network(**faults):
    return Network("job", "run", 10.0, Faults(**faults))


def test_everybody_hears_everybody_in_each_phase():
    outcomes = network().run_round(parties(phases=("first", "second")), 0)
    assert outcomes["a"].result == {"first": {"b": 1, "c": 2}, "second": {"b": 1, "c": 2}}
    assert outcomes["b"].result["second"] == {"a": 0, "c": 2}
    for outcome in outcomes.values():
        assert not outcome.missing
        assert not outcome.rejected
        assert outcome.error is None
        assert outcome.sent_bytes == outcome.received_bytes == 2 * 2 * 4


def test_a_lost_message_is_missed_by_its_receiver_alone():
    lose = network(lose=lambda h: (h.sender, h.receiver) == ("a", "b"))
    outcomes = lose.run_round(parties(phases=("first", "second")), 0)
    assert outcomes["b"].result == {"first": {"c": 2}, "second": {"c": 2}}
    assert outcomes["b"].missing == {"a"}
    assert outcomes["a"].missing == outcomes["c"].missing == set()
    assert outcomes["a"].sent_bytes == 16  # it was sent
    assert outcomes["b"].received_bytes == 8


def test_a_phase_is_not_mistaken_for_another():
    lose = network(lose=lambda h: h.phase == "first" and h.sender == "a")
    outcomes = lose.run_round(parties(phases=("first", "second")), 0)
    assert outcomes["b"].result == {"first": {"c": 2}, "second": {"a": 0, "c": 2}}


def test_a_party_that_throws_is_its_own_trouble():
    def broken():
        yield Exchange("first", {}, frozenset(), ONE)
        raise ValueError("out of memory")

    outcomes = network().run_round({**parties("abc"), "c": broken()}, 0)
    assert isinstance(outcomes["c"].error, ValueError)
    assert outcomes["c"].result is None
    assert outcomes["a"].result == {"first": {"b": 1}}
    assert outcomes["a"].missing == {"c"}


def test_an_injected_crash_happens_before_anything_is_sent():
    crash = network(crash=lambda site, round_index: (site, round_index) == ("a", 1))
    assert crash.run_round(parties(), 0)["a"].error is None
    outcomes = crash.run_round(parties(), 1)
    assert "injected crash in round 1" in str(outcomes["a"].error)
    assert outcomes["b"].missing == {"a"}
    assert outcomes["a"].sent_bytes == 0


@pytest.mark.parametrize("phase", ["first", "second"])
def test_what_comes_after_the_deadline_is_refused_and_displaces_nothing(phase):
    late = network(
        delay_s=lambda h: 11.0 if (h.round, h.phase, h.sender) == (0, phase, "a") else 9.0
    )
    first = late.run_round(parties(phases=("first", "second")), 0)
    assert "a" not in first["b"].result[phase]
    assert first["b"].missing == {"a"}

    second = late.run_round(parties(phases=("first", "second")), 1)
    assert second["b"].result[phase] == {"a": 0, "c": 2}
    assert not second["b"].missing
    (reason,) = second["b"].rejected
    assert "'a'" in reason
    assert "round is 0, not 1" in reason


def test_a_late_message_does_not_make_its_receiver_stop_waiting_for_the_right_one():
    def busy():  # needs another exchange before it has something for b
        yield Exchange("before", {"d": say(0)}, frozenset({"d"}), ONE)
        yield Exchange("main", {"b": say(1)}, frozenset(), ONE)

    def patient():
        inbox = yield Exchange("main", {}, frozenset({"a"}), ONE)
        return sorted(inbox)

    late = network(delay_s=lambda h: 11.0 if (h.round, h.phase) == (0, "main") else 0.0)
    for round_index in range(2):
        outcomes = late.run_round(
            {"b": patient(), "a": busy(), "d": talker("d", ["a"], 0, ("before",))}, round_index
        )
    assert outcomes["b"].result == ["a"]
    assert len(outcomes["b"].rejected) == 1


def test_who_is_not_expected_is_not_heard():
    def deaf():
        inbox = yield Exchange("first", {}, frozenset({"a"}), ONE)
        return sorted(inbox)

    outcomes = network().run_round(
        {"a": talker("a", ["b"], 0), "b": deaf(), "c": talker("c", ["b"], 2)}, 0
    )
    assert outcomes["b"].result == ["a"]


def test_a_message_of_another_job_reaches_nobody():
    net = network()
    net.run_round(parties(), 0)
    net._postboxes["a"] = Postbox("a", "another job", "run")
    outcomes = net.run_round(parties(), 1)
    for receiver in "bc":
        assert outcomes[receiver].missing == {"a"}
        assert "job is 'another job'" in outcomes[receiver].rejected[0]


def test_what_a_receiver_rejects_counts_as_not_arrived():
    def liar():
        bad = {"x": torch.tensor([float("nan")])}
        yield Exchange("first", dict.fromkeys("ab", bad), frozenset("ab"), ONE)

    outcomes = network().run_round({**parties("ab"), "c": liar()}, 0)
    assert outcomes["a"].result == {"first": {"b": 1}}
    assert outcomes["c"].error is None


def test_the_order_of_the_parties_changes_nothing():
    def heard(names):
        made = parties("abcd", phases=("first", "second"))
        outcomes = network().run_round({name: made[name] for name in names}, 0)
        return {name: outcomes[name].result for name in sorted(outcomes)}

    assert heard("abcd") == heard("dbca") == heard("cdab")


def round_trip(name, others, order):
    """Tells all others its number in each phase of one protocol; whom it heard, by phase."""
    heard = []
    for k in range(order):
        inbox = yield Exchange(
            f"phase{k}", dict.fromkeys(others, say(k)), frozenset(others), ONE, step=k
        )
        heard.append(set(inbox))
    return heard


@given(
    st.permutations("abcd"),
    st.sets(st.tuples(st.sampled_from("abcd"), st.sampled_from("abcd"), st.integers(0, 3))),
)
def test_who_waits_for_the_silent_is_not_taken_for_silent(names, lost):
    """Whatever else is lost, all that was sent in a protocol's phases is heard."""
    lose = network(lose=lambda h: (h.sender, h.receiver, int(h.phase[-1])) in lost)
    outcomes = lose.run_round(
        {name: round_trip(name, [o for o in names if o != name], 4) for name in names}, 0
    )
    for name in names:
        for k in range(4):
            there = {o for o in names if o != name and (o, name, k) not in lost}
            assert outcomes[name].result[k] == there


def silence(*steps):
    """Waits in vain, in one exchange for each of ``steps``; then says something to b."""
    for k, step in enumerate(steps):
        yield Exchange(f"vain{k}", {}, frozenset({"nobody"}), ONE, step=step)
    yield Exchange("word", {"b": say(1)}, frozenset(), ONE)


def hears(step):
    """Begins a protocol at once, and in its step ``step`` waits for the word of a."""
    yield Exchange("begin", {}, frozenset(), ONE, step=0)
    return "a" in (yield Exchange("word", {}, frozenset({"a"}), ONE, step=step))


@pytest.mark.parametrize(
    ("vain", "word_after"),
    [
        ((0,), 1),
        ((0, 1, 2), 3),  # one protocol with one clock
        ((2,), 3),
        ((0, 0, 0), 3),  # three protocols, each of which begins when the one before is over
        ((0, 1, 0, 1), 4),
    ],
)
@pytest.mark.parametrize("names", ["ab", "ba"])
def test_a_step_waits_until_so_many_deadlines_after_its_protocol_began(vain, word_after, names):
    for step in range(6):
        ends = step + 1
        made = {"a": silence(*vain), "b": hears(step)}
        outcomes = network().run_round({name: made[name] for name in names}, 0)
        if ends != word_after:  # at the same instant, it may come or not
            assert outcomes["b"].result == (ends > word_after)


def test_every_party_of_a_network_with_seals_signs_and_wants_signatures(sealed):
    net = Network("job", "run", 10.0, seals={name: sealed(name) for name in "abc"})
    assert net.run_round(parties(), 0)["a"].result == {"first": {"b": 1, "c": 2}}

    net._postboxes["c"] = Postbox("c", "job", "run")  # goes on without its seal
    outcomes = net.run_round(parties(), 1)
    assert outcomes["a"].result == {"first": {"b": 1}}
    assert "'c'" in outcomes["a"].rejected[0]

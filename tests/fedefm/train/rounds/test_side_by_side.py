"""Protocols driven side by side against each of them driven alone."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedefm.train.exchange import SERVER, Cohort, Exchange, Occasion, plain_sum
from fedefm.train.rounds.side_by_side import side_by_side

SHAPES = {"x": torch.Size([1])}
OCCASION = Occasion(0, "numbers", 1)


def asking(who, times, seen):
    """Ask ``who`` so many times; the answers."""
    for step in range(times):
        inbox = yield Exchange(f"step {step}", {who: {}}, frozenset({who}), SHAPES, step)
        seen.append((step, sorted(inbox)))
    return who


def driven(steps, answer):
    """The result of ``steps``, and its exchanges, to which ``answer`` gives inboxes."""
    exchanges = []
    try:
        exchange = next(steps)
        while True:
            exchanges.append(exchange)
            exchange = steps.send(answer(exchange))
    except StopIteration as ended:
        return ended.value, exchanges


@given(st.lists(st.integers(0, 4), max_size=5))
def test_each_goes_as_far_as_it_goes_alone_and_all_share_their_steps(lengths):
    seen = [[] for _ in lengths]
    protocols = [asking(f"site {k}", length, seen[k]) for k, length in enumerate(lengths)]
    results, exchanges = driven(
        side_by_side(protocols), lambda exchange: {who: {} for who in exchange.expect}
    )
    assert results == [f"site {k}" for k in range(len(lengths))]
    assert len(exchanges) == max(lengths, default=0)
    for k, length in enumerate(lengths):
        assert seen[k] == [(step, [f"site {k}"]) for step in range(length)]


def test_sums_of_different_sites_are_those_that_each_would_have_been():
    cohorts = [Cohort(SERVER, frozenset(names)) for names in ("ab", "cde")]
    values = {name: float(k) for k, name in enumerate("abcde", start=1)}

    def answer(exchange):  # c is lost
        return {s: {"vector": torch.tensor([values[s]])} for s in exchange.expect - {"c"}}

    sums = [plain_sum(OCCASION, {}, cohort) for cohort in cohorts]
    (first, second), exchanges = driven(side_by_side(sums), answer)
    assert (first.vector.item(), first.members) == (1 + 2, ("a", "b"))
    assert (second.vector.item(), second.members) == (4 + 5, ("d", "e"))
    assert len(exchanges) == 1


def test_two_that_need_the_same_party_are_refused():
    with pytest.raises(ValueError, match="need the same party in 'step 0'"):
        driven(side_by_side([asking("a", 1, []), asking("a", 1, [])]), lambda _: {})


def test_unlike_phases_are_refused():
    def other():
        yield Exchange("another", {}, frozenset(), SHAPES)

    with pytest.raises(ValueError, match="'another' and 'step 0' cannot go side by side"):
        driven(side_by_side([asking("a", 1, []), other()]), lambda _: {})


def test_who_only_speaks_may_have_other_shapes_and_who_listens_may_not():
    def speaking(expect):
        yield Exchange("step 0", {"b": {}}, frozenset(expect), {"y": torch.Size([2])})

    for pair in ([speaking(""), asking("a", 1, [])], [asking("a", 1, []), speaking("")]):
        _, (exchange,) = driven(side_by_side(pair), lambda _: {})
        assert exchange.shapes == SHAPES
        assert exchange.outgoing.keys() == {"a", "b"}
    with pytest.raises(ValueError, match="cannot go side by side"):
        driven(side_by_side([asking("a", 1, []), speaking("c")]), lambda _: {})


def test_an_error_ends_all_of_them():
    ended = []

    def failing():
        yield Exchange("step 0", {}, frozenset(), SHAPES)
        raise RuntimeError("broken")

    def going_on():
        try:
            yield Exchange("step 0", {}, frozenset(), SHAPES)
            yield Exchange("step 1", {}, frozenset(), SHAPES)
        finally:
            ended.append(True)

    with pytest.raises(RuntimeError, match="broken"):
        driven(side_by_side([going_on(), failing()]), lambda _: {})
    assert ended == [True]

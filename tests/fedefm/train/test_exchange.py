"""The sum without protection."""

import torch
from hypothesis import given
from hypothesis import strategies as st

from fedefm.train.exchange import Cohort, Occasion, plain_sum


def cohort(receiver, members=()):
    return Cohort(receiver, frozenset(members))


def result_of(steps, inbox):
    exchange = next(steps)
    try:
        steps.send(inbox)
    except StopIteration as finished:
        return exchange, finished.value
    raise AssertionError("a plain sum needs one exchange")


@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(-1000, 1000)))
def test_the_sum_is_that_of_who_answered_and_names_them(parts):
    inbox = {name: {"vector": torch.full((3,), float(value))} for name, value in parts.items()}
    _, total = result_of(plain_sum(Occasion(0, "sum", 3), {}, cohort("z", "abcdef")), inbox)
    assert total.vector.tolist() == [sum(parts.values())] * 3
    assert total.members == tuple(sorted(parts))


def test_each_receiver_gets_the_part_that_is_meant_for_it():
    outgoing = {"a": torch.ones(2), "b": torch.zeros(2)}
    parts = {cohort(receiver, "z"): part for receiver, part in outgoing.items()}
    exchange, _ = result_of(plain_sum(Occasion(0, "sum", 2), parts, cohort("z", "c")), {})
    assert exchange.expect == {"c"}
    assert exchange.shapes == {"vector": torch.Size([2])}
    assert {name: dict(sent) for name, sent in exchange.outgoing.items()} == {
        "a": {"vector": outgoing["a"]},
        "b": {"vector": outgoing["b"]},
    }


def test_rounding_does_not_depend_on_who_came_first():
    values = {"a": 1e8, "b": 1.0, "c": -1e8}
    inboxes = [
        {name: {"vector": torch.tensor([values[name]])} for name in order}
        for order in ("abc", "cba")
    ]
    totals = [
        result_of(plain_sum(Occasion(0, "sum", 1), {}, cohort("z", "abc")), inbox)[1]
        for inbox in inboxes
    ]
    assert torch.equal(totals[0].vector, totals[1].vector)

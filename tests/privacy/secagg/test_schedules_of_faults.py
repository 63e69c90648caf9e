"""Two thousand schedules of drops, delays, duplicates and lies: an exact sum, or a clean abort.

And after each of them, a receiver that pools all it saw with the members that work with it can
solve for the sum that was opened, over honest members whom the policy finds numerous enough, and
for nothing else.
"""

import functools
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedefm.errors import SumAborted
from privacy.secagg import advert, sealing
from tests.privacy.secagg.driver import NAMES, QUICK, RECEIVER, Cast, Ended, cast, exact_sum
from tests.privacy.secagg.faults import (
    DEALINGS,
    LIES,
    LOSSES,
    FalseDealers,
    FaultyNetwork,
    earlier_attempt,
)
from tests.privacy.secagg.two_faced import Plot, TwoFaced, plots

MEMBER_STEPS, ALL_STEPS = range(0, 9, 2), range(9)
SIZES = st.sampled_from([3, 4, 5, 6] * 12 + [7, 8, 9, 10, 11, 12])  # small ones are quick

Schedule = tuple[int, dict[tuple[int, str], str]]


def driven(examples: int, strategy: st.SearchStrategy[Any], check: Callable[[Any], None]) -> None:
    """Run ``check`` on so many examples, and see that it was so many."""
    count = 0

    @settings(max_examples=examples, suppress_health_check=list(HealthCheck))
    @given(strategy)
    def once(example: Any) -> None:
        nonlocal count
        count += 1
        QUICK.forget()
        check(example)

    with patch.object(advert, "keeps_secrets", functools.cache(advert.keeps_secrets)):
        once()
    assert count >= examples


@st.composite
def schedules(draw: st.DrawFn, steps: range, kinds: tuple[str, ...]) -> Schedule:
    size = draw(SIZES)
    places = st.tuples(st.sampled_from(list(steps)), st.sampled_from(NAMES[:size]))
    return size, draw(st.dictionaries(places, st.sampled_from(kinds), max_size=5))


def require_exact_or_aborted(plan: Cast, rounded: dict[str, Any], ended: Ended) -> None:
    """The result of the receiver; and everybody ended in one of the two ways."""
    if RECEIVER in ended.results:
        total, members = ended.opened.total, ended.opened.members
        assert len(members) >= plan.context.threshold
        np.testing.assert_array_equal(total, exact_sum(plan.ring, rounded, members))
    for party, error in ended.errors.items():
        assert type(error) is SumAborted, (party, error)
        assert len(str(error)) > 60
    assert ended.results.keys() | ended.errors.keys() == {RECEIVER, *plan.context.members}


def require_hidden(plan: Cast, network: FaultyNetwork, ended: Ended, colluders: list[str]) -> None:
    """Nothing but the sum can be solved for, and it hides each honest member among others."""
    threshold = plan.context.threshold
    sums = network.seen.solved(plan.context.members, colluders, threshold)
    assert len(sums) <= 1
    for members in sums:
        assert len(members) >= threshold - len(colluders)
    if RECEIVER in ended.results:
        assert sums == [frozenset(ended.opened.members) - set(colluders)]


@pytest.mark.slow
def test_losses_and_delays_cost_those_who_suffer_them_only() -> None:
    def check(example: Schedule) -> None:
        size, faults = example
        plan, network = cast(size), FaultyNetwork(faults)
        rounded = plan.rounded()
        ended = plan.run(network)
        require_exact_or_aborted(plan, rounded, ended)
        require_hidden(plan, network, ended, NAMES[: plan.context.threshold - 1])
        suffering = {member for _, member in faults}
        if size - len(suffering) >= plan.context.threshold:
            assert {*ended.opened.members} >= {*plan.context.members} - suffering
            assert not ended.errors.keys() - suffering

    driven(600, schedules(ALL_STEPS, LOSSES), check)


@pytest.mark.slow
def test_lies_of_members_end_in_an_exact_sum_or_an_abort() -> None:
    def check(example: tuple[Schedule, dict[int, str], bool]) -> None:
        (size, faults), ways, compact = example
        plan = cast(size, compact=compact)
        network = FaultyNetwork(faults, earlier_attempt(size))
        rounded = plan.rounded()
        dealers = {id(plan.secrets[NAMES[who]]): way for who, way in ways.items() if who < size}
        false = FalseDealers(dealers)
        with (
            patch.object(sealing, "_split", false.split),
            patch.object(sealing, "_seal", false.seal),
        ):
            ended = plan.run(network)
        require_exact_or_aborted(plan, rounded, ended)
        require_hidden(plan, network, ended, NAMES[: plan.context.threshold - 1])

    false_dealers = st.dictionaries(st.integers(0, 11), st.sampled_from(DEALINGS), max_size=2)
    lies = schedules(MEMBER_STEPS, (*LIES, *LOSSES))
    driven(700, st.tuples(lies, false_dealers, st.booleans()), check)


def test_a_relay_that_meddles_with_single_members_learns_nothing() -> None:
    def check(example: tuple[Schedule, int]) -> None:
        (size, faults), helpers = example
        plan = cast(size, colluders=helpers)
        network = FaultyNetwork(faults, earlier_attempt(size))
        rounded = plan.rounded()
        ended = plan.run(network)
        require_exact_or_aborted(plan, rounded, ended)
        require_hidden(plan, network, ended, NAMES[:helpers])

    meddling = schedules(ALL_STEPS, (*LIES, *LOSSES))
    driven(400, st.tuples(meddling, st.integers(0, 2)), check)


def test_a_receiver_with_two_faces_and_helpers_learns_at_most_one_sum() -> None:
    opened = 0

    def check(plot: Plot) -> None:
        nonlocal opened
        plan = cast(plot.size, colluders=plot.helpers)
        receiver = TwoFaced(plan, plot)
        receiver.play()
        helpers = list(receiver.helpers)
        sums = receiver.seen.solved(plan.context.members, helpers, plan.context.threshold)
        assert len(sums) <= 1
        for members in sums:
            assert len(members) >= plan.context.threshold - plot.helpers
        opened += bool(sums)

    driven(300, st.integers(0, 2).flatmap(plots), check)
    assert opened > 10

"""A mechanism is Poisson sampling and a Gaussian, or it is none."""

import math
from typing import Any

import pytest
from dp_accounting import dp_event
from hypothesis import given
from hypothesis import strategies as st

from fedefm.errors import PrivacyError
from privacy.mechanism import Mechanism, own_noise, together

MECHANISM = Mechanism(1.0, 0.1, 100, 26)
mechanisms = st.builds(
    Mechanism,
    st.floats(1e-3, 1e3),
    st.floats(1e-6, 1.0),
    st.integers(1, 10**7),
    st.integers(1, 10**7),
    st.integers(1, 300),
)


@given(mechanisms)
def test_a_mechanism_survives_being_written_down(mechanism: Mechanism) -> None:
    assert Mechanism.from_json(mechanism.to_json()) == mechanism


@pytest.mark.parametrize(
    "numbers",
    [
        (0.0, 0.1, 100, 26),
        (-1.0, 0.1, 100, 26),
        (math.nan, 0.1, 100, 26),
        (math.inf, 0.1, 100, 26),
        (1.0, 0.0, 100, 26),
        (1.0, 1.1, 100, 26),
        (1.0, math.nan, 100, 26),
        (1.0, 0.1, 0, 26),
        (1.0, 0.1, 100, 0),
        (1.0, 0.1, 100.5, 26),
        (True, 0.1, 100, 26),
        ("1", 0.1, 100, 26),
        (1.0, 0.1, 100, 26, 0),
        (1.0, 0.1, 100, 26, -2),
        (1.0, 0.1, 100, 26, 2.0),
    ],
)
def test_numbers_that_describe_no_step_are_refused(numbers: tuple[Any, ...]) -> None:
    with pytest.raises(PrivacyError):
        Mechanism(*numbers)


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "shuffled batches, Gaussian noise"},
        {"kind": None},
        {"noise_multiplier": "1.0"},
        {"dataset_size": 10.5},
        {"clip": 1.0},
    ],
)
def test_the_record_of_any_other_step_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(PrivacyError):
        Mechanism.from_json(MECHANISM.to_json() | change)


@pytest.mark.parametrize("lost", ["kind", "noise_multiplier", "batch_cap"])
def test_a_record_that_lacks_something_is_refused(lost: str) -> None:
    record = MECHANISM.to_json()
    del record[lost]
    with pytest.raises(PrivacyError):
        Mechanism.from_json(record)


def test_a_cap_of_everybody_is_plain_poisson_sampling() -> None:
    assert Mechanism(1.0, 0.1, 100, 100).event() == dp_event.PoissonSampledDpEvent(
        0.1, dp_event.GaussianDpEvent(1.0)
    )


def test_a_neighbor_with_one_unit_more_is_counted() -> None:
    event = MECHANISM.event()
    assert isinstance(event, dp_event.TruncatedSubsampledGaussianDpEvent)
    assert (event.dataset_size, event.truncated_batch_size) == (101, 26)


def test_steps_of_several_spends_add_up() -> None:
    other = Mechanism(2.0, 0.1, 100, 26)
    assert together({MECHANISM: 3}, {}, {MECHANISM: 4, other: 1}) == {MECHANISM: 7, other: 1}


def test_a_site_s_own_noise_is_written_down_as_it_always_was() -> None:
    assert list(MECHANISM.to_json()) == [
        "kind",
        "noise_multiplier",
        "sampling_rate",
        "dataset_size",
        "batch_cap",
    ]


def test_shared_noise_is_another_mechanism_and_says_of_how_many() -> None:
    shared = Mechanism(1.0, 0.1, 100, 26, shares=4)
    assert shared != MECHANISM
    assert shared.to_json()["shares"] == 4
    assert shared.event() == MECHANISM.event()


def test_where_nobody_else_is_honest_the_own_share_of_the_noise_is_left() -> None:
    assert Mechanism(2.0, 0.1, 100, 26, shares=4).own_noise == MECHANISM
    assert MECHANISM.own_noise == MECHANISM


def test_own_noise_adds_up_the_steps_of_what_becomes_the_same() -> None:
    shared = Mechanism(2.0, 0.1, 100, 26, shares=4)
    assert own_noise({shared: 3, MECHANISM: 4}) == {MECHANISM: 7}

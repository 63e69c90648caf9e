"""The faster distribution is dp-accounting's own."""

import pytest
from dp_accounting import NeighboringRelation
from dp_accounting.pld import privacy_loss_distribution as pld
from hypothesis import given, settings
from hypothesis import strategies as st

from privacy.losses import sampled_gaussian

RELATIONS = (NeighboringRelation.ADD_OR_REMOVE_ONE, NeighboringRelation.REPLACE_ONE)


@settings(max_examples=15)
@given(
    sigma=st.floats(0.3, 20.0),
    rate=st.one_of(st.floats(1e-5, 1.0), st.just(1.0), st.just(0.99999)),
    relation=st.sampled_from(RELATIONS),
)
def test_it_has_the_divergences_of_dp_accounting(
    sigma: float, rate: float, relation: NeighboringRelation
) -> None:
    ours = sampled_gaussian(sigma, rate, relation, 1e-2)
    theirs = pld.from_gaussian_mechanism(
        sigma,
        value_discretization_interval=1e-2,
        sampling_prob=rate,
        neighboring_relation=relation,
    )
    for epsilon in (0.0, 0.01, 0.3, 1.0, 4.0):
        assert ours.get_delta_for_epsilon(epsilon) == pytest.approx(
            theirs.get_delta_for_epsilon(epsilon), rel=1e-8, abs=1e-12
        )


@pytest.mark.parametrize("relation", RELATIONS)
@pytest.mark.parametrize(("sigma", "rate"), [(1.0, 0.01), (0.5, 0.3), (5.0, 1.0)])
def test_composed_it_has_the_epsilon_of_dp_accounting(
    sigma: float, rate: float, relation: NeighboringRelation
) -> None:
    ours = sampled_gaussian(sigma, rate, relation, 1e-3).self_compose(100)
    theirs = pld.from_gaussian_mechanism(
        sigma,
        value_discretization_interval=1e-3,
        sampling_prob=rate,
        neighboring_relation=relation,
    ).self_compose(100)
    for delta in (1e-3, 1e-5, 1e-7):
        assert ours.get_epsilon_for_delta(delta) == pytest.approx(
            theirs.get_epsilon_for_delta(delta), rel=1e-8
        )

"""The rate over the rounds."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fedefm.config import TrainingConfig
from fedefm.train.rates import cosine_rate, learning_rate


def test_ultrafedfm_warms_up_for_40_of_300_rounds():
    training = TrainingConfig(
        optimizer="adamw", learning_rate=0.5, schedule="cosine", warmup_rounds=40
    )
    rates = [learning_rate(training, 300, round_index) for round_index in range(300)]
    assert rates[:40] == pytest.approx([0.5 * (k + 1) / 40 for k in range(40)])
    assert rates[39] == rates[40] == 0.5
    assert rates[170] == pytest.approx(0.25)  # in the middle of the fall
    assert 0 < rates[299] < 1e-4 * 0.5


@given(st.integers(1, 40), st.integers(0, 20))
def test_after_the_warm_up_it_is_torchs_half_cosine(falling, warmup):
    weight = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([weight], lr=0.1)
    theirs = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=falling)
    for place in range(warmup, warmup + falling):
        expected = theirs.get_last_lr()[0]
        assert cosine_rate(0.1, place, warmup + falling, warmup) == pytest.approx(expected)
        optimizer.step()
        theirs.step()


@given(st.integers(1, 60), st.data())
def test_it_rises_then_falls_and_no_place_is_lost(places, data):
    warmup = data.draw(st.integers(0, places - 1))
    rates = [cosine_rate(1.0, place, places, warmup) for place in range(places)]
    assert min(rates) > 0
    assert max(rates) == 1
    assert rates[:warmup] == sorted(rates[:warmup])
    assert rates[warmup:] == sorted(rates[warmup:], reverse=True)


def test_without_a_schedule_the_rate_drops_once():
    training = TrainingConfig(learning_rate=0.1, decay_at=0.5, decay_to=0.2)
    rates = [learning_rate(training, 4, round_index) for round_index in range(4)]
    assert rates == pytest.approx([0.1, 0.1, 0.02, 0.02])

"""A run that was stopped after any round goes on as if it had not been."""

import pytest
import torch

from fedefm.train.state import load_state


def same(a, b):
    torch.testing.assert_close(a, b, rtol=0, atol=0)


def rounds_told(observed):
    """What was told of each round, but for how long it took."""
    timed = ("time", "seconds", "train_seconds", "exchange_seconds")
    return [
        {key: value for key, value in event.items() if key not in timed}
        for event in observed.events
        if event["event"] in ("round", "round_finished", "similarity", "published", "server")
    ]


@pytest.mark.parametrize(
    "algorithm", ["swap", "grid", "mixed", "aggregated", "literal", "gossip", "fedavg", "none"]
)
def test_a_resumed_run_is_the_uninterrupted_one(configure, observe, state_folder, algorithm):
    check_resumed(configure(algorithm, rounds=4), observe, state_folder)


@pytest.mark.parametrize("algorithm", ["swap", "fedavg"])
def test_moments_and_the_place_in_the_warm_up_go_on(configure, observe, state_folder, algorithm):
    run = configure(algorithm, rounds=4)
    changed = {"optimizer": "adamw", "schedule": "cosine", "warmup_rounds": 3}
    training = run.training.model_copy(update=changed)
    check_resumed(run.model_copy(update={"training": training}), observe, state_folder)


def check_resumed(run, observe, state_folder):
    whole = observe(run)
    whole.federation.train()

    stopped = observe(run, state_folder=state_folder)
    for round_index in range(2):
        stopped.federation.play_round(round_index)
    resumed = observe(run)
    finished, states = load_state(state_folder)
    assert finished == 2
    resumed.federation.resume(finished, states)
    resumed.federation.train()

    same(resumed.federation.states(), whole.federation.states())
    same(resumed.federation.publish(), whole.federation.publish())
    assert rounds_told(stopped) + rounds_told(resumed) == rounds_told(whole)


def test_the_run_to_resume_depends_on_momentum_average_and_teachers(
    configure, observe, state_folder
):
    """Or the comparison above would not notice if one of them were lost."""
    run = configure("swap", rounds=4)
    stopped = observe(run, state_folder=state_folder)
    for round_index in range(2):
        stopped.federation.play_round(round_index)
    _, states = load_state(state_folder)
    whole = observe(run)
    whole.federation.resume(2, states)
    whole.federation.train()
    for section in ("optimizer", "average", "expert0"):
        lacking = {
            party: {name: part for name, part in held.items() if name != section}
            for party, held in states.items()
        }
        other = observe(run)
        other.federation.resume(2, lacking)
        other.federation.train()
        with pytest.raises(AssertionError):
            same(other.federation.publish(), whole.federation.publish())


def test_a_damaged_checkpoint_costs_a_round_and_not_the_result(configure, observe, state_folder):
    run = configure("swap", rounds=3)
    whole = observe(run, state_folder=state_folder)
    whole.federation.train()
    newest = max(state_folder.iterdir())
    for file in newest.iterdir():
        file.write_bytes(file.read_bytes()[:100])

    resumed = observe(run, state_folder=state_folder)
    finished, states = load_state(state_folder)
    assert finished == 2
    resumed.federation.resume(finished, states)
    resumed.federation.train()
    same(resumed.federation.publish(), whole.federation.publish())
    assert load_state(state_folder)[0] == 3

"""What the displays show of a run is what was measured last, and of which model on which images."""

from fedefm.report.watch import RunState

SITE = {"event": "evaluated", "round": 3, "site": "north"}
SHARED = {"event": "evaluated", "round": 3, "site": "global"}


def test_a_sites_accuracy_stays_that_of_its_own_model() -> None:
    state = RunState()
    state.take({**SITE, "split": "validation", "accuracy": 0.25})
    state.take({**SITE, "model": "global", "split": "test", "accuracy": 0.75})
    assert state.sites["north"].score == 0.25


def test_the_shared_models_accuracy_says_on_which_images() -> None:
    state = RunState()
    state.take({**SHARED, "split": "validation", "accuracy": 0.5})
    assert (state.score, state.split) == (0.5, "validation")
    state.take({**SHARED, "split": "test", "accuracy": 0.25})
    assert (state.score, state.split) == (0.25, "test")


def test_a_round_s_line_has_what_was_measured_in_it_and_nothing_older() -> None:
    state = RunState(rounds=9)
    ended = {"event": "round_finished", "seconds": 1.0, "missing": {}}
    told = {"event": "metrics", "round": 3, "model": "own", "split": "validation"}
    for event in ({**ended, "round": 3}, {**told, "accuracy": 0.5, "loss": 0.25}):
        state.take(event)
    assert state.line().replace("\u00a0", " ") == "round 4/9, loss 0.250, own models 50.0 %, 1.0 s"
    state.take({**ended, "round": 4})
    assert state.line().replace("\u00a0", " ") == "round 5/9, 1.0 s"
    assert "50.0" in state.shared()  # the table of a terminal shows the last that is known

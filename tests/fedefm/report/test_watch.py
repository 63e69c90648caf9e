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

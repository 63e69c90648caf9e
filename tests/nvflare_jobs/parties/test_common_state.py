"""A resumed job goes on from the newest state that all have, or else enough of them."""

import pytest

from fedefm.errors import ProtocolError
from nvflare_jobs.parties.common_state import newest_common


@pytest.mark.parametrize(
    ("saved", "begin_at"),
    [
        ({"a": [3, 2, 1], "b": [2, 1], "c": [3, 2]}, 2),  # one site is behind
        ({"a": [3, 2], "b": [3, 2], "c": [1]}, 3),  # one has nothing in common with the others
        ({"a": [3], "b": [3], "c": []}, 3),
        ({"a": [], "b": [], "c": []}, 0),  # a new run
    ],
)
def test_all_go_on_together_if_they_can_and_else_enough_of_them(saved, begin_at) -> None:
    assert newest_common(saved, None, needed=2) == begin_at


def test_a_state_that_the_record_does_not_know_is_not_gone_on_from() -> None:
    assert newest_common({"a": [4, 3], "b": [4, 3]}, recorded=3, needed=2) == 3


@pytest.mark.parametrize(
    ("saved", "recorded"),
    [({"a": [3], "b": [2], "c": [1]}, None), ({"a": [], "b": []}, 2), ({"a": [5], "b": [5]}, 4)],
)
def test_states_that_are_gone_are_no_new_run(saved, recorded) -> None:
    with pytest.raises(ProtocolError, match="no common state"):
        newest_common(saved, recorded, needed=2)

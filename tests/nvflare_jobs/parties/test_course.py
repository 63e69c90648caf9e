"""No round of a job is played or measured twice, whichever process of a site is asked."""

import pytest
import torch

from fedefm.errors import ProtocolError
from nvflare_jobs.parties.course import Course
from nvflare_jobs.parties.saved_run import SavedRun
from nvflare_jobs.parties.terms import terms_for

SITES = ("hosp-a", "hosp-b", "hosp-c")
LAST = 3
STATE = {"weights": {"w": torch.ones(2)}}


@pytest.fixture
def process(tmp_path, tiny_run):
    """``process()``: the course of the next process of one job."""
    terms = terms_for(tiny_run, SITES)
    return lambda: Course("hosp-a", SavedRun("hosp-a", tmp_path / "state", terms, "job"), LAST)


def begun(process) -> Course:
    course = process()
    assert course.open(0) == (0, None)
    course.opened(0)
    return course


def test_a_round_is_played_once_and_none_before_it(process) -> None:
    course = begun(process)
    course.play_no_more(1)
    for round_index in (0, 1):
        with pytest.raises(ProtocolError, match="goes on with round 2 and plays none twice"):
            course.play_no_more(round_index)
    course.play_no_more(2)


def test_a_round_is_measured_once(process) -> None:
    course = begun(process)
    course.measure_no_more(0)
    for asked in (course, process()):
        with pytest.raises(ProtocolError, match="round 0 was measured before"):
            asked.measure_no_more(0)
    course.measure_no_more(1)


def test_the_next_process_goes_on_after_what_was_begun_with_what_was_saved(process) -> None:
    course = begun(process)
    assert course.goes_on_with is None
    course.play_no_more(0)
    course.played(0, STATE)
    course.play_no_more(1)
    after = process()
    assert after.goes_on_with == 2
    begin, state = after.open(1)
    assert begin == 2
    assert torch.equal(state["weights"]["w"], STATE["weights"]["w"])
    with pytest.raises(ProtocolError, match="plays none twice"):
        after.play_no_more(1)


def test_nobody_goes_on_after_the_publication(process) -> None:
    begun(process).play_no_more(LAST)
    after = process()
    assert after.goes_on_with is None
    with pytest.raises(ProtocolError, match="published before at site 'hosp-a'"):
        after.open(LAST)


def test_a_site_that_is_behind_the_others_begins_where_they_are(process) -> None:
    course = begun(process)
    course.play_no_more(0)
    course.played(0, STATE)
    after = process()
    after.open(2)
    after.opened(2)
    with pytest.raises(ProtocolError, match="goes on with round 2"):
        after.play_no_more(1)

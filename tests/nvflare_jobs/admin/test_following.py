"""A job is followed gently, over restarts of its server, until it is over."""

import itertools
from typing import Any

import pytest
from scripted_server import JOB, ScriptedServer, meta, run_events, telling

from fedefm.errors import ConfigError, PolicyRefused
from nvflare_jobs.admin.flare_words import NotRunning, ServerGone
from nvflare_jobs.admin.following import GIVE_UP_S, SLOW_S, follow

EMPTY = telling([])


def looks(server: Any, slept: list[float] | None = None) -> list[Any]:
    return list(follow(server.log_in, JOB, (slept if slept is not None else []).append))


def test_events_come_once_and_in_order_until_the_end() -> None:
    first, second = run_events()[:4], run_events()[4:]
    told = [telling(first), EMPTY, telling(second), EMPTY, NotRunning("over")]
    metas = [meta("SUBMITTED"), meta("RUNNING"), meta("FINISHED:COMPLETED")]
    server = ScriptedServer(metas, told)
    seen = looks(server)
    assert [event for look in seen for event in look.events] == run_events()
    assert seen[-1].facts.completed
    assert server.open == 0


def test_it_is_asked_ever_more_rarely_while_nothing_happens() -> None:
    server = ScriptedServer([meta("SUBMITTED")] * 12 + [meta("FINISHED:ABORTED")])
    slept: list[float] = []
    looks(server, slept)
    assert slept == sorted(slept)
    assert slept[-1] == SLOW_S
    assert len(server.asked) == 13  # one question a look


def test_a_restarted_server_is_asked_again() -> None:
    gone = ServerGone("the server cannot be reached")
    server = ScriptedServer([meta("SUBMITTED"), gone, gone, meta("FINISHED:ABANDONED")])
    seen = looks(server)
    assert [bool(look.trouble) for look in seen] == [False, True, True, False]
    assert seen[-1].facts.lost


def test_a_server_that_stays_away_is_given_up() -> None:
    server = ScriptedServer([ServerGone("the server cannot be reached")])
    clock = itertools.count(0.0, GIVE_UP_S / 4)
    with pytest.raises(ServerGone):
        list(follow(server.log_in, JOB, lambda s: None, lambda: next(clock)))


def test_who_may_not_see_progress_still_sees_the_end() -> None:
    refused = PolicyRefused("officer@hub.org may not be watching a job")
    server = ScriptedServer(
        [meta("RUNNING"), meta("RUNNING"), meta("FINISHED:COMPLETED")], [refused]
    )
    seen = looks(server)
    assert "officer@hub.org may not" in seen[0].trouble
    assert server.asked.count("progress 0") == 1  # and is not refused again and again
    assert seen[-1].facts.completed


def test_a_job_whose_process_has_just_begun_is_no_trouble() -> None:
    told = [NotRunning("no reply"), telling(run_events()), EMPTY, NotRunning("over")]
    server = ScriptedServer([meta("RUNNING")] * 2 + [meta("FINISHED:COMPLETED")], told)
    assert sum(len(look.events) for look in looks(server)) == len(run_events())


def test_nobody_stays_logged_in_after_a_job_that_the_server_does_not_know() -> None:
    server = ScriptedServer([ConfigError("the server knows no such job")])
    with pytest.raises(ConfigError):
        looks(server)
    assert server.open == 0


def test_nobody_stays_logged_in_where_watching_is_left() -> None:
    server = ScriptedServer([meta("SUBMITTED")])
    left = follow(server.log_in, JOB, lambda s: None)
    next(left)
    assert server.open == 1
    left.close()
    assert server.open == 0
